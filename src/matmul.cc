#include "heed/matmul.hpp"

#include <algorithm>

#include "src/check.h"
#include "src/context.h"
#include "src/kernels/matmul.h"
#include "src/pack.h"
#include "src/parallel.h"

namespace heed {
namespace {

// A task's part of c: at most 96 rows of a (a chunk of them is 96 KB, in L2) by columns of b. Fewer
// columns make more tasks; more columns spread the cost of packing a's rows.
constexpr size_t kTaskRows = 96;
constexpr size_t kMinTaskColumns = 128, kMaxTaskColumns = 1024;

// How c is cut into tasks.
struct TaskGrid {
  size_t rows, columns;  // of a task
  size_t row_blocks, column_blocks;

  TaskGrid(const Context::Impl& context, size_t m, size_t n)
      : rows(RoundUp(CeilDiv(m, CeilDiv(m, kTaskRows)), kTileRows)),
        columns(kMaxTaskColumns),
        row_blocks(CeilDiv(m, rows)) {
    // Four tasks a thread even out what they take.
    while (columns > kMinTaskColumns &&
           row_blocks * CeilDiv(n, columns) < 4 * context.num_threads) {
      columns /= 2;
    }
    column_blocks = CeilDiv(n, columns);
  }

  size_t tasks() const { return row_blocks * column_blocks; }
};

// Of a matrix that is not packed, as many columns are packed at a time as these hold: it must stay
// near, and the context keeps the memory.
constexpr size_t kStripeFloats = size_t{2} << 20;
constexpr size_t kMinStripeColumns = 256;
constexpr size_t kPackColumns = 128;  // of a task that packs
constexpr double kPackCost = 16;      // of an element, in multiply-adds

// Products with so few rows pack all of a once, and are cut by columns alone: they live by how fast
// b streams.
constexpr size_t kFewRows = 48;
constexpr size_t kFewRowsColumns = 64;

struct Product2d {
  const float* a;
  ptrdiff_t a_row, a_k;
  float* c;
  ptrdiff_t c_row;
  const float* bias;
  size_t m, n, k;
};

Status CheckProduct(const TensorView& a, size_t b_in, size_t b_out, const MutableTensorView& c,
                    const MatmulOptions& options) {
  HEED_RETURN_IF_ERROR(CheckInput("a", a, DType::kF32, 2, 2));
  HEED_RETURN_IF_ERROR(CheckRowOutput("c", c, 2, 2));
  if (a.shape[1] != b_in) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "a: shape is %s, must have as many columns as b has rows, %zu",
                         ShapeText(a).text, b_in);
  }
  if (c.shape[0] != a.shape[0] || c.shape[1] != b_out) {
    return Status::Error(StatusCode::kInvalidArgument, "c: shape is %s, must be [%zu, %zu]",
                         ShapeText(c).text, a.shape[0], b_out);
  }
  HEED_RETURN_IF_ERROR(CheckNoOverlap("c", c, "a", a));
  if (options.bias.absent()) return Status();
  HEED_RETURN_IF_ERROR(CheckInput("bias", options.bias, DType::kF32, 1, 1));
  if (options.bias.shape[0] != b_out || (b_out > 1 && options.bias.strides[0] != 1)) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "bias: shape is %s, must be [%zu] with unit stride",
                         ShapeText(options.bias).text, b_out);
  }
  return CheckNoOverlap("c", c, "bias", options.bias);
}

Product2d Describe(const TensorView& a, size_t n, const MutableTensorView& c,
                   const MatmulOptions& options) {
  return {static_cast<const float*>(a.data),
          a.strides[0],
          a.strides[1],
          static_cast<float*>(c.mutable_data()),
          c.strides[0],
          options.bias.absent() ? nullptr : static_cast<const float*>(options.bias.data),
          a.shape[0],
          n,
          a.shape[1]};
}

