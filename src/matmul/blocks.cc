#include "src/matmul/blocks.h"

#include <algorithm>
#include <new>

#include "src/base/check.h"
#include "src/base/parallel.h"
#include "src/kernels/matmul.h"
#include "src/matmul/int16.h"

namespace heed::inline v1 {
namespace {

// All of k is packed at a time of rows of a where so many of them stay near; else a stretch of it,
// and the sums pass through c once per stretch.
constexpr size_t kStretchRows = 192;
constexpr size_t kStretch = 2 * kSumChunk;
// Several threads get up to so many tasks each, to even out what they take, as long as the tasks
// are worth what is packed before they can begin.
constexpr size_t kTasksPerThread = 4;
constexpr double kTaskFlops = 5e7;
constexpr size_t kMinTaskRows = 96, kMaxTaskRows = 384;

// Columns of what is multiplied at a time, for one chunk of k, at most. Of a matrix that is not
// packed, units are wider, since a row of them is read at a time, and a worker holds two in panels:
// one is multiplied while the next is copied. Of one that is not stored in f32 it holds one that is
// as wide as a register tile, widened just before it is multiplied, so that it stays in L1.
constexpr size_t kUnitColumns = 64;
constexpr size_t kUnitFloats = kUnitColumns * kSumChunk;

// Of a matrix that is not packed in f32, all threads together hold at most so many floats of panels
// for the rows that come later; the context keeps the memory.
constexpr size_t kStripeFloats = size_t{2} << 20;

bool IsInt16(const MatmulPlan& plan) { return plan.compute == Compute::kInt16; }

// Elements of packed rows of a that stay in L2 while panels of b and tiles of c pass through.
size_t NearElements(const MatmulPlan& plan, const Context::Impl& context) {
  return context.l2_bytes / 8 * 3 / (IsInt16(plan) ? sizeof(int16_t) : sizeof(float));
}

size_t RowBlocks(const MatmulPlan& plan) { return CeilDiv(plan.p.m, plan.rows); }
size_t ColumnBlocks(const MatmulPlan& plan) { return CeilDiv(plan.p.n, plan.columns); }

// Of the unit that begins there. Of a plain matrix the first is narrow, since nothing is multiplied
// while it is copied.
size_t UnitColumns(const MatmulPlan& plan, const MatmulTask& task, size_t column) {
  const size_t most = column == task.column ? kColumnPad : kUnitColumns;
  return std::min({most, plan.unit_columns, task.column_end - column});
}

// The units of b in the order that a task takes them: k within a stretch, then columns, so that b
// is read in order and c is done with before the next columns; then the next stretch.
struct Unit {
  size_t stretch;  // where it begins
  size_t column, k;

  bool Next(const MatmulPlan& plan, const MatmulTask& task) {
    k += kSumChunk;
    if (k < std::min(stretch + plan.depth, plan.p.k)) return true;
    column += UnitColumns(plan, task, column);
    k = stretch;
    if (column < task.column_end) return true;
    column = task.column;
    k = stretch += plan.depth;
    return k < plan.p.k;
  }
};

// How b is there.
enum class Form { kPlain, kStored, kPanels };
Form FormOf(const MatmulPlan& plan) {
  if (plan.packed.absent()) return Form::kPlain;
  return plan.packed.dtype == DType::kF32 ? Form::kPanels : Form::kStored;
}

size_t UnitDepth(const MatmulPlan& plan, const Unit& unit) {
  return std::min(kSumChunk, plan.p.k - unit.k);
}

// Where a unit's panels of f32 are in the given turn, of a matrix that has none. A worker keeps
// those of all its task's columns, or of the last units.
struct UnitPanels {
  float* data;
  size_t stride;

