#include "src/matmul/blocks.h"

#include <algorithm>

#include "src/base/check.h"
#include "src/base/parallel.h"
#include "src/kernels/matmul.h"
#include "src/matmul/pack.h"

namespace heed {
namespace {

// Rows of a are packed for so much of k at a time: their sums pass through c once per stretch.
constexpr size_t kStretch = 2 * kSumChunk;
// Several threads get about so many tasks each, to even out what they take.
constexpr size_t kTasksPerThread = 4;
constexpr size_t kMinTaskRows = 96, kMaxTaskRows = 384;
constexpr size_t kMinTaskColumns = 128;
// Columns of a task when all of a is packed beforehand.
constexpr size_t kShareColumns = 64;

// Of a matrix that is not packed, as many columns are packed at a time as these hold: they must
// stay near, and the context keeps the memory.
constexpr size_t kStripeFloats = size_t{2} << 20;
constexpr size_t kMinStripeColumns = 256;
constexpr size_t kPackColumns = 128;  // of a task that packs b
constexpr size_t kPackRows = 48;      // of a task that packs a
constexpr double kPackCost = 16;      // of an element, in multiply-adds

// Floats of packed rows of a that stay in L2 while panels of b and tiles of c pass through.
size_t NearFloats(const Context::Impl& context) { return context.l2_bytes / 2 / sizeof(float); }

// How c is cut into tasks.
struct TaskGrid {
  size_t rows, columns;  // of a task
  size_t row_blocks, column_blocks;

  // As many rows as stay near, since every block of rows reads all of b; fewer, and then fewer
  // columns, where threads would be idle.
  TaskGrid(const Context::Impl& context, size_t m, size_t n, size_t k) : columns(n) {
    const size_t depth = std::min(k, kStretch);
    const size_t near = std::clamp(NearFloats(context) / depth, kMinTaskRows, kMaxTaskRows);
    const size_t tasks = context.num_threads > 1 ? kTasksPerThread * context.num_threads : 1;
    const size_t wanted = std::min(near, std::max(kMinTaskRows, CeilDiv(m, tasks)));
    row_blocks = CeilDiv(m, wanted);
    rows = RoundUp(CeilDiv(m, row_blocks), kMaxRegisterRows);
    row_blocks = CeilDiv(m, rows);
    const size_t pieces = std::min(CeilDiv(tasks, row_blocks), CeilDiv(n, kMinTaskColumns));
    columns = RoundUp(CeilDiv(n, pieces), kColumnPad);
    column_blocks = CeilDiv(n, columns);
  }

