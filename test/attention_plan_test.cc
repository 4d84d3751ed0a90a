// What an attention plan says about memory: no run takes more, and none takes any by itself.
#include <doctest/doctest.h>

#include <cstddef>
#include <string>

#include "heed/attention.hpp"
#include "src/attention/attention.h"
#include "test/cases/attention_problem.h"
#include "test/support/compare.h"
#include "test/support/contexts.h"
#include "test/support/stored_tensor.h"
#include "tools/conformance/guarded.h"

namespace heed::test {
namespace {

// attention() in two steps, in memory that ends at a guard page after exactly the plan's bytes.
Status RunAtGuardPage(const AttentionProblem& p, AttentionOptions options, Context& context,
                      Tensor<float>* out) {
  Context::Impl& impl = *Context::Impl::Of(context);
  AttentionPlan plan;
  const StoredTensor k(p.given.k_dtype, p.k.shape(), Layout::kContiguous, p.k.Dense());
  const StoredTensor v(p.given.v_dtype, p.v.shape(), Layout::kContiguous, p.v.Dense());
  options.k_scales = k.scales_view();
  options.v_scales = v.scales_view();
  const KeySource source = {k.view(), v.view()};
  const MutableTensorView view = out->mutable_view();
  const NamedView outputs[] = {{"out", &view}};
  const Status status = PlanAttention(p.q.view(), source, view, outputs, options, impl, &plan);
  if (!status.ok()) return status;
  REQUIRE(plan.bytes > 0);
  const Place place(Placement::kEndsAtGuard);
  PlacedVector<char> memory(plan.bytes, '\x7f');
  return RunAttention(plan, Arena(memory.data()), impl);
}

TEST_CASE("a run of attention keeps within the bytes of its plan, and takes no others") {
  const AttentionShape kShapes[] = {
      {2, 3, 17, 2, 1, 5, 3},                  // small
      {1, 150, 150, 3, 3, 33, 17},             // several groups of rows
      {1, 2, 3 * kSegmentKeys, 4, 2, 16, 20},  // split into segments
  };
  const AttentionCase kSettings[] = {{},
                                     {.causal = true, .weights = true},
                                     {.dropout = 0.3f},
                                     {.dropout_mask = true},
                                     {.k_dtype = DType::kInt8, .v_dtype = DType::kInt4},
                                     {.k_dtype = DType::kF16}};
  for (const AttentionShape& shape : kShapes) {
    for (const AttentionCase& settings : kSettings) {
      const AttentionProblem problem(shape, settings);
      for (Runner& runner : Runners()) {
        INFO(shape << "; " << settings << "; " << runner.name);
        const AttentionAnswer want = problem.Run(*runner.context);
        const size_t held = runner.context->workspace_bytes();
        Tensor<float> out({shape.batch, shape.q_len, shape.num_heads, shape.v_head_dim});
        Tensor<float> weights({shape.batch, shape.num_heads, shape.q_len, shape.kv_len});
        AttentionOptions options = problem.Options();
        if (settings.weights) options.weights = weights.mutable_view();
        const Status status = RunAtGuardPage(problem, options, *runner.context, &out);
        REQUIRE(std::string(status.message()) == "");
        CHECK(Difference(out.Dense(), want.out) == "");
        if (settings.weights) CHECK(Difference(weights.Dense(), want.weights) == "");
        CHECK(runner.context->workspace_bytes() == held);
      }
    }
  }
}

}  // namespace
}  // namespace heed::test
