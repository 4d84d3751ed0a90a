// A whole attention layer of GPT-2's size: a prompt, and one token after it.
#include <cmath>
#include <memory>

#include "bench/case.h"

namespace heed::bench {
namespace {

struct LayerProblem {
  Buffer x, w_qkv, w_out, k_past, v_past, out, want;
  LayerArgs args;

  explicit LayerProblem(const LayerShape& s)
      : x(random_normal(s.seq * s.width(), 1)),
        w_qkv(random_normal(s.width() * 3 * s.width(), 2)),
        w_out(random_normal(s.width() * s.width(), 3)),
        k_past(random_normal(s.past * s.width(), 4)),
        v_past(random_normal(s.past * s.width(), 5)),
        out(x.size()),
        want(x.size()) {
    // So that queries and keys are of deviation 1, as a trained model keeps them.
    const float scale = 1.0f / std::sqrt(static_cast<float>(s.width()));
    for (Buffer* w : {&w_qkv, &w_out}) {
      for (float& value : *w) value *= scale;
    }
    args = {s, x.data(), w_qkv.data(), w_out.data(), k_past.data(), v_past.data(), out.data()};
  }

  Result<Run> run(const Library& library, bool reference) {
    LayerArgs to = args;
    if (reference) to.y = want.data();
    return library.layer(to);
  }
};

}  // namespace

void add_layer(Suite* suite) {
  for (const LayerShape& shape : {LayerShape{1024, 0, 12, 64}, LayerShape{1, 1023, 12, 64}}) {
    Case c;
    c.operation = "layer";
    c.shape = shape_of(shape);
    c.bound = shape.seq == 1 ? Bound::kMemory : Bound::kFlops;
    c.work = work_of(shape);
    // As in a model, whose other layers come between two uses of this one.
    const size_t copies = shape.seq == 1 ? suite->copies_beyond_cache(c.work.bytes) : 1;
    const Choice choice{.tier = shape.seq == 1 ? Tier::kQuick : Tier::kDefault};
    add_for_all(suite, c, choice, Operation::kAttention,
                [=](const Library& library, const Library& reference) {
                  return prepare_copies<LayerProblem>(copies, library, reference, shape);
                });
  }
}

}  // namespace heed::bench
