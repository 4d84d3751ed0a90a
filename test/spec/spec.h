// The specification of heed's arithmetic, as a plain scalar program to be read from top to bottom.
// docs/numerics.md says the same in words. Every kernel, on every instruction set and with any
// number of threads, must produce the bits that this program produces (a NaN is a NaN, whatever its
// payload).
//
// It knows one thing about instruction sets: whether a multiply-add rounds once (Family::kFma) or
// twice. It must be compiled with -ffp-contract=off. All arrays are row-major and contiguous.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "heed/info.hpp"
#include "heed/numerics.hpp"
#include "src/kernels/exp_constants.h"
#include "src/math.h"

namespace heed::spec {

inline constexpr float kNoKey = -std::numeric_limits<float>::infinity();  // maximum of no scores

// The sizes and arrays of one attention problem.
struct Attention {
  size_t batch = 1, q_len = 0, kv_len = 0, num_heads = 1, num_kv_heads = 1;
  size_t head_dim = 1, v_head_dim = 1;
  const float* q = nullptr;  // [batch, q_len, num_heads, head_dim]
  const float* k = nullptr;  // [batch, kv_len, num_kv_heads, head_dim]
  const float* v = nullptr;  // [batch, kv_len, num_kv_heads, v_head_dim]
  float scale = 1.0f;
  bool causal = false;
  const float* multiplier =
      nullptr;  // of dropout, [batch, num_heads, q_len, kv_len]; null: no dropout

  float* out = nullptr;      // [batch, q_len, num_heads, v_head_dim]
  float* lse = nullptr;      // [batch, num_heads, q_len]; may be null
  float* weights = nullptr;  // [batch, num_heads, q_len, kv_len]; may be null
};

// What a run of keys contributes to one query: its largest score, the sum of exp(score - max), and
// the values weighted by exp(score - max).
struct Partial {
  float max = kNoKey;
  float sum = 0.0f;
  std::vector<float> acc;
};

template <Family kFamily>
struct Spec {
  static float Fma(float a, float b, float c) {
    if constexpr (kFamily == Family::kFma) return std::fma(a, b, c);
    return a * b + c;
  }

  // Sum of a[i * a_step] * b[i * b_step] over i < n, in chunks.
  static float Dot(const float* a, size_t a_step, const float* b, size_t b_step, size_t n) {
    float total = 0.0f;
    for (size_t begin = 0; begin < n; begin += kSumChunk) {
      float acc = 0.0f;
      for (size_t i = begin; i < std::min(n, begin + kSumChunk); ++i) {
        acc = Fma(a[i * a_step], b[i * b_step], acc);
      }
      total = begin == 0 ? acc : total + acc;
    }
    return total;
  }

  // c[m, n] = a[m, k] b[k, n] (+ bias[n]).
  static void Matmul(const float* a, const float* b, const float* bias, float* c, size_t m,
                     size_t k, size_t n) {
    for (size_t i = 0; i < m; ++i) {
      for (size_t j = 0; j < n; ++j) {
        const float dot = Dot(a + i * k, 1, b + j, n, k);
        c[i * n + j] = bias == nullptr ? dot : dot + bias[j];
      }
    }
  }

  // e^x for x <= 0: x = n ln 2 + r, a polynomial for e^r, then 2^n. Adding kExpRound rounds x
  // log2(e) to an integer and leaves n + 127, the exponent of 2^n, in the low bits.
  static float Exp(float x) {
    if (x < kExpLowest) return 0.0f;
    const float t = Fma(x, kExpLog2e, kExpRound);
    const float n = t - kExpRound;
    const float r = Fma(n, -kExpLn2Lo, Fma(n, -kExpLn2Hi, x));
    float p = kExpC6;
    for (float c : {kExpC5, kExpC4, kExpC3, kExpC2, 1.0f, 1.0f}) p = Fma(p, r, c);
    return p * std::bit_cast<float>(std::bit_cast<uint32_t>(t) << 23);
  }