  UnitPanels(const MatmulPlan& plan, const MatmulTask& task, const Unit& unit, size_t turn,
             float* panels)
      : data(panels + (plan.keeps_panels
                           ? (unit.column - task.column) * plan.p.k + unit.k * kPanel
                           : (FormOf(plan) == Form::kPlain ? turn % 2 * kUnitFloats : 0))),
        stride((plan.keeps_panels ? plan.p.k : UnitDepth(plan, unit)) * kPanel) {}
};

PanelCopy CopyOf(const MatmulPlan& plan, const MatmulTask& task, const Unit& unit,
                 const UnitPanels& to) {
  PanelCopy copy;
  copy.source = reinterpret_cast<const float*>(plan.plain.at(unit.k, unit.column));
  copy.depth_stride = plan.plain.row_stride;
  copy.column_stride = plan.plain.column_stride;
  copy.depth = UnitDepth(plan, unit);
  copy.columns = UnitColumns(plan, task, unit.column);
  copy.panels = to.data;
  copy.panel_stride = to.stride;
  return copy;
}

void Widen(const MatmulPlan& plan, const MatmulTask& task, const Unit& unit, const UnitPanels& to,
           const WidenKernels& kernels) {
  PanelWiden widen;
  widen.from = plan.packed;
  widen.stride = BytesOfPanel(plan.packed.dtype, plan.p.k);
  widen.first = unit.column / kPanel;
  widen.panels = CeilDiv(UnitColumns(plan, task, unit.column), kPanel);
  widen.begin = unit.k;
  widen.depth = UnitDepth(plan, unit);
  widen.to = to.data;
  widen.to_stride = to.stride;
  kernels.panels[StoredIndex(plan.packed.dtype)](widen);
}

const float* PackedUnit(const MatmulPlan& plan, const Unit& unit) {
  return plan.packed.f32() + unit.column * plan.p.k + unit.k * kPanel;
}

// What a worker has packed for its last task, and need not pack again.
struct Kept {
  bool rows, columns;
};

// `tiles` is [k / kSumChunk][rows / 6][depth][6]: a's rows, packed with the first columns. `panels`
// are of a matrix that is not packed in f32.
void RunTask(const MatmulPlan& plan, const MatmulTask& task, const Kept& kept, float* tiles,
             float* panels, const Context::Impl& context) {
  const Product2d& p = plan.p;
  const Form form = FormOf(plan);
  MatmulBlock block;
  block.rows = task.row_end - task.row;
  block.a_row_stride = p.a_row;
  block.a_k_stride = p.a_k;
  block.c_stride = p.c_row;
  Unit unit = {0, task.column, 0}, next = unit;
  if (form == Form::kPlain && !kept.columns) {
    context.pack->panels(CopyOf(plan, task, unit, {plan, task, unit, 0, panels}));
  }
  for (size_t turn = 0, more = true; more; unit = next, ++turn) {
    more = next.Next(plan, task);
    block.depth = UnitDepth(plan, unit);
    block.columns = UnitColumns(plan, task, unit.column);
    block.a = tiles + (unit.k - unit.stretch) * block.rows;
    block.a_rows = kept.rows || unit.column != task.column
                       ? nullptr
                       : p.a + static_cast<ptrdiff_t>(task.row) * p.a_row +
                             static_cast<ptrdiff_t>(unit.k) * p.a_k;
    block.copy_b = PanelCopy();
    block.prefetch_b = Panels();
    if (form == Form::kPanels) {
      block.b.data = PackedUnit(plan, unit);
      block.b_panel_stride = p.k * kPanel;
      block.prefetch_b.data = more ? PackedUnit(plan, next) : nullptr;
    } else {
      const UnitPanels b(plan, task, unit, turn, panels);
      const UnitPanels next_b(plan, task, next, turn + 1, panels);
      block.b.data = b.data;
      block.b_panel_stride = b.stride;
      if (kept.columns) {
        block.prefetch_b.data = more ? next_b.data : nullptr;
      } else if (form == Form::kStored) {
        Widen(plan, task, unit, b, *context.widen);
        if (more) {
          const size_t step = BytesOfStep(plan.packed.dtype);
          block.prefetch_stride = BytesOfPanel(plan.packed.dtype, p.k);
          block.prefetch_bytes = UnitDepth(plan, next) * step;
          block.prefetch_b = {
              plan.packed.bytes() + next.column / kPanel * block.prefetch_stride + next.k * step,
              plan.packed.dtype};
        }
      } else if (more) {
        block.copy_b = CopyOf(plan, task, next, next_b);
      }
    }
    block.c = p.c + static_cast<ptrdiff_t>(task.row) * p.c_row + unit.column;
    block.first = unit.k == 0;
    block.bias = unit.k + block.depth == p.k && p.bias != nullptr ? p.bias + unit.column : nullptr;
    context.matmul->block(block);
  }
}

size_t TileFloats(const MatmulPlan& plan) { return plan.rows * std::min(plan.p.k, plan.depth); }

// A worker's panels of a matrix that is not packed in f32.
size_t PanelFloats(const MatmulPlan& plan) {
  const Form form = FormOf(plan);
  if (form == Form::kPanels) return 0;
  if (plan.keeps_panels) return plan.columns * plan.p.k;
  return form == Form::kPlain ? 2 * kUnitFloats : plan.unit_columns * kSumChunk;
}

size_t MostUnitColumns(const MatmulPlan& plan, const Context::Impl& context) {
  switch (FormOf(plan)) {
    case Form::kPlain:
      return kUnitColumns;
    case Form::kStored:
      return RoundUp(context.matmul->tile_columns(), kPanel);
    default:
      return kColumnPad;
  }
}

size_t TasksFor(double flops, size_t threads) {
  if (threads == 1) return 1;
  const double worth = std::min(flops / kTaskFlops, static_cast<double>(kTasksPerThread * threads));
  return std::max(threads, static_cast<size_t>(worth) / threads * threads);
}

}  // namespace

// As many rows to a task as stay near, since every block of rows reads all of b; then fewer
// columns, and then fewer rows, where threads would be idle.
void PlanBlocks(const Context::Impl& context, MatmulPlan* plan) {
  const Product2d& p = plan->p;
  const size_t near = NearElements(*plan, context), threads = context.num_threads;
  plan->order = ProductOrder::kBlocks;
  plan->unit_columns = MostUnitColumns(*plan, context);
  plan->depth = near / p.k >= std::min(p.m, kStretchRows) ? p.k : kStretch;
  const size_t most = std::clamp(near / std::min(p.k, plan->depth), kMinTaskRows, kMaxTaskRows);
  const size_t most_columns = CeilDiv(p.n, kUnitColumns);
  const size_t tasks = TasksFor(Flops(p), threads);
  size_t row_blocks = CeilDiv(p.m, most);
  size_t column_blocks = std::min(CeilDiv(tasks, row_blocks), most_columns);
  row_blocks =
      std::max(row_blocks, std::min(CeilDiv(tasks, column_blocks), CeilDiv(p.m, kMinTaskRows)));
  while (row_blocks * column_blocks % threads != 0 && column_blocks < most_columns) ++column_blocks;
  plan->rows = RoundUp(CeilDiv(p.m, row_blocks), kMaxRegisterRows);
  // Panels that several tasks of a worker can read are kept, as far as there is room.
  const size_t room = kStripeFloats / threads / p.k / kUnitColumns * kUnitColumns;
  plan->keeps_panels = FormOf(*plan) != Form::kPanels && !IsInt16(*plan) &&
                       room >= 2 * kUnitColumns && row_blocks * column_blocks >= 2 * threads &&
                       row_blocks > 1;
  if (plan->keeps_panels) column_blocks = std::max(column_blocks, CeilDiv(p.n, room));
  plan->columns = RoundUp(CeilDiv(p.n, column_blocks), kUnitColumns);
  plan->workers = WorkersFor(context, RowBlocks(*plan) * ColumnBlocks(*plan), Flops(p));
  plan->worker_floats =
      IsInt16(*plan) ? Int16Floats(*plan) : TileFloats(*plan) + PanelFloats(*plan);
}

// A worker takes rows for the columns that it had before, whose panels are near or kept, as long as
// there are any.
Status RunBlocks(const MatmulPlan& plan, const MatmulMemory& memory, const Context::Impl& context) {
  const size_t row_blocks = RowBlocks(plan), column_blocks = ColumnBlocks(plan);
  HEED_RETURN_IF_ERROR(Once(context, [&] {
    std::fill_n(memory.kept, plan.workers, KeptBlock());
    for (size_t i = 0; i < column_blocks; ++i) new (memory.rows_taken + i) std::atomic<size_t>(0);
  }));
  return ForEachTask(context, row_blocks * column_blocks, plan.workers, [&](size_t, size_t worker) {
    KeptBlock& kept = memory.kept[worker];
    size_t block = kept.column == SIZE_MAX ? worker * column_blocks / plan.workers
                                           : kept.column / plan.columns;
    size_t row_block = row_blocks;
    for (size_t tried = 0; tried < column_blocks; ++tried, block = (block + 1) % column_blocks) {
      row_block = memory.rows_taken[block].fetch_add(1);
      if (row_block < row_blocks) break;
    }
    if (row_block >= row_blocks) return;  // a task that was run before
    const MatmulTask task(plan, row_block, block);
    float* tiles = memory.workers + worker * plan.worker_floats;
    const bool keeps_rows = plan.depth >= plan.p.k && kept.row == task.row;
    if (IsInt16(plan)) {
      RunInt16Task(plan, task, keeps_rows, tiles, context);
    } else {
      RunTask(plan, task, {keeps_rows, plan.keeps_panels && kept.column == task.column}, tiles,
              tiles + TileFloats(plan), context);
    }
    kept = {task.row, task.column};
  });
}

}  // namespace heed::inline v1
