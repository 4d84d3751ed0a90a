#include "src/matmul/int16.h"

#include <algorithm>

#include "src/kernels/matmul_int16.h"

namespace heed::inline v1 {
namespace {

// A worker's memory: rows of a for as many steps as are quantized at a time, and one unit of b.
struct Int16Memory {
  int32_t* rows;    // [chunks][tiles of rows]
  float* scales;    // [chunks][plan.rows]
  int32_t* panels;  // of a unit
  float* panel_scales;

  Int16Memory(const MatmulPlan& plan, Arena* arena) {
    const size_t depth = std::min(plan.p.k, plan.depth);
    rows = arena->Take<int32_t>(plan.rows, PairsOf(depth));
    scales = arena->Take<float>(plan.rows, CeilDiv(depth, kSumChunk));
    panels = arena->Take<int32_t>(plan.unit_columns, PairsOf(kSumChunk));
    panel_scales = arena->Take<float>(kMaxChunkGroups, kColumnPad);
  }
};

QuantizeInt16 RowsOf(const MatmulPlan& plan, const MatmulTask& task, size_t k, size_t depth) {
  QuantizeInt16 rows;
  rows.a = plan.p.a + static_cast<ptrdiff_t>(task.row) * plan.p.a_row +
           static_cast<ptrdiff_t>(k) * plan.p.a_k;
  rows.row_stride = plan.p.a_row;
  rows.k_stride = plan.p.a_k;
  rows.rows = task.row_end - task.row;
  rows.depth = depth;
  return rows;
}

}  // namespace

size_t Int16Floats(const MatmulPlan& plan) {
  Arena counted;
  Int16Memory(plan, &counted);
  return counted.used() / sizeof(float);
}

// As many columns of b at a time as a register tile has: a chunk of them is widened, multiplied
// with all rows while it is in L1, and widened anew for the next task's rows, which costs less than
// to keep it.
void RunInt16Task(const MatmulPlan& plan, const MatmulTask& task, bool keeps_rows, float* memory,
                  const Context::Impl& context) {
  const Product2d& p = plan.p;
  Arena arena(memory);
  const Int16Memory at(plan, &arena);
  const auto widen_codes = context.matmul_int16->widen[StoredIndex(plan.packed.dtype)];
  WidenInt16 widen;
  widen.from = plan.packed;
  widen.stride = BytesOfPanel(plan.packed.dtype, p.k);
  widen.codes = at.panels;
  widen.scales = at.panel_scales;
  MatmulInt16Block block;
  block.b = at.panels;
  block.b_scales = at.panel_scales;
  block.rows = task.row_end - task.row;
  block.group = plan.packed.scales.group;
  block.c_stride = p.c_row;
  for (size_t stretch = 0; stretch < p.k; stretch += plan.depth) {
    const size_t stretch_end = std::min(p.k, stretch + plan.depth);
    for (size_t column = task.column; column < task.column_end; column += plan.unit_columns) {
      block.columns = std::min(plan.unit_columns, task.column_end - column);
      widen.first = column / kPanel;
      widen.panels = plan.unit_columns / kPanel;
      block.c = p.c + static_cast<ptrdiff_t>(task.row) * p.c_row + column;
      for (size_t k = stretch; k < stretch_end; k += kSumChunk) {
        const size_t chunk = (k - stretch) / kSumChunk;
        block.depth = widen.depth = std::min(kSumChunk, p.k - k);
        QuantizeInt16 rows = RowsOf(plan, task, k, block.depth);
        rows.codes = at.rows + chunk * block.rows * PairsOf(kSumChunk);
        rows.scales = at.scales + chunk * plan.rows;
        if (column == task.column && !keeps_rows) context.matmul_int16->quantize(rows);
        block.a = rows.codes;
        block.a_scales = rows.scales;
        widen.begin = k;
        widen_codes(widen);
        block.first = k == 0;
        block.bias = k + block.depth == p.k && p.bias != nullptr ? p.bias + column : nullptr;
        context.matmul_int16->block(block);
      }
    }
  }
}

}  // namespace heed::inline v1