// c = bias, or 0: a product over no k.
void FillBias(const Product2d& p) {
  for (size_t i = 0; i < p.m; ++i) {
    float* row = p.c + static_cast<ptrdiff_t>(i) * p.c_row;
    if (p.bias != nullptr) {
      std::copy_n(p.bias, p.n, row);
    } else {
      std::fill_n(row, p.n, 0.0f);
    }
  }
}

// Runs the chunks of c[row .. row + rows, column .. column + columns). `tiles_at(chunk_begin,
// depth)` gives a's packed tiles, `panels_at` the first panel of b at that depth and the stride
// between panels.
template <class Tiles, class Panels>
void RunChunks(const MatmulKernels& kernels, const Product2d& p, size_t row, size_t rows,
               size_t column, size_t columns, const Tiles& tiles_at, const Panels& panels_at) {
  for (size_t k = 0; k < p.k; k += kSumChunk) {
    MatmulBlock block;
    block.depth = std::min(kSumChunk, p.k - k);
    block.a = tiles_at(k, block.depth);
    block.rows = rows;
    block.b = panels_at(k, block.depth, &block.b_panel_stride);
    block.columns = columns;
    block.c = p.c + static_cast<ptrdiff_t>(row) * p.c_row + column;
    block.c_stride = p.c_row;
    block.first = k == 0;
    block.bias = k + block.depth == p.k && p.bias != nullptr ? p.bias + column : nullptr;
    kernels.block(block);
  }
}

double Flops(const Product2d& p) {
  return 2.0 * static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k);
}

// a's rows as tiles per chunk, [chunks][rows / 6][depth][6].
void PackAllRows(const Product2d& p, float* tiles) {
  for (size_t k = 0; k < p.k; k += kSumChunk) {
    PackTiles(p.a + static_cast<ptrdiff_t>(k) * p.a_k, p.a_row, p.a_k, p.m,
              std::min(kSumChunk, p.k - k), tiles + k * p.m);
  }
}

Status FewRows(const Product2d& p, const PackedMatrix& b, Context::Impl& context) {
  const float* tiles = p.a;
  if (p.m > 1 || p.a_k != 1) {
    float* packed = context.Reserve(Buffer::kMatmulShared, p.m * p.k);
    if (packed == nullptr) return OutOfMemory("workspace", p.m * p.k * sizeof(float));
    PackAllRows(p, packed);
    tiles = packed;
  }
  const size_t tasks = CeilDiv(p.n, kFewRowsColumns);
  ForEachTask(context, tasks, WorkersFor(context, tasks, Flops(p)), [&](size_t task, size_t) {
    const size_t end = std::min(p.n, (task + 1) * kFewRowsColumns);
    // One pair of panels after the other, each over all of k, so that b is read in order.
    for (size_t column = task * kFewRowsColumns; column < end; column += kColumnPad) {
      RunChunks(
          *context.matmul, p, 0, p.m, column, std::min(kColumnPad, end - column),
          [&](size_t k, size_t) { return tiles + k * p.m; },
          [&](size_t k, size_t, size_t* stride) {
            *stride = p.k * kPanel;
            return b.data() + column * p.k + k * kPanel;
          });
    }
  });
  return Status();
}

// c = a b for b in panels of all of k.
Status ManyRows(const Product2d& p, const float* panels, const TaskGrid& grid,
                Context::Impl& context) {
  const size_t workers = WorkersFor(context, grid.tasks(), Flops(p));
  const size_t tile_floats = grid.rows * kSumChunk;
  float* workspace = context.Reserve(Buffer::kMatmulWorkers, workers * tile_floats);
  if (workspace == nullptr) return OutOfMemory("workspace", workers * tile_floats * sizeof(float));
  ForEachTask(context, grid.tasks(), workers, [&](size_t task, size_t worker) {
    float* tiles = workspace + worker * tile_floats;
    const size_t row = task % grid.row_blocks * grid.rows;
    const size_t column = task / grid.row_blocks * grid.columns;
    const size_t rows = std::min(grid.rows, p.m - row);
    RunChunks(
        *context.matmul, p, row, rows, column, std::min(grid.columns, p.n - column),
        [&](size_t k, size_t depth) {
          PackTiles(p.a + static_cast<ptrdiff_t>(row) * p.a_row + static_cast<ptrdiff_t>(k) * p.a_k,
                    p.a_row, p.a_k, rows, depth, tiles);
          return tiles;
        },
        [&](size_t k, size_t, size_t* stride) {
          *stride = p.k * kPanel;
          return panels + column * p.k + k * kPanel;
        });
  });
  return Status();
}

