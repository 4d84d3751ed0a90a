// A whole attention layer of GPT-2's size: a prompt, and one token after it.
#include <cmath>
#include <memory>

#include "bench/case.h"

namespace heed::bench {
namespace {

struct LayerProblem {
  Buffer x, w_qkv, w_out, k_past, v_past, y, want;
  LayerArgs args;

  explicit LayerProblem(const LayerShape& s)
      : x(random_normal(s.seq * s.width(), 1)),
        w_qkv(random_normal(s.width() * 3 * s.width(), 2)),
        w_out(random_normal(s.width() * s.width(), 3)),
        k_past(random_normal(s.past * s.width(), 4)),
        v_past(random_normal(s.past * s.width(), 5)),
        y(x.size()),
        want(x.size()) {
    // So that queries and keys are of deviation 1, as a trained model keeps them.
    const float scale = 1.0f / std::sqrt(static_cast<float>(s.width()));
    for (Buffer* w : {&w_qkv, &w_out}) {
      for (float& value : *w) value *= scale;
    }
    args = {s, x.data(), w_qkv.data(), w_out.data(), k_past.data(), v_past.data(), y.data()};
  }
};

Result<Runs> PrepareLayer(const LayerShape& shape, size_t copies, const Library& library,
                          const Library& reference) {
  Runs runs;
  for (size_t i = 0; i < copies; ++i) {
    const auto p = std::make_shared<LayerProblem>(shape);
    Result<Run> run = library.layer(p->args);
    if (!run.ok()) return run.status();
    if (i == 0) {
      LayerArgs args = p->args;
      args.y = p->want.data();
      Result<Run> want = reference.layer(args);
      if (!want.ok()) return want.status();
      if (Status s = check_against(*want, p->want, *run, p->y); !s.ok()) return s;
    }
    runs.push_back([p, run = *run] { return run(); });
  }
  return runs;
}

}  // namespace

void add_layer(Suite* suite) {
  for (const LayerShape& shape : {LayerShape{1024, 0, 12, 64}, LayerShape{1, 1023, 12, 64}}) {
    Case c;
    c.operation = "layer";
    c.shape = name_of(shape);
    c.work = work_of(shape);
    // As in a model, whose other layers come between two uses of this one.
    const size_t copies = shape.seq == 1 ? suite->copies_beyond_cache(c.work.bytes) : 1;
    const Choice choice{.tier = shape.seq == 1 ? Tier::kQuick : Tier::kDefault};
    add_for_all(suite, c, choice, Operation::kAttention,
                [=](const Library& library, const Library& reference) {
                  return PrepareLayer(shape, copies, library, reference);
                });
  }
}

}  // namespace heed::bench
