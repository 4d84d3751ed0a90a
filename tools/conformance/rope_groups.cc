// Rotary embedding, at positions of any size.
#include "heed/rope.hpp"
#include "tools/conformance/groups.h"

namespace heed::bits {
namespace {

void Rotate(Run& run, RopeOptions options) {
  const size_t batch = run.Between(1, 3);
  const size_t seq = run.Between(1, 6);
  const size_t heads = run.Between(1, 3);
  const size_t head_dim = 2 * run.Between(1, run.OneIn(4) ? 64 : 20);
  if (run.OneIn(3)) options.rope_dim = 2 * run.Between(1, head_dim / 2);
  Tensor<int32_t> positions({batch, seq});
  for (size_t i = 0; i < positions.size(); ++i) {
    const uint32_t bits = run.Bits() >> 1;
    positions[i] = static_cast<int32_t>(bits >> run.Below(31));
  }
  const Layout layout = run.UnitStrideLayout();
  const Tensor<float> x = run.Normal({batch, seq, heads, head_dim}, layout);
  Tensor<float> y(x.shape(), layout);
  run.Expect(rope(x.view(), positions.view(), y.mutable_view(), options, run.context));
  run.Add(y);
}

RopeScaling DrawScaling(Run& run) {
  RopeScaling scaling;
  scaling.type =
      run.OneOf({RopeScalingType::kLinear, RopeScalingType::kLlama3, RopeScalingType::kYarn});
  scaling.factor = run.OneOf({1.0, 2.0, 8.0, 32.0, 40.0});
  scaling.original_max_position_embeddings = run.OneOf<size_t>({64, 2048, 4096, 8192});
  if (run.OneIn(3)) scaling.low_freq_factor = 0.5, scaling.high_freq_factor = 3.0;
  if (run.OneIn(3)) scaling.beta_fast = 16.0, scaling.beta_slow = 2.0;
  scaling.truncate = run.OneIn(2);
  if (run.OneIn(4)) scaling.attention_factor = 1.25;
  if (run.OneIn(3)) scaling.mscale = 0.707, scaling.mscale_all_dim = 1.0;
  return scaling;
}

void RotateMany(Run& run, bool interleaved, bool scaled) {
  for (size_t i = 0; i < 80; ++i) {
    RopeOptions options;
    options.interleaved = interleaved;
    options.theta = run.OneOf({10000.0, 500000.0, 1000000.0, 100.0, 1.0});
    if (scaled) {
      options.interleaved = run.OneIn(2);
      options.theta = run.OneOf({10000.0, 500000.0, 1000000.0});
      options.scaling = DrawScaling(run);
    }
    Rotate(run, options);
  }
}

}  // namespace

void RopeHalf(Run& run) { RotateMany(run, false, false); }
void RopeInterleaved(Run& run) { RotateMany(run, true, false); }
void RopeScaled(Run& run) { RotateMany(run, false, true); }

}  // namespace heed::bits
