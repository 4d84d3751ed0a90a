// A layer's forward pass as a region: apart, so that a library without the layer has no part of it.
#include <new>

#include "src/base/check.h"
#include "src/layer/multi_head_attention.h"
#include "src/region/region.h"

namespace heed::inline v1 {
namespace {

struct ForwardCall {
  ForwardPlan plan;
  const MultiHeadAttention::Impl* layer;
};

Status RunForwardCall(const void* call, Arena memory, const Context::Impl& context) {
  const auto& forward = *static_cast<const ForwardCall*>(call);
  return forward.layer->RunForward(forward.plan, memory, context);
}

}  // namespace

Result<Region> Region::forward(const MultiHeadAttention& layer, const TensorView& x,
                               const MutableTensorView& y, const ForwardOptions& options,
                               size_t max_workers, Context& context) {
  const Call call(context);
  HEED_RETURN_IF_ERROR(call.status());
  HEED_RETURN_IF_ERROR(CheckMaxWorkers(max_workers));
  const MultiHeadAttention::Impl* of = MultiHeadAttention::Impl::Of(layer);
  if (of == nullptr) {
    return Status::Error(StatusCode::kInvalidArgument, "layer: was moved from");
  }
  Context::Impl& impl = *Context::Impl::Of(context);
  const PlannedWorkers workers(&impl, max_workers);
  ForwardCall planned = {{}, of};
  // The plan has places in the memory that it is made in, so the region goes before them.
  Arena front;
  front.Take<Region::Impl>();
  front.Take<ForwardCall>();
  HEED_RETURN_IF_ERROR(of->PlanForward(x, y, options, impl, &planned.plan, front.used()));
  if (planned.plan.empty()) {
    HEED_RETURN_IF_ERROR(impl.Reserve(front.used(), &planned.plan.front));
  }
  Arena arena = planned.plan.front;
  auto* region = new (arena.Take<Region::Impl>()) Region::Impl(impl);
  region->plan = new (arena.Take<ForwardCall>()) ForwardCall(planned);
  region->memory = planned.plan.memory;
  region->run = &RunForwardCall;
  return Region(region);
}

}  // namespace heed::inline v1