// A matrix that is given as it is.
struct PlainMatrix {
  const float* data;
  ptrdiff_t k_stride, column_stride;

  const float* at(size_t k, size_t column) const {
    return data + static_cast<ptrdiff_t>(k) * k_stride +
           static_cast<ptrdiff_t>(column) * column_stride;
  }
};

// Packs columns [first, first + columns) as PackedMatrix does, on all threads.
void PackStripe(const Product2d& p, const PlainMatrix& b, size_t first, size_t columns,
                float* panels, Context::Impl& context) {
  const size_t chunks = CeilDiv(p.k, kSumChunk);
  const size_t tasks = chunks * CeilDiv(columns, kPackColumns);
  const double work = static_cast<double>(p.k) * static_cast<double>(columns) * kPackCost;
  ForEachTask(context, tasks, WorkersFor(context, tasks, work), [&](size_t task, size_t) {
    const size_t k = task % chunks * kSumChunk, column = task / chunks * kPackColumns;
    PackPanels(b.at(k, first + column), b.k_stride, b.column_stride, std::min(kSumChunk, p.k - k),
               std::min(kPackColumns, columns - column), panels + column * p.k + k * kPanel,
               p.k * kPanel);
  });
}

// Many rows against b as given: a stripe of b is packed once, then all rows run against it.
Status ManyRows(const Product2d& p, const PlainMatrix& b, Context::Impl& context) {
  const size_t stripe =
      std::min(RoundUp(p.n, kColumnPad),
               std::max(kMinStripeColumns, kStripeFloats / p.k / kColumnPad * kColumnPad));
  float* panels = context.Reserve(Buffer::kMatmulShared, stripe * p.k);
  if (panels == nullptr) return OutOfMemory("workspace", stripe * p.k * sizeof(float));
  for (size_t first = 0; first < p.n; first += stripe) {
    Product2d part = p;
    part.n = std::min(stripe, p.n - first);
    part.c += first;
    if (part.bias != nullptr) part.bias += first;
    PackStripe(p, b, first, part.n, panels, context);
    HEED_RETURN_IF_ERROR(ManyRows(part, panels, TaskGrid(context, part.m, part.n), context));
  }
  return Status();
}

// Few rows against b as given: each task owns some columns, packs a chunk of them and takes it from
// cache.
Status FewRows(const Product2d& p, const PlainMatrix& b, Context::Impl& context) {
  const size_t tasks = CeilDiv(p.n, kFewRowsColumns);
  const size_t workers = WorkersFor(context, tasks, Flops(p));
  const size_t panel_floats = kFewRowsColumns * kSumChunk;
  float* tiles = context.Reserve(Buffer::kMatmulShared, p.m * p.k);
  float* workspace = context.Reserve(Buffer::kMatmulWorkers, workers * panel_floats);
  if (tiles == nullptr || workspace == nullptr) {
    return OutOfMemory("workspace", (p.m * p.k + workers * panel_floats) * sizeof(float));
  }
  PackAllRows(p, tiles);
  ForEachTask(context, tasks, workers, [&](size_t task, size_t worker) {
    float* panels = workspace + worker * panel_floats;
    const size_t column = task * kFewRowsColumns;
    const size_t columns = std::min(kFewRowsColumns, p.n - column);
    RunChunks(
        *context.matmul, p, 0, p.m, column, columns,
        [&](size_t k, size_t) { return tiles + k * p.m; },
        [&](size_t k, size_t depth, size_t* stride) {
          *stride = depth * kPanel;
          PackPanels(b.at(k, column), b.k_stride, b.column_stride, depth, columns, panels, *stride);
          return panels;
        });
  });
  return Status();
}