  size_t tasks() const { return row_blocks * column_blocks; }
  // Of packed rows of a.
  size_t TileFloats(size_t k) const { return rows * std::min(k, kStretch); }
};

// Rows [row, row + rows) of a, packed for k in [k_begin, k_end), chunk after chunk.
struct PackedRows {
  size_t row, rows, k_begin, k_end;
  const float* tiles;
};

// Takes those k into c[rows, column .. column + columns), a pair of panels after the other, so that
// b is read in order and c is done with before the next. `panels_at(column, k)` gives the panels of
// b from there on, which are `panel_stride` apart.
template <class Panels>
void RunStretch(const MatmulKernels& kernels, const Product2d& p, const PackedRows& a,
                size_t column, size_t columns, size_t panel_stride, const Panels& panels_at) {
  MatmulBlock block;
  block.rows = a.rows;
  block.b_panel_stride = panel_stride;
  block.c_stride = p.c_row;
  for (size_t at = column; at < column + columns; at += kColumnPad) {
    block.columns = std::min(kColumnPad, column + columns - at);
    block.c = p.c + static_cast<ptrdiff_t>(a.row) * p.c_row + at;
    for (size_t k = a.k_begin; k < a.k_end; k += kSumChunk) {
      block.depth = std::min(kSumChunk, p.k - k);
      block.a = a.tiles + (k - a.k_begin) * a.rows;
      block.b.data = panels_at(at, k);
      const size_t next = k + block.depth;
      block.prefetch_b.data = next < a.k_end ? panels_at(at, next)
                              : at + kColumnPad < column + columns
                                  ? panels_at(at + kColumnPad, a.k_begin)
                                  : nullptr;
      block.first = k == 0;
      block.bias = next == p.k && p.bias != nullptr ? p.bias + at : nullptr;
      kernels.block(block);
    }
  }
}

// a's rows as tiles per chunk, [chunks][rows / 6][depth][6].
void PackRows(const Product2d& p, PackedRows a, float* tiles) {
  for (size_t k = a.k_begin; k < a.k_end; k += kSumChunk) {
    PackTiles(p.a + static_cast<ptrdiff_t>(a.row) * p.a_row + static_cast<ptrdiff_t>(k) * p.a_k,
              p.a_row, p.a_k, a.rows, std::min(kSumChunk, p.k - k),
              tiles + (k - a.k_begin) * a.rows);
  }
}

// All of a, in `tiles`, packed by all threads.
Status PackAllRows(const Product2d& p, float* tiles, const Context::Impl& context) {
  const size_t chunks = CeilDiv(p.k, kSumChunk), tasks = chunks * CeilDiv(p.m, kPackRows);
  const double work = static_cast<double>(p.m) * static_cast<double>(p.k) * kPackCost;
  return ForEachTask(context, tasks, WorkersFor(context, tasks, work), [&](size_t task, size_t) {
    const size_t k = task % chunks * kSumChunk, row = task / chunks * kPackRows;
    const size_t depth = std::min(kSumChunk, p.k - k);
    PackTiles(p.a + static_cast<ptrdiff_t>(row) * p.a_row + static_cast<ptrdiff_t>(k) * p.a_k,
              p.a_row, p.a_k, std::min(kPackRows, p.m - row), depth, tiles + k * p.m + row * depth);
  });
}

// A row whose elements lie side by side is a tile as it is.
bool IsTile(const Product2d& p) { return p.m == 1 && p.a_k == 1; }

// Products of which all of a stays near are cut by columns alone: they live by how fast b streams.
bool StaysNear(const Product2d& p, const Context::Impl& context) {
  return p.m <= NearFloats(context) / 2 / p.k;
}

// c = a b for b in panels of all of k.
Status FarRows(const Product2d& p, const Panels& b, float* workspace,
               const Context::Impl& context) {
  const TaskGrid grid(context, p.m, p.n, p.k);
  const size_t workers = WorkersFor(context, grid.tasks(), Flops(p));
  const size_t tile_floats = grid.TileFloats(p.k);
  const float* panels = b.f32();
  return ForEachTask(context, grid.tasks(), workers, [&](size_t task, size_t worker) {
    float* tiles = workspace + worker * tile_floats;
    const size_t row = task % grid.row_blocks * grid.rows;
    const size_t column = task / grid.row_blocks * grid.columns;
    for (size_t k = 0; k < p.k; k += kStretch) {
      const PackedRows a = {row, std::min(grid.rows, p.m - row), k, std::min(p.k, k + kStretch),
                            tiles};
      PackRows(p, a, tiles);
      RunStretch(*context.matmul, p, a, column, std::min(grid.columns, p.n - column), p.k * kPanel,
                 [&](size_t at, size_t from) { return panels + at * p.k + from * kPanel; });
    }
  });
}

// Packs columns [first, first + columns) as PackedMatrix does, on all threads.
Status PackStripe(const Product2d& p, const PlainMatrix& b, size_t first, size_t columns,
                  float* panels, const Context::Impl& context) {
  const size_t chunks = CeilDiv(p.k, kSumChunk);
  const size_t tasks = chunks * CeilDiv(columns, kPackColumns);
  const double work = static_cast<double>(p.k) * static_cast<double>(columns) * kPackCost;
  return ForEachTask(context, tasks, WorkersFor(context, tasks, work), [&](size_t task, size_t) {
    const size_t k = task % chunks * kSumChunk, column = task / chunks * kPackColumns;
    PackPanels(b.at(k, first + column), b.k_stride, b.column_stride, std::min(kSumChunk, p.k - k),
               std::min(kPackColumns, columns - column), panels + column * p.k + k * kPanel,
               p.k * kPanel);
  });
}

Status NearPacked(const MatmulPlan& plan, const float* tiles, const Context::Impl& context) {
  const Product2d& p = plan.p;
  const float* panels = plan.packed.f32();
  return ForEachTask(context, CeilDiv(p.n, kShareColumns), plan.workers, [&](size_t task, size_t) {
    const size_t column = task * kShareColumns;
    RunStretch(*context.matmul, p, {0, p.m, 0, p.k, tiles}, column,
               std::min(kShareColumns, p.n - column), p.k * kPanel,
               [&](size_t at, size_t k) { return panels + at * p.k + k * kPanel; });
  });
}

// b as given: each task owns some columns, packs a stretch of them and takes it from cache.
Status NearPlain(const MatmulPlan& plan, const float* tiles, float* workspace,
                 const Context::Impl& context) {
  const Product2d& p = plan.p;
  const PlainMatrix& b = plan.plain;
  const size_t depth = std::min(p.k, kStretch);
  return ForEachTask(context, CeilDiv(p.n, kShareColumns), plan.workers,
                     [&](size_t task, size_t worker) {
                       float* panels = workspace + worker * plan.worker_floats;
                       const size_t column = task * kShareColumns;
                       const size_t columns = std::min(kShareColumns, p.n - column);
                       for (size_t k = 0; k < p.k; k += kStretch) {
                         const size_t end = std::min(p.k, k + kStretch);
                         PackPanels(b.at(k, column), b.k_stride, b.column_stride, end - k, columns,
                                    panels, depth * kPanel);
                         RunStretch(*context.matmul, p, {0, p.m, k, end, tiles + k * p.m}, column,
                                    columns, depth * kPanel, [&](size_t at, size_t from) {
                                      return panels + (at - column) * depth + (from - k) * kPanel;
                                    });
                       }
                     });
}

}  // namespace

void PlanBlocks(const Context::Impl& context, MatmulPlan* plan) {
  const Product2d& p = plan->p;
  const bool packed = !plan->packed.absent();
  if (StaysNear(p, context)) {
    plan->order = ProductOrder::kNear;
    plan->workers = WorkersFor(context, CeilDiv(p.n, kShareColumns), Flops(p));
    plan->shared_floats = IsTile(p) ? 0 : p.m * p.k;
    plan->worker_floats = packed ? 0 : kShareColumns * std::min(p.k, kStretch);
    return;
  }
  plan->order = ProductOrder::kFar;
  plan->columns = p.n;
  if (!packed) {
    plan->columns =
        std::min(RoundUp(p.n, kColumnPad),
                 std::max(kMinStripeColumns, kStripeFloats / p.k / kColumnPad * kColumnPad));
    if (__builtin_mul_overflow(plan->columns, p.k, &plan->shared_floats)) {
      plan->shared_floats = SIZE_MAX;
    }
  }
  Product2d part = p;
  part.n = std::min(plan->columns, p.n);
  const TaskGrid grid(context, part.m, part.n, part.k);
  plan->worker_floats = grid.TileFloats(p.k);
  plan->workers = WorkersFor(context, grid.tasks(), Flops(part));
  if (p.n % part.n == 0) return;
  part.n = p.n % part.n;  // the last columns, which may be cut into more tasks
  const TaskGrid last(context, part.m, part.n, part.k);
  plan->workers = std::max(plan->workers, WorkersFor(context, last.tasks(), Flops(part)));
}

Status RunNear(const MatmulPlan& plan, const MatmulMemory& memory, const Context::Impl& context) {
  const float* tiles = plan.p.a;
  if (memory.shared != nullptr) {
    HEED_RETURN_IF_ERROR(PackAllRows(plan.p, memory.shared, context));
    tiles = memory.shared;
  }
  return plan.packed.absent() ? NearPlain(plan, tiles, memory.workers, context)
                              : NearPacked(plan, tiles, context);
}

// Of a b as given, a stripe is packed once, then all rows run against it.
Status RunFar(const MatmulPlan& plan, const MatmulMemory& memory, const Context::Impl& context) {
  const Product2d& p = plan.p;
  if (!plan.packed.absent()) return FarRows(p, plan.packed, memory.workers, context);
  for (size_t first = 0; first < p.n; first += plan.columns) {
    Product2d part = p;
    part.n = std::min(plan.columns, p.n - first);
    part.c += first;
    if (part.bias != nullptr) part.bias += first;
    HEED_RETURN_IF_ERROR(PackStripe(p, plan.plain, first, part.n, memory.shared, context));
    HEED_RETURN_IF_ERROR(FarRows(part, {memory.shared}, memory.workers, context));
  }
  return Status();
}

}  // namespace heed
