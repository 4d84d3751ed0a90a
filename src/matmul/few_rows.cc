#include "src/matmul/few_rows.h"

#include <algorithm>

#include "src/base/parallel.h"
#include "src/kernels/few_rows.h"
#include "src/matmul/pack.h"

namespace heed {
namespace {

enum class Form { kPanels, kRows, kColumns, kNone };

Form FormOf(const MatmulPlan& plan) {
  if (!plan.packed.absent()) return Form::kPanels;
  if (plan.plain.column_stride == 1 || plan.p.n == 1) return Form::kRows;
  return plan.plain.k_stride == 1 || plan.p.k == 1 ? Form::kColumns : Form::kNone;
}

// A row whose elements lie side by side is a tile as it is.
bool IsTile(const Product2d& p) { return p.m == 1 && (p.a_k == 1 || p.k == 1); }

// An element of b, read from memory, takes as long as so many operations at least.
constexpr double kReadCost = 8;
double Work(const Product2d& p) {
  return std::max(Flops(p), kReadCost * static_cast<double>(p.n) * static_cast<double>(p.k));
}

// Columns of a task. Panels and columns of b are read a few at a time. Rows of b are read in runs
// as long as they can be while the sums of a chunk stay in L1.
size_t TaskColumns(const MatmulPlan& plan, const Context::Impl& context) {
  constexpr size_t kShareColumns = 64, kMinRun = 256, kSumFloats = 4096;
  if (FormOf(plan) != Form::kRows) return kShareColumns;
  const size_t share = RoundUp(CeilDiv(plan.p.n, context.num_threads), kColumnPad);
  return std::clamp(share, kMinRun, RoundUp(kSumFloats / plan.p.m, kColumnPad));
}

}  // namespace

bool HasFewRows(const MatmulPlan& plan) {
  return plan.p.m <= kMaxFewRows && FormOf(plan) != Form::kNone;
}

void PlanFewRows(const Context::Impl& context, MatmulPlan* plan) {
  const Product2d& p = plan->p;
  plan->order = ProductOrder::kFewRows;
  plan->columns = TaskColumns(*plan, context);
  plan->workers = WorkersFor(context, CeilDiv(p.n, plan->columns), Work(p));
  plan->shared_floats = IsTile(p) ? 0 : p.m * p.k;
  plan->worker_floats = FormOf(*plan) == Form::kRows ? p.m * plan->columns : 0;
}

Status RunFewRows(const MatmulPlan& plan, const MatmulMemory& memory,
                  const Context::Impl& context) {
  const Product2d& p = plan.p;
  if (memory.shared != nullptr) PackTiles(p.a, p.a_row, p.a_k, p.m, p.k, memory.shared);
  const Form form = FormOf(plan);
  return ForEachTask(
      context, CeilDiv(p.n, plan.columns), plan.workers, [&](size_t task, size_t worker) {
        const size_t column = task * plan.columns;
        FewRows part;
        part.a = memory.shared != nullptr ? memory.shared : p.a;
        part.rows = p.m;
        part.depth = p.k;
        part.columns = std::min(plan.columns, p.n - column);
        part.c = p.c + column;
        part.c_stride = p.c_row;
        part.bias = p.bias != nullptr ? p.bias + column : nullptr;
        if (form == Form::kPanels) {
          context.few_rows->panels(part, {plan.packed.f32() + column * p.k});
        } else if (form == Form::kRows) {
          context.few_rows->rows(part, plan.plain.at(0, column), plan.plain.k_stride,
                                 memory.workers + worker * plan.worker_floats);
        } else {
          context.few_rows->columns(part, plan.plain.at(0, column), plan.plain.column_stride);
        }
      });
}

}  // namespace heed
