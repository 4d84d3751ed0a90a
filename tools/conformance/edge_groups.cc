// Attention where its definition has corners.
#include <array>
#include <limits>

#include "tools/conformance/attention_problem.h"
#include "tools/conformance/groups.h"

namespace heed::bits {
namespace {

// Scores of a base and a little more: with a scale of 1 and a first channel of 1 in the queries, the
// base is the key's first channel.
void AttendBases(Run& run, AttentionShape shape, const std::array<float, 4>& bases) {
  shape.head_dim = 5;
  AttentionProblem p(run, shape);
  p.options.scale = 1.0f;
  for (size_t i = 0; i < p.q.size(); i += 5) p.q[i] = 1.0f;
  for (size_t i = 0; i < p.k.size(); i += 5) p.k[i] = bases[run.Below(bases.size())];
  p.options.causal = run.OneIn(2);
  p.Attend();
}

}  // namespace

// Sums of one key and of hundreds, under largest scores of any sign.
void LogSumExp(Run& run) {
  for (size_t i = 0; i < 60; ++i) {
    const float base = 20.0f * run.Normal();
    AttentionShape shape = SmallShape(run);
    shape.v_head_dim = 1;
    AttendBases(run, shape, {base, base, base, base - 1.0f});
  }
}

// No keys, none in a sequence, more queries than keys, masks that hide all: with and without sinks.
void UnseenRows(Run& run) {
  for (size_t i = 0; i < 60; ++i) {
    AttentionShape shape = SmallShape(run);
    if (i % 5 == 0) shape.kv_len = 0;
    if (i % 5 == 1) shape.q_len = shape.kv_len % 40 + 5;
    AttentionProblem p(run, shape);
    if (i % 5 == 1) p.options.causal = true;
    std::vector<uint8_t> hidden(shape.batch * shape.kv_len, 0);
    std::vector<int32_t> lens(shape.batch, 0);
    const std::vector<float> lowest(shape.kv_len, -std::numeric_limits<float>::infinity());
    if (i % 5 == 2) p.options.key_mask = TensorView(hidden.data(), {shape.batch, shape.kv_len});
    if (i % 5 == 3) p.options.kv_lens = TensorView(lens.data(), {shape.batch});
    if (i % 5 == 4) {
      p.options.mask = TensorView(lowest.data(), {1, shape.q_len, shape.kv_len}, {0, 0, 1});
    }
    if (i % 2 == 0) p.AddSinks();
    p.AddWeights();
    p.AddKeyScores();
    p.Attend();
  }
}

void IdenticalKeys(Run& run) {
  for (size_t i = 0; i < 40; ++i) {
    const AttentionShape shape = SmallShape(run);
    AttentionProblem p(run, shape);
    const size_t width = shape.num_kv_heads * shape.head_dim;
    for (size_t at = width; at < p.k.size(); ++at) p.k[at] = p.k[at - width];
    p.options.causal = i % 2 == 0;
    p.Attend();
  }
}

// Scores so far apart that the lower ones weigh nothing at all, so that no weight is subnormal.
void LargeLogits(Run& run) {
  const std::array<float, 4> bases[] = {{-400.0f, 0.0f, 400.0f, 400.0f},
                                        {-1e30f, 1e30f, 0.0f, 3e30f},
                                        {-5e4f, 5e4f, -6e4f, -7e4f},
                                        {-1e30f, -2e30f, -3e38f, -1e30f}};
  for (size_t i = 0; i < 80; ++i) AttendBases(run, SmallShape(run), bases[i % 4]);
}

// Here alone numbers are subnormal: in the inputs, as products and as weights. A processor that
// flushes them (32-bit Arm's vectors do) computes something else.
void Subnormals(Run& run) {
  for (size_t i = 0; i < 40; ++i) {
    AttentionProblem p(run);
    for (size_t n = 0; n < 1 + p.v.size() / 4; ++n) {
      p.v[run.Below(p.v.size())] = std::bit_cast<float>(run.Bits() & 0x80FFFFFFu);
    }
    p.options.scale = 1.0f + 20.0f * static_cast<float>(i % 3);  // weights down to the smallest
    p.options.causal = i % 2 == 0;
    p.AddWeights();
    p.Attend();
  }
}

}  // namespace heed::bits