// One row against a row-major b: b is read once, in order, and never copied.
Status OneRow(const Product2d& p, const TensorView& b, Context::Impl& context) {
  constexpr size_t kColumns =
      2048;  // sums of a chunk stay in L1, and rows of b are read in long runs
  const size_t task_columns = std::min(kColumns, RoundUp(CeilDiv(p.n, 2), kColumnPad));
  const size_t tasks = CeilDiv(p.n, task_columns);
  const size_t workers = WorkersFor(context, tasks, Flops(p));
  float* workspace = context.Reserve(Buffer::kMatmulWorkers, workers * task_columns);
  if (workspace == nullptr) return OutOfMemory("workspace", workers * task_columns * sizeof(float));
  ForEachTask(context, tasks, workers, [&](size_t task, size_t worker) {
    RowTimesMatrix chunk;
    const size_t column = task * task_columns;
    chunk.columns = std::min(task_columns, p.n - column);
    chunk.acc = workspace + worker * task_columns;
    chunk.a_stride = p.a_k;
    chunk.b_stride = b.strides[0];
    float* c = p.c + column;
    for (size_t k = 0; k < p.k; k += kSumChunk) {
      chunk.depth = std::min(kSumChunk, p.k - k);
      chunk.a = p.a + static_cast<ptrdiff_t>(k) * p.a_k;
      chunk.b =
          static_cast<const float*>(b.data) + static_cast<ptrdiff_t>(k) * b.strides[0] + column;
      context.matmul->row_times_matrix(chunk);
      for (size_t j = 0; j < chunk.columns; ++j) c[j] = k == 0 ? chunk.acc[j] : c[j] + chunk.acc[j];
    }
    for (size_t j = 0; j < chunk.columns && p.bias != nullptr; ++j) c[j] += p.bias[column + j];
  });
  return Status();
}

}  // namespace

Status matmul(const TensorView& a, const PackedMatrix& b, const MutableTensorView& c,
              const MatmulOptions& options, Context& context) {
  HEED_RETURN_IF_ERROR(CheckContext(context));
  HEED_RETURN_IF_ERROR(CheckProduct(a, b.in(), b.out(), c, options));
  const Product2d p = Describe(a, b.out(), c, options);
  if (p.m == 0 || p.n == 0) return Status();
  if (p.k == 0) {
    FillBias(p);
    return Status();
  }
  Context::Impl& impl = *context.impl();
  return p.m <= kFewRows ? FewRows(p, b, impl)
                         : ManyRows(p, b.data(), TaskGrid(impl, p.m, p.n), impl);
}

Status matmul(const TensorView& a, const TensorView& b, const MutableTensorView& c,
              const MatmulOptions& options, Context& context) {
  HEED_RETURN_IF_ERROR(CheckContext(context));
  HEED_RETURN_IF_ERROR(CheckInput("b", b, DType::kF32, 2, 2));
  HEED_RETURN_IF_ERROR(CheckProduct(a, b.shape[0], b.shape[1], c, options));
  HEED_RETURN_IF_ERROR(CheckNoOverlap("c", c, "b", b));
  const Product2d p = Describe(a, b.shape[1], c, options);
  if (p.m == 0 || p.n == 0) return Status();
  if (p.k == 0) {
    FillBias(p);
    return Status();
  }
  const bool rows_are_contiguous = b.strides[1] == 1 || p.n == 1;
  Context::Impl& impl = *context.impl();
  if (p.m == 1 && rows_are_contiguous) return OneRow(p, b, impl);
  const PlainMatrix plain = {static_cast<const float*>(b.data), b.strides[0], b.strides[1]};
  return p.m <= kFewRows ? FewRows(p, plain, impl) : ManyRows(p, plain, impl);
}

}  // namespace heed