  // Sums of weights: element j was added to lane j % kSumLanes.
  using Lanes = std::array<float, kSumLanes>;
  static float Fold(Lanes lanes) {
    for (size_t half = kSumLanes / 2; half > 0; half /= 2) {
      for (size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    }
    return lanes[0];
  }

  // Where all scores are -inf (or there are none), 0 stands in for the maximum, so that exp gives
  // 0.
  static float Finite(float max) { return max == kNoKey ? 0.0f : max; }
  static float Inverse(float sum) { return sum == 0.0f ? 0.0f : 1.0f / sum; }

  // log(e^max * sum); the library's Log is for finite numbers.
  static float LogSumExp(float max, float sum) {
    if (sum == 0.0f) return kNoKey;
    const double log = std::isfinite(sum) ? Log(double{sum}) : double{sum};
    return static_cast<float>(double{max} + log);
  }

  // y[n] = softmax(scale * x[n])
  static void Softmax(const float* x, float* y, float scale, size_t n) {
    float max = kNoKey;
    for (size_t j = 0; j < n; ++j) max = std::max(max, scale * x[j]);
    std::vector<float> e(n);
    Lanes lanes = {};
    for (size_t j = 0; j < n; ++j) {
      e[j] = Exp(scale * x[j] - Finite(max));
      lanes[j % kSumLanes] += e[j];
    }
    const float inverse = Inverse(Fold(lanes));
    for (size_t j = 0; j < n; ++j) y[j] = e[j] * inverse;
  }

  // One query of one head, and the arrays it meets.
  struct Query {
    const float* q;
    const float* k;
    const float* v;
    size_t k_step, v_step;  // from a key to the next
    const float* multiplier;
    size_t head_dim, v_head_dim;
    float scale;

    float Score(size_t j) const { return Dot(q, 1, k + j * k_step, 1, head_dim) * scale; }
  };

  // Keys [begin, end) of one segment; begin is the segment's first key.
  static Partial Segment(const Query& query, size_t begin, size_t end) {
    Partial s;
    s.acc.resize(query.v_head_dim);
    Lanes lanes = {};
    for (size_t block = begin; block < end; block += kKeyBlock) {
      const size_t count = std::min(kKeyBlock, end - block);
      std::array<float, kKeyBlock> score;
      float max = s.max;
      for (size_t j = 0; j < count; ++j) {
        score[j] = query.Score(block + j);
        max = std::max(max, score[j]);
      }
      const float shrink = Exp(s.max - Finite(max));
      for (float& lane : lanes) lane *= shrink;
      for (float& a : s.acc) a *= shrink;
      s.max = max;
      for (size_t j = 0; j < count; ++j) {
        float p = Exp(score[j] - Finite(max));
        lanes[(block + j) % kSumLanes] += p;
        if (query.multiplier != nullptr) p *= query.multiplier[block + j];
        const float* v = query.v + (block + j) * query.v_step;
        for (size_t d = 0; d < s.acc.size(); ++d) s.acc[d] = Fma(p, v[d], s.acc[d]);
      }
    }
    s.sum = Fold(lanes);
    return s;
  }

  // Adds a later segment to an earlier total.
  static void Merge(Partial* total, const Partial& next) {
    const float max = std::max(total->max, next.max);
    const float f = Exp(total->max - Finite(max));
    const float g = Exp(next.max - Finite(max));
    total->max = max;
    total->sum = Fma(next.sum, g, total->sum * f);
    for (size_t d = 0; d < total->acc.size(); ++d) {
      total->acc[d] = Fma(next.acc[d], g, total->acc[d] * f);
    }
  }

  // The query's keys [0, visible).
  static Partial Total(const Query& query, size_t visible) {
    Partial total = Segment(query, 0, std::min(kSegmentKeys, visible));
    for (size_t begin = kSegmentKeys; begin < visible; begin += kSegmentKeys) {
      Merge(&total, Segment(query, begin, std::min(begin + kSegmentKeys, visible)));
    }
    return total;
  }

  // How many keys query i sees: all of them, or (bottom-right aligned) those up to its own
  // position.
  static size_t Visible(const Attention& a, size_t i) {
    if (!a.causal) return a.kv_len;
    return a.kv_len + i + 1 > a.q_len ? std::min(a.kv_len, a.kv_len + i + 1 - a.q_len) : 0;
  }

  static void AttentionRow(const Attention& a, size_t batch, size_t head, size_t i) {
    const size_t kv_head = head / (a.num_heads / a.num_kv_heads);
    const size_t row = (batch * a.num_heads + head) * a.q_len + i;  // of lse, weights, multiplier
    const size_t token = (batch * a.q_len + i) * a.num_heads + head;
    const size_t kv = batch * a.kv_len * a.num_kv_heads + kv_head;
    const Query query = {.q = a.q + token * a.head_dim,
                         .k = a.k + kv * a.head_dim,
                         .v = a.v + kv * a.v_head_dim,
                         .k_step = a.num_kv_heads * a.head_dim,
                         .v_step = a.num_kv_heads * a.v_head_dim,
                         .multiplier = a.multiplier ? a.multiplier + row * a.kv_len : nullptr,
                         .head_dim = a.head_dim,
                         .v_head_dim = a.v_head_dim,
                         .scale = a.scale};
    const size_t visible = Visible(a, i);
    const Partial total = Total(query, visible);
    const float inverse = Inverse(total.sum);
    for (size_t d = 0; d < a.v_head_dim; ++d) {
      a.out[token * a.v_head_dim + d] = total.acc[d] * inverse;
    }
    if (a.lse != nullptr) {
      a.lse[row] = LogSumExp(total.max, total.sum);
    }
    if (a.weights == nullptr) return;
    for (size_t j = 0; j < a.kv_len; ++j) {
      float weight = 0.0f;
      if (j < visible) weight = Exp(query.Score(j) - Finite(total.max)) * inverse;
      if (j < visible && query.multiplier != nullptr) weight *= query.multiplier[j];
      a.weights[row * a.kv_len + j] = weight;
    }
  }

  static void Attend(const Attention& a) {
    for (size_t batch = 0; batch < a.batch; ++batch) {
      for (size_t head = 0; head < a.num_heads; ++head) {
        for (size_t i = 0; i < a.q_len; ++i) AttentionRow(a, batch, head, i);
      }
    }
  }

  // Rotates one head of one token, x[head_dim], in place.
  static void Rope(float* x, int32_t position, size_t rope_dim, double theta, bool interleaved) {
    for (size_t t = 0; t < rope_dim / 2; ++t) {
      const double exponent = -2.0 * static_cast<double>(t) / static_cast<double>(rope_dim);
      double sine, cosine;
      SinCos(position * Pow(theta, exponent), &sine, &cosine);
      const float sin = static_cast<float>(sine), cos = static_cast<float>(cosine);
      float& a = x[interleaved ? 2 * t : t];
      float& b = x[interleaved ? 2 * t + 1 : t + rope_dim / 2];
      const float rotated = Fma(a, cos, -(b * sin));
      b = Fma(b, cos, a * sin);
      a = rotated;
    }
  }
};

// Philox4x32-10: four words for each counter.
inline std::array<uint32_t, 4> Philox(std::array<uint32_t, 4> counter, uint64_t seed) {
  uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {
        static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(product1),
        static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(product0)};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return counter;
}

// What dropout multiplies the weight of key j by, for query i.
inline float DropoutMultiplier(float probability, uint64_t seed, size_t batch, size_t head,
                               size_t i, size_t j, size_t q_len, size_t kv_len) {
  const auto words =
      Philox({static_cast<uint32_t>(j / 4), static_cast<uint32_t>(kv_len - q_len + i),
              static_cast<uint32_t>(head), static_cast<uint32_t>(batch)},
             seed);
  const auto threshold = static_cast<uint32_t>(std::floor(double{probability} * 0x1p32));
  return words[j % 4] >= threshold ? 1.0f / (1.0f - probability) : 0.0f;
}

}  // namespace heed::spec
