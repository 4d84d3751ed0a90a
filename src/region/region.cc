// Calls whose tasks the host runs. A plan is kept, and what runs it is run once for each piece of a
// loop: it writes nothing but in loops (see Once), passes over those before the piece's, and ends
// after the piece.
#include "src/region/region.h"

#include <algorithm>
#include <new>

#include "src/attention/attention.h"
#include "src/base/check.h"
#include "src/base/float_environment.h"
#include "src/matmul/matmul.h"

namespace heed::inline v1 {

namespace {

struct AttentionCall {
  AttentionPlan plan;
  PagedKv paged;
};

Status RunAttentionCall(const void* call, Arena memory, const Context::Impl& context) {
  return RunAttention(static_cast<const AttentionCall*>(call)->plan, memory, context);
}

Status RunMatmulCall(const void* plan, Arena memory, const Context::Impl& context) {
  return RunMatmul(*static_cast<const MatmulPlan*>(plan), memory, context);
}

// What is asked of one pass over a call's loops.
struct Pass {
  size_t phase = SIZE_MAX;  // SIZE_MAX: all are counted
  size_t begin = 0, end = 0, worker = 0;
  bool runs = false;
  size_t phases = 0;  // so far
  size_t tasks = 0, workers = 0;
  bool found = false;

  static Status Loop(void* self, size_t num_tasks, size_t num_workers,
                     void (*task)(void* arg, size_t index, size_t worker), void* arg) {
    Pass& pass = *static_cast<Pass*>(self);
    if (pass.phases++ != pass.phase) return Status();
    pass.found = true;
    pass.tasks = num_tasks;
    pass.workers = std::max<size_t>(1, std::min(num_workers, num_tasks));
    if (pass.runs && pass.begin <= pass.end && pass.end <= num_tasks &&
        pass.worker < pass.workers) {
      for (size_t i = pass.begin; i < pass.end; ++i) task(arg, i, pass.worker);
    }
    return Context::Impl::Measured();  // ends the pass
  }
};

void Go(const Region::Impl& region, Pass* pass) {
  const FloatEnvironment environment;
  const Context::Impl context(region.settings, {&Pass::Loop, pass});
  (void)region.run(region.plan, region.memory, context);
}

// Puts a region into the context's workspace: itself, its call, and the memory that it runs in.
template <class Planned>
Status Place(const Planned& call, size_t run_bytes, size_t lists_bytes, Context::Impl* context,
             Region::Impl** region, Planned** placed) {
  Arena counted, arena;
  counted.Take<Region::Impl>();
  counted.Take<Planned>();
  counted.Take<char>(run_bytes);
  HEED_RETURN_IF_ERROR(context->Reserve(counted.used(), &arena, lists_bytes));
  *region = new (arena.Take<Region::Impl>()) Region::Impl(*context);
  *placed = new (arena.Take<Planned>()) Planned(call);
  (*region)->plan = *placed;
  (*region)->memory = arena;
  return Status();
}

}  // namespace

Status CheckMaxWorkers(size_t max_workers) {
  constexpr size_t kMost = 4096;  // as threads of a context
  if (max_workers >= 1 && max_workers <= kMost) return Status();
  return Status::Error(StatusCode::kInvalidArgument, "max_workers: is %zu, must be from 1 to %zu",
                       max_workers, kMost);
}

Result<Region> Region::plan_attention(const TensorView& q, const TensorView& k, const TensorView& v,
                                      const KvCache* cache, const PagedKv* paged,
                                      const MutableTensorView& out, const AttentionOptions& options,
                                      size_t max_workers, Context& context) {
  const Call call(context);
  HEED_RETURN_IF_ERROR(call.status());
  HEED_RETURN_IF_ERROR(CheckMaxWorkers(max_workers));
  Context::Impl& impl = *Context::Impl::Of(context);
  const PlannedWorkers workers(&impl, max_workers);
  AttentionCall planned;
  const NamedView outputs[] = {{"out", &out}};
  HEED_RETURN_IF_ERROR(
      PlanAttention(q, {k, v, cache, paged}, out, outputs, options, impl, &planned.plan));
  if (paged != nullptr) planned.paged = *paged;
  Region::Impl* region = nullptr;
  AttentionCall* placed = nullptr;
  HEED_RETURN_IF_ERROR(
      Place(planned, planned.plan.bytes, planned.plan.lists_bytes, &impl, &region, &placed));
  if (paged != nullptr) placed->plan.source.paged = &placed->paged;
  region->run = &RunAttentionCall;
  return Region(region);
}

Result<Region> Region::attention(const TensorView& q, const TensorView& k, const TensorView& v,
                                 const MutableTensorView& out, const AttentionOptions& options,
                                 size_t max_workers, Context& context) {
  return plan_attention(q, k, v, nullptr, nullptr, out, options, max_workers, context);
}

Result<Region> Region::attention(const TensorView& q, const KvCache& cache,
                                 const MutableTensorView& out, const AttentionOptions& options,
                                 size_t max_workers, Context& context) {
  return plan_attention(q, {}, {}, &cache, nullptr, out, options, max_workers, context);
}

Result<Region> Region::attention(const TensorView& q, const PagedKv& kv,
                                 const MutableTensorView& out, const AttentionOptions& options,
                                 size_t max_workers, Context& context) {
  return plan_attention(q, {}, {}, nullptr, &kv, out, options, max_workers, context);
}

template <class Matrix>
Result<Region> Region::plan_matmul(const TensorView& a, const Matrix& b, const MutableTensorView& c,
                                   const MatmulOptions& options, size_t max_workers,
                                   Context& context) {
  const Call call(context);
  HEED_RETURN_IF_ERROR(call.status());
  HEED_RETURN_IF_ERROR(CheckMaxWorkers(max_workers));
  Context::Impl& impl = *Context::Impl::Of(context);
  const PlannedWorkers workers(&impl, max_workers);
  MatmulPlan plan;
  HEED_RETURN_IF_ERROR(PlanMatmul(a, b, c, options, impl, &plan));
  Region::Impl* region = nullptr;
  MatmulPlan* placed = nullptr;
  HEED_RETURN_IF_ERROR(Place(plan, plan.bytes, 0, &impl, &region, &placed));
  region->run = &RunMatmulCall;
  return Region(region);
}

Result<Region> Region::matmul(const TensorView& a, const TensorView& b, const MutableTensorView& c,
                              const MatmulOptions& options, size_t max_workers, Context& context) {
  return plan_matmul(a, b, c, options, max_workers, context);
}

Result<Region> Region::matmul(const TensorView& a, const PackedMatrix& b,
                              const MutableTensorView& c, const MatmulOptions& options,
                              size_t max_workers, Context& context) {
  return plan_matmul(a, b, c, options, max_workers, context);
}

size_t Region::phases() const {
  Pass pass;
  Go(*impl_, &pass);
  return pass.phases;
}

size_t Region::tasks(size_t phase) const {
  Pass pass;
  pass.phase = phase;
  Go(*impl_, &pass);
  return pass.tasks;
}

size_t Region::workers(size_t phase) const {
  Pass pass;
  pass.phase = phase;
  Go(*impl_, &pass);
  return pass.workers;
}

Status Region::run(size_t phase, size_t begin, size_t end, size_t worker) const {
  Pass pass;
  pass.phase = phase;
  pass.begin = begin;
  pass.end = end;
  pass.worker = worker;
  pass.runs = true;
  Go(*impl_, &pass);
  if (pass.found && begin <= end && end <= pass.tasks && worker < pass.workers) return Status();
  return Status::Error(StatusCode::kInvalidArgument,
                       "run: phase %zu, tasks %zu to %zu and worker %zu, must be below %zu, within "
                       "%zu and below %zu",
                       phase, begin, end, worker, pass.found ? phase + 1 : pass.phases, pass.tasks,
                       pass.workers);
}

}  // namespace heed::inline v1
