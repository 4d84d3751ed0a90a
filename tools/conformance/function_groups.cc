// Conversions, softmax, and the functions behind it, each result as it leaves the function.
#include <algorithm>
#include <limits>

#include "heed/attention_state.hpp"
#include "heed/convert.hpp"
#include "heed/softmax.hpp"
#include "tools/conformance/groups.h"

namespace heed::bits {
namespace {

template <class T>
void WidenAll(Run& run) {
  constexpr size_t kAll = 65536;
  Tensor<T> narrow({kAll});
  for (size_t i = 0; i < kAll; ++i) narrow[i] = T{static_cast<uint16_t>(i)};
  Tensor<float> wide({kAll});
  run.Expect(convert(narrow.view(), wide.mutable_view(), run.context));
  run.Add(wide);
}

template <class T>
void Narrow(Run& run, const Tensor<float>& wide) {
  Tensor<T> narrow(wide.shape(), Layout::kPadded);
  run.Expect(convert(wide.view(), narrow.mutable_view(), run.context));
  run.Add(narrow);
}

// In (-2^power, 0].
float Negative(Run& run, int power) {
  const float fraction = static_cast<float>(run.Bits() >> 8) * 0x1p-24f;
  return -fraction * static_cast<float>(1 << power);
}

}  // namespace

// Every 16-bit number to f32, and f32 of any bits to 16.
void Convert(Run& run) {
  WidenAll<f16>(run);
  WidenAll<bf16>(run);
  Tensor<float> wide({90, 100}, Layout::kLastFirst);
  for (size_t i = 0; i < wide.size(); ++i) {
    uint32_t bits = run.Bits();
    if (run.OneIn(2)) bits = (bits & 0x8FFFFFFFu) | 0x30000000u;  // the range of f16
    if (run.OneIn(4)) bits &= 0xFFFFF000u;                        // ties
    wide[i] = std::bit_cast<float>(bits);
  }
  Narrow<f16>(run, wide);
  Narrow<bf16>(run, wide);
}

void Softmax(Run& run) {
  for (size_t i = 0; i < 150; ++i) {
    const size_t rows = run.Between(1, 4);
    const size_t columns = run.OneIn(10) ? run.Between(200, 1500) : run.Between(0, 70);
    const float scale = run.OneIn(2) ? 1.0f : run.Normal();
    const Layout layout = run.UnitStrideLayout();
    Tensor<float> x = run.Normal({rows, columns}, layout, 6.0f);
    for (size_t hidden = run.Below(4); hidden-- > 0 && x.size() > 0;) {
      x[run.Below(x.size())] = -std::numeric_limits<float>::infinity();
    }
    if (scale < 0) {  // times -inf is +inf, a row of NaN
      for (size_t at = 0; at < x.size(); ++at) x[at] = std::max(x[at], -20.0f);
    }
    Tensor<float> y(x.shape(), layout);
    run.Expect(softmax(x.view(), y.mutable_view(), {.scale = scale}, run.context));
    run.Add(y);
  }
}

// Keys whose score in base 2 is x log2(e) under a largest score of 0, with values of the identity:
// the partial output is 2 to the power of it.
void Exp2(Run& run) {
  constexpr size_t kRows = 48, kKeys = 128;
  const std::vector<size_t> shape = {kRows, kKeys, 1, 1};
  Tensor<float> k(shape), identity({kKeys, kKeys}), q({1});
  for (size_t i = 0; i < k.size(); ++i) k[i] = Negative(run, i / kKeys % 8);
  for (size_t row = 0; row < kRows; ++row) k[row * kKeys] = 0.0f;
  for (size_t i = 0; i < identity.size(); ++i) identity[i] = i % (kKeys + 1) == 0 ? 1.0f : 0.0f;
  q[0] = 1.0f;
  Tensor<float> max({1, kRows, 1, 1}), sum({1, kRows, 1, 1}), acc({1, kRows, 1, 1, kKeys});
  AttentionOptions options;
  options.scale = 1.0f;
  const auto* one = static_cast<const float*>(q.view().data);
  const auto* values = static_cast<const float*>(identity.view().data);
  run.Expect(attention_partial(TensorView(one, {kRows, 1, 1, 1}, {0, 0, 0, 0}), k.view(),
                               TensorView(values, {kRows, kKeys, 1, kKeys}, {0, kKeys, 0, 1}), 0,
                               kKeys, {max.mutable_view(), sum.mutable_view(), acc.mutable_view()},
                               options, run.context));
  run.Add(acc);
  run.Add(sum);
}

// A single key of 1 and a soft cap c: the largest score is c tanh(q / c).
void Tanh(Run& run) {
  for (const float cap : {1.0f, 8.0f, 30.0f, 50.0f}) {
    constexpr size_t kQueries = 1500;
    const Tensor<float> q = run.Normal({1, kQueries, 1, 1}, Layout::kContiguous, 3.0f * cap);
    Tensor<float> k({1, 1, 1, 1});
    k[0] = 1.0f;
    Tensor<float> max({1, 1, 1, kQueries}), sum(max.shape()), acc({1, 1, kQueries, 1, 1});
    AttentionOptions options;
    options.scale = 1.0f;
    options.logits_soft_cap = cap;
    run.Expect(attention_partial(q.view(), k.view(), k.view(), 0, 1,
                                 {max.mutable_view(), sum.mutable_view(), acc.mutable_view()},
                                 options, run.context));
    run.Add(max);
  }
}

}  // namespace heed::bits
