#include "heed/matmul.hpp"

#include <algorithm>
#include <new>

#include "src/check.h"
#include "src/context.h"
#include "src/half.h"
#include "src/kernels/matmul.h"
#include "src/pack.h"
#include "src/parallel.h"

namespace heed {
namespace {

// A task's part of c: 96 rows of a (a chunk of them is 96 KB, in L2) by columns of b. Fewer columns
// make more tasks; more columns spread the cost of packing a's rows.
constexpr size_t kTaskRows = 96;
constexpr size_t kTaskColumns = 256;

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

Status ManyRows(const Product2d& p, const PackedMatrix& b, Context::Impl& context) {
  const size_t row_blocks = CeilDiv(p.m, kTaskRows), column_blocks = CeilDiv(p.n, kTaskColumns);
  const size_t tasks = row_blocks * column_blocks;
  const size_t workers = WorkersFor(context, tasks, Flops(p));
  constexpr size_t kTileFloats = kTaskRows * kSumChunk;
  float* workspace = context.Reserve(Buffer::kMatmulWorkers, workers * kTileFloats);
  if (workspace == nullptr) return OutOfMemory("workspace", workers * kTileFloats * sizeof(float));
  ForEachTask(context, tasks, workers, [&](size_t task, size_t worker) {
    float* tiles = workspace + worker * kTileFloats;
    const size_t row = task % row_blocks * kTaskRows, column = task / row_blocks * kTaskColumns;
    const size_t rows = std::min(kTaskRows, p.m - row);
    RunChunks(
        *context.matmul, p, row, rows, column, std::min(kTaskColumns, p.n - column),
        [&](size_t k, size_t depth) {
          PackTiles(p.a + static_cast<ptrdiff_t>(row) * p.a_row + static_cast<ptrdiff_t>(k) * p.a_k,
                    p.a_row, p.a_k, rows, depth, tiles);
          return tiles;
        },
        [&](size_t k, size_t, size_t* stride) {
          *stride = p.k * kPanel;
          return b.data() + column * p.k + k * kPanel;
        });
  });
  return Status();
}

// b as given: each task owns some columns, packs a chunk of them and runs all rows against it, so
// that b is packed once. Narrower tasks where there are few rows to spread the packing over.
Status Unpacked(const Product2d& p, const TensorView& b, Context::Impl& context) {
  const size_t task_columns = p.n >= 4 * kTaskColumns ? kTaskColumns : 2 * kColumnPad;
  const size_t tasks = CeilDiv(p.n, task_columns);
  const size_t workers = WorkersFor(context, tasks, Flops(p));
  const size_t tile_floats = std::min(p.m, kTaskRows) * kSumChunk;
  const size_t worker_floats = tile_floats + task_columns * kSumChunk;
  float* workspace = context.Reserve(Buffer::kMatmulWorkers, workers * worker_floats);
  if (workspace == nullptr)
    return OutOfMemory("workspace", workers * worker_floats * sizeof(float));
  const auto* from = static_cast<const float*>(b.data);
  ForEachTask(context, tasks, workers, [&](size_t task, size_t worker) {
    float* tiles = workspace + worker * worker_floats;
    float* panels = tiles + tile_floats;
    const size_t column = task * task_columns, columns = std::min(task_columns, p.n - column);
    for (size_t k = 0; k < p.k; k += kSumChunk) {
      const size_t depth = std::min(kSumChunk, p.k - k);
      PackPanels(from + static_cast<ptrdiff_t>(k) * b.strides[0] +
                     static_cast<ptrdiff_t>(column) * b.strides[1],
                 b.strides[0], b.strides[1], depth, columns, panels, depth * kPanel);
      for (size_t row = 0; row < p.m; row += kTaskRows) {
        const size_t rows = std::min(kTaskRows, p.m - row);
        PackTiles(p.a + static_cast<ptrdiff_t>(row) * p.a_row + static_cast<ptrdiff_t>(k) * p.a_k,
                  p.a_row, p.a_k, rows, depth, tiles);
        MatmulBlock block{tiles,
                          rows,
                          panels,
                          depth * kPanel,
                          columns,
                          depth,
                          p.c + static_cast<ptrdiff_t>(row) * p.c_row + column,
                          p.c_row,
                          k == 0,
                          k + depth == p.k && p.bias != nullptr ? p.bias + column : nullptr};
        context.matmul->block(block);
      }
    }
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

// One column of the packed matrix per output, wherever its panel's columns begin: several matrices
// side by side need not be multiples of 16 wide.
template <class T>
void PackColumnsOf(const TensorView& b, WeightLayout layout, size_t in, size_t first,
                   float* panels) {
  const size_t in_dim = layout == WeightLayout::kInOut ? 0 : 1;
  const ptrdiff_t in_stride = b.strides[in_dim], out_stride = b.strides[1 - in_dim];
  const size_t columns = in == 0 ? 0 : b.shape[1 - in_dim];  // without inputs data may be null
  const T* from = static_cast<const T*>(b.data);
  for (size_t done = 0; done < columns;) {  // up to the end of a panel at a time
    const size_t column = first + done, lane = column % kPanel;
    const size_t width = std::min(kPanel - lane, columns - done);
    float* to = panels + column / kPanel * in * kPanel + lane;
    const T* source = from + static_cast<ptrdiff_t>(done) * out_stride;
    for (size_t k = 0; k < in; ++k) {
      for (size_t i = 0; i < width; ++i) {
        to[k * kPanel + i] = ToFloat(
            source[static_cast<ptrdiff_t>(k) * in_stride + static_cast<ptrdiff_t>(i) * out_stride]);
      }
    }
    done += width;
  }
}

void PackColumns(const TensorView& b, WeightLayout layout, size_t in, size_t first, float* panels) {
  switch (b.dtype) {
    case DType::kF16:
      return PackColumnsOf<f16>(b, layout, in, first, panels);
    case DType::kBF16:
      return PackColumnsOf<bf16>(b, layout, in, first, panels);
    default:
      return PackColumnsOf<float>(b, layout, in, first, panels);
  }
}

}  // namespace

void PackedMatrix::Free::operator()(float* p) const { FreeFloats()(p); }

size_t PackedMatrix::bytes() const { return in_ * RoundUp(out_, kColumnPad) * sizeof(float); }

Result<PackedMatrix> PackedMatrix::pack(const TensorView& b, WeightLayout layout) {
  return pack(&b, 1, layout);
}

Result<PackedMatrix> PackedMatrix::pack(const TensorView* b, size_t count, WeightLayout layout) {
  PackedMatrix packed;
  if (b == nullptr || count == 0) {
    return Status::Error(StatusCode::kInvalidArgument, "b: no matrix is given");
  }
  const size_t in_dim = layout == WeightLayout::kInOut ? 0 : 1;
  for (size_t i = 0; i < count; ++i) {
    HEED_RETURN_IF_ERROR(CheckFloatInput("b", b[i], 2, 2));
    if (i == 0) packed.in_ = b[i].shape[in_dim];
    if (b[i].shape[in_dim] != packed.in_) {
      return Status::Error(StatusCode::kInvalidArgument,
                           "b: matrix %zu has %zu inputs, must have %zu as the first", i,
                           b[i].shape[in_dim], packed.in_);
    }
    if (__builtin_add_overflow(packed.out_, b[i].shape[1 - in_dim], &packed.out_)) {
      return Status::Error(StatusCode::kInvalidArgument, "b: too many columns in all");
    }
  }
  const size_t factors[] = {packed.in_, packed.out_ + kColumnPad, sizeof(float)};
  size_t bytes = 0;
  if (packed.out_ > PTRDIFF_MAX / 8 || !Product(factors, 3, &bytes)) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "b: [%zu, %zu] exceeds the address space once packed", packed.in_,
                         packed.out_);
  }
  const size_t floats = packed.in_ * RoundUp(packed.out_, kColumnPad);
  packed.data_.reset(AllocateFloats(floats).release());
  if (packed.data_ == nullptr) return OutOfMemory("packed matrix", floats * sizeof(float));
  std::fill_n(packed.data_.get(), floats, 0.0f);
  size_t column = 0;
  for (size_t i = 0; i < count; ++i) {
    PackColumns(b[i], layout, packed.in_, column, packed.data_.get());
    column += b[i].shape[1 - in_dim];
  }
  return packed;
}

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
  return p.m <= kFewRows ? FewRows(p, b, *context.impl()) : ManyRows(p, b, *context.impl());
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
  return p.m == 1 && rows_are_contiguous ? OneRow(p, b, *context.impl())
                                         : Unpacked(p, b, *context.impl());
}

}  // namespace heed
