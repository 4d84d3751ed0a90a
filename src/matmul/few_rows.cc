#include "src/matmul/few_rows.h"

#include <algorithm>

#include "src/base/check.h"
#include "src/base/parallel.h"
#include "src/kernels/few_rows.h"

namespace heed::inline v1 {
namespace {

enum class Form { kPanels, kRows, kColumns, kNone };

Form FormOf(const MatmulPlan& plan) {
  if (!plan.packed.absent()) return Form::kPanels;
  if (plan.plain.column_stride == 1 || plan.p.n == 1) return Form::kRows;
  return plan.plain.row_stride == 1 || plan.p.k == 1 ? Form::kColumns : Form::kNone;
}

// A row whose elements lie side by side is a tile as it is.
bool IsTile(const Product2d& p) { return p.m == 1 && (p.a_k == 1 || p.k == 1); }

// An element of b, read from memory, takes as long as so many operations at least.
constexpr double kReadCost = 8;
double Work(const Product2d& p) {
  return std::max(Flops(p), kReadCost * static_cast<double>(p.n) * static_cast<double>(p.k));
}

// What is cut into tasks, in columns: panels are read a group at a time.
constexpr size_t kGroupColumns = kPanelsTogether * kPanel;
size_t AllColumns(const MatmulPlan& plan) {
  return FormOf(plan) == Form::kPanels ? PanelGroups(plan.p.n) * kGroupColumns : plan.p.n;
}

// Columns of a task. Streams are long where tasks are few; several for each thread even out what
// they take. Rows of b are read in runs as long as they can be while the sums of a chunk stay near.
size_t TaskColumns(const MatmulPlan& plan, const Context::Impl& context) {
  constexpr size_t kTasksPerThread = 4, kMinRun = 256, kMaxRun = 4096;
  const size_t threads = context.num_threads;
  if (FormOf(plan) == Form::kRows) {
    const size_t share = RoundUp(CeilDiv(plan.p.n, threads), kGroupColumns);
    return std::clamp(share, kMinRun, kMaxRun);
  }
  const size_t groups = CeilDiv(AllColumns(plan), kGroupColumns);
  const size_t tasks = threads > 1 ? kTasksPerThread * threads : 1;
  return std::max<size_t>(1, groups / tasks) * kGroupColumns;
}

size_t Tasks(const MatmulPlan& plan) { return CeilDiv(AllColumns(plan), plan.columns); }

}  // namespace

bool HasFewRows(const MatmulPlan& plan) {
  return plan.p.m <= kMaxFewRows && FormOf(plan) != Form::kNone;
}

void PlanFewRows(const Context::Impl& context, MatmulPlan* plan) {
  const Product2d& p = plan->p;
  plan->order = ProductOrder::kFewRows;
  plan->columns = TaskColumns(*plan, context);
  plan->workers = WorkersFor(context, Tasks(*plan), Work(p));
  plan->shared_floats = IsTile(p) ? 0 : p.m * p.k;
  plan->worker_floats = FormOf(*plan) == Form::kRows ? p.m * plan->columns : 0;
}

Status RunFewRows(const MatmulPlan& plan, const MatmulMemory& memory,
                  const Context::Impl& context) {
  const Product2d& p = plan.p;
  static_assert(kMaxFewRows <= kTileRows);
  if (memory.shared != nullptr) {
    HEED_RETURN_IF_ERROR(Once(context, [&] {
      const float* rows[kMaxFewRows];
      for (size_t r = 0; r < p.m; ++r) rows[r] = p.a + static_cast<ptrdiff_t>(r) * p.a_row;
      context.pack->tile(rows, p.a_k, p.m, p.k, memory.shared);
    }));
  }
  const Form form = FormOf(plan);
  FewRows whole;
  whole.a = memory.shared != nullptr ? memory.shared : p.a;
  whole.rows = p.m;
  whole.depth = p.k;
  whole.columns = p.n;
  whole.c = p.c;
  whole.c_stride = p.c_row;
  whole.bias = p.bias;
  whole.b_is_near = p.n < context.l2_bytes / sizeof(float) / p.k;
  const size_t tasks = Tasks(plan);
  if (form == Form::kPanels) {
    const size_t groups = PanelGroups(p.n), share = plan.columns / kGroupColumns;
    const auto panels = context.few_rows->panels[StoredIndex(plan.packed.dtype)];
    return ForEachTask(context, tasks, plan.workers, [&](size_t task, size_t) {
      const size_t begin = task * share;
      panels(whole, plan.packed, begin, std::min(groups, begin + share));
    });
  }
  const auto rows = context.few_rows->rows[StoredIndex(plan.plain.dtype)];
  const auto columns = context.few_rows->columns[StoredIndex(plan.plain.dtype)];
  return ForEachTask(context, tasks, plan.workers, [&](size_t task, size_t worker) {
    const size_t column = task * plan.columns;
    FewRows part = whole;
    part.columns = std::min(plan.columns, p.n - column);
    part.c += column;
    if (part.bias != nullptr) part.bias += column;
    const void* b = plan.plain.at(0, column);
    if (form == Form::kRows) {
      rows(part, b, plan.plain.row_stride, memory.workers + worker * plan.worker_floats);
    } else {
      columns(part, b, plan.plain.column_stride);
    }
  });
}

}  // namespace heed::inline v1
