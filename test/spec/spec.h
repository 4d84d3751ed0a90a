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
#include "src/base/math.h"
#include "src/kernels/exp2_constants.h"
#include "src/kernels/tanh_constants.h"

namespace heed::spec {

inline constexpr float kNoKey = -std::numeric_limits<float>::infinity();  // maximum of no scores

// Keys or values of int8 or int4, [batch, kv_len, num_kv_heads, dim]: element d of a row is
// codes[d] * scales[d / group], with scales[.., dim / group rounded up].
struct Codes {
  const int8_t* codes = nullptr;
  const float* scales = nullptr;
  size_t group = 0;

  size_t groups(size_t dim) const { return (dim + group - 1) / group; }
};

// One attention problem; options are those of AttentionOptions. A null array is an option not used.
struct Attention {
  size_t batch = 1, q_len = 0, kv_len = 0, num_heads = 1, num_kv_heads = 1;
  size_t head_dim = 1, v_head_dim = 1;
  const float* q = nullptr;  // [batch, q_len, num_heads, head_dim]
  const float* k = nullptr;  // [batch, kv_len, num_kv_heads, head_dim]
  const float* v = nullptr;  // [batch, kv_len, num_kv_heads, v_head_dim]

  // Of Compute::kInt16, in the place of k and v where they have codes.
  Codes k_codes = {}, v_codes = {};

  double scale = 1.0;  // 1 / sqrt(head_dim) is not rounded to f32
  float logits_soft_cap = 0.0f;
  const float* alibi_slopes = nullptr;  // [num_heads]
  const float* bias = nullptr;          // [batch, num_heads, q_len, kv_len], the additive mask
  const float* sinks = nullptr;         // [num_heads]

  bool causal = false, top_left = false;
  size_t window = 0, sink_tokens = 0;
  const int32_t* prefix_lens = nullptr;  // [batch]
  const int32_t* kv_lens = nullptr;      // [batch]
  const uint8_t* key_mask = nullptr;     // [batch, kv_len]
  const uint8_t* mask = nullptr;         // [batch, num_heads, q_len, kv_len]
  const uint8_t* tree_mask = nullptr;    // [batch, q_len, q_len]

  const float* multiplier = nullptr;  // of dropout, [batch, num_heads, q_len, kv_len]

  float* out = nullptr;         // [batch, q_len, num_heads, v_head_dim]
  float* lse = nullptr;         // [batch, num_heads, q_len]
  float* weights = nullptr;     // [batch, num_heads, q_len, kv_len]
  float* key_scores = nullptr;  // [batch, num_heads, kv_len]
};

// An int8 or int4 matrix [in, out]: element (k, j) is codes[k, j] * scales[k / group, j].
struct Quantized {
  size_t in, out, group;  // group: at least 1
  const int8_t* codes;
  const float* scales;
};

// What a run of keys contributes to one query: its largest score in base 2, the sum of
// 2^(score - max), and the values weighted by 2^(score - max).
struct Partial {
  float max = kNoKey;
  float largest = kNoKey;  // the same score in units
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
        // Without k both may be null.
        const float dot = k == 0 ? 0.0f : Dot(a + i * k, 1, b + j, n, k);
        c[i * n + j] = bias == nullptr ? dot : dot + bias[j];
      }
    }
  }

  // c[m, out] = a[m, in] b (+ bias[out]), in Compute::kInt16: the same in both families. A row of a
  // is quantized chunk by chunk, codes are summed as integers, and sums are scaled group by group.
  static void MatmulInt16(const float* a, const Quantized& b, const float* bias, float* c,
                          size_t m) {
    for (size_t i = 0; i < m; ++i, a += b.in, c += b.out) {
      std::fill_n(c, b.out, 0.0f);
      for (size_t begin = 0; begin < b.in; begin += kSumChunk) {
        const size_t end = std::min(b.in, begin + kSumChunk);
        const auto [codes, scale] = Int16Codes(a + begin, end - begin);
        for (size_t j = 0; j < b.out; ++j) {
          float sums = 0.0f;
          for (size_t k = begin; k < end;) {
            const size_t group = k / b.group;
            int32_t sum = 0;  // at most 256 * 32767 * 127, so never beyond an int32
            for (; k < end && k / b.group == group; ++k) {
              sum += codes[k - begin] * b.codes[k * b.out + j];
            }
            const float product = static_cast<float>(sum) * b.scales[group * b.out + j];
            sums = sums + product;
          }
          const float product = sums * scale;
          c[j] = c[j] + product;
        }
      }
      for (size_t j = 0; bias != nullptr && j < b.out; ++j) c[j] = c[j] + bias[j];
    }
  }

  // Of x with a row of codes, n elements: chunk by chunk as above.
  static float DotInt16(const float* x, const int8_t* row, const float* scales, size_t group,
                        size_t n) {
    float total = 0.0f;
    for (size_t begin = 0; begin < n; begin += kSumChunk) {
      const size_t end = std::min(n, begin + kSumChunk);
      const auto [codes, scale] = Int16Codes(x + begin, end - begin);
      float sums = 0.0f;
      for (size_t k = begin; k < end;) {
        const size_t of = k / group;
        int32_t sum = 0;
        for (; k < end && k / group == of; ++k) sum += codes[k - begin] * row[k];
        const float product = static_cast<float>(sum) * scales[of];
        sums = sums + product;
      }
      const float product = sums * scale;
      total = total + product;
    }
    return total;
  }

  struct Int16Chunk {
    std::array<int32_t, kSumChunk> codes = {};
    float scale = 0.0f;
  };
  static Int16Chunk Int16Codes(const float* x, size_t n) {
    Int16Chunk chunk;
    float largest = 0.0f;
    for (size_t i = 0; i < n; ++i) {
      if (!std::isfinite(x[i])) {  // what makes the row NaN
        chunk.scale = std::numeric_limits<float>::quiet_NaN();
        return chunk;
      }
      largest = std::max(largest, std::fabs(x[i]));
    }
    chunk.scale = largest / 32767.0f;
    if (chunk.scale < std::numeric_limits<float>::min()) {
      chunk.scale = 0.0f;
      return chunk;
    }
    const float inverse = 32767.0f / largest;
    for (size_t i = 0; i < n; ++i) {
      const float product = std::clamp(x[i] * inverse, -32767.0f, 32767.0f);
      chunk.codes[i] = static_cast<int32_t>(std::nearbyint(product));  // ties to even
    }
    return chunk;
  }

  // 2^(a x) for a x <= 0, a > 0: a x = n + r, a polynomial for 2 * 2^r, then 2^(n - 1). Adding
  // kExp2Round rounds a x to an integer and leaves n + 126, the exponent of 2^(n - 1), in the low
  // bits; where they are 0, 2^(n - 1) is 0.
  static float Exp2(float x, float a = 1.0f) {
    if (x < kExp2Lowest / a) x = kExp2Lowest / a;
    const float t = Fma(x, a, kExp2Round);
    const float n = t - kExp2Round;
    const float r = Fma(x, a, -n);
    float p = kExp2C5;
    for (float c : {kExp2C4, kExp2C3, kExp2C2, kExp2C1, 2.0f}) p = Fma(p, r, c);
    return p * std::bit_cast<float>(std::bit_cast<uint32_t>(t) << 23);
  }

  static float Tanh(float x) {
    const float square = x * x;
    if (std::fabs(x) < kTanhSmall) {
      float p = kTanhC4;
      for (float c : {kTanhC3, kTanhC2, kTanhC1, kTanhC0}) p = Fma(p, square, c);
      return Fma(x * square, p, x);
    }
    const float e = Exp2(-std::fabs(x), kTanhExponent);
    return std::copysign((1.0f - e) / (1.0f + e), x);
  }

  // Sums of weights: element j was added to lane j % kSumLanes.
  using Lanes = std::array<float, kSumLanes>;
  static float Fold(Lanes lanes) {
    for (size_t half = kSumLanes / 2; half > 0; half /= 2) {
      for (size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    }
    return lanes[0];
  }

  // Where all scores are -inf (or there are none), 0 stands in for the maximum, so that 2^x gives
  // 0.
  static float Finite(float max) { return max == kNoKey ? 0.0f : max; }
  static float Inverse(float sum) { return sum == 0.0f ? 0.0f : 1.0f / sum; }

  // log(2^max * sum); the library's Log is for finite numbers.
  static float LogSumExp(float max, float sum) {
    if (sum == 0.0f) return kNoKey;
    const double log = std::isfinite(sum) ? Log(double{sum}) : double{sum};
    return static_cast<float>(double{max} * kLn2 + log);
  }

  // Scores of factor * x, of `unit` each, are scale * x.
  struct Units {
    float factor;
    double unit;
    float to_base2() const { return static_cast<float>(unit * kLog2e); }
    float FromNatural(float x) const { return static_cast<float>(x / unit); }
    // A finite maximum stays finite, so that no row that sees a key counts as one that sees none.
    float MaxInBase2(float max) const {
      constexpr float kMost = std::numeric_limits<float>::max();
      return std::isfinite(max) ? std::clamp(max * to_base2(), -kMost, kMost) : max;
    }
  };
  static Units UnitsOf(double scale) {
    const double size = std::fabs(scale);
    if (size < 1.0 / kMostUnit || size > kMostUnit) return {static_cast<float>(scale), 1.0};
    return {scale < 0.0 ? -1.0f : 1.0f, size};
  }

  // y[n] = softmax(scale * x[n])
  static void Softmax(const float* x, float* y, float scale, size_t n) {
    const Units units = UnitsOf(scale);
    float max = kNoKey;
    for (size_t j = 0; j < n; ++j) max = std::max(max, units.factor * x[j]);
    std::vector<float> e(n);
    Lanes lanes = {};
    for (size_t j = 0; j < n; ++j) {
      e[j] = Exp2(units.factor * x[j] - Finite(max), units.to_base2());
      lanes[j % kSumLanes] += e[j];
    }
    const float inverse = Inverse(Fold(lanes));
    for (size_t j = 0; j < n; ++j) y[j] = e[j] * inverse;
  }

  // Query i of one head.
  struct Query {
    const Attention& a;
    size_t batch, head, i;

    size_t kv_head() const { return head / (a.num_heads / a.num_kv_heads); }
    size_t row() const { return (batch * a.num_heads + head) * a.q_len + i; }  // of lse
    size_t pair(size_t j) const { return row() * a.kv_len + j; }               // of masks
    size_t token() const { return (batch * a.q_len + i) * a.num_heads + head; }
    size_t key(size_t j) const { return (batch * a.kv_len + j) * a.num_kv_heads + kv_head(); }
    int64_t kv_len() const { return a.kv_lens ? a.kv_lens[batch] : static_cast<int64_t>(a.kv_len); }
    int64_t past() const { return kv_len() - static_cast<int64_t>(a.q_len); }
    int64_t position() const { return static_cast<int64_t>(i) + (a.top_left ? 0 : past()); }

    bool Sees(size_t key_index) const {
      const auto j = static_cast<int64_t>(key_index);
      const bool in_prefix = a.prefix_lens != nullptr && j < a.prefix_lens[batch];
      if (j >= kv_len()) return false;
      if (a.causal && j > position() && !in_prefix) return false;
      if (a.window > 0 && j <= position() - static_cast<int64_t>(a.window) &&
          key_index >= a.sink_tokens && !in_prefix) {
        return false;
      }
      if (a.key_mask != nullptr && !a.key_mask[batch * a.kv_len + key_index]) return false;
      if (a.mask != nullptr && !a.mask[pair(key_index)]) return false;
      if (a.bias != nullptr && a.bias[pair(key_index)] == kNoKey) return false;
      return a.tree_mask == nullptr || j < past() ||
             a.tree_mask[(batch * a.q_len + i) * a.q_len + static_cast<size_t>(j - past())];
    }

    Units units() const {
      if (a.logits_soft_cap == 0.0f) return UnitsOf(a.scale);
      return {static_cast<float>(a.scale / a.logits_soft_cap), a.logits_soft_cap};
    }

    float QueryTimesKey(const std::vector<float>& scaled, size_t j) const {
      const Codes& k = a.k_codes;
      if (k.codes == nullptr) {
        return Dot(scaled.data(), 1, a.k + key(j) * a.head_dim, 1, a.head_dim);
      }
      return DotInt16(scaled.data(), k.codes + key(j) * a.head_dim,
                      k.scales + key(j) * k.groups(a.head_dim), k.group, a.head_dim);
    }

    float Score(size_t j) const {  // in units
      std::vector<float> scaled(a.q + token() * a.head_dim, a.q + (token() + 1) * a.head_dim);
      for (float& x : scaled) x *= units().factor;
      float s = QueryTimesKey(scaled, j);
      if (a.logits_soft_cap > 0.0f) s = Tanh(s);
      if (a.alibi_slopes != nullptr) {  // the distance is exact below 2^24
        const auto block = static_cast<int64_t>(j / kKeyBlock * kKeyBlock);
        const float first = static_cast<float>(block - position());
        const float distance = std::fabs(first + static_cast<float>(j % kKeyBlock));
        s = Fma(-units().FromNatural(a.alibi_slopes[head]), distance, s);
      }
      if (a.bias == nullptr) return s;
      s = Fma(a.bias[pair(j)], units().FromNatural(1.0f), s);
      return s < std::numeric_limits<float>::lowest() ? std::numeric_limits<float>::lowest() : s;
    }
  };

  // acc += the values of the keys, weighted by p, in Compute::kInt16: weights times the scales of a
  // group of channels are rounded to int16 together.
  static void AddInt16(const Query& query, const size_t* keys, const float* p, size_t count,
                       float* acc) {
    const Attention& a = query.a;
    const Codes& v = a.v_codes;
    for (size_t g = 0; g < v.groups(a.v_head_dim); ++g) {
      std::array<float, kKeyBlock> u;
      for (size_t n = 0; n < count; ++n) {
        const float scale = v.scales[query.key(keys[n]) * v.groups(a.v_head_dim) + g];
        u[n] = p[n] == 0.0f ? 0.0f : p[n] * scale;
      }
      const auto [codes, scale] = Int16Codes(u.data(), count);
      if (scale == 0.0f) continue;
      for (size_t d = g * v.group; d < std::min(a.v_head_dim, (g + 1) * v.group); ++d) {
        int32_t sum = 0;  // at most 128 * 32767 * 128
        for (size_t n = 0; n < count; ++n) {
          sum += codes[n] * v.codes[query.key(keys[n]) * a.v_head_dim + d];
        }
        const float product = static_cast<float>(sum) * scale;
        acc[d] = acc[d] + product;
      }
    }
  }

  // The keys of one segment, which begins at key `begin`.
  static Partial Segment(const Query& query, size_t begin) {
    const Attention& a = query.a;
    const float to_base2 = query.units().to_base2();
    Partial s;
    s.acc.resize(a.v_head_dim);
    Lanes lanes = {};
    const size_t end = std::min(begin + kSegmentKeys, a.kv_len);
    for (size_t block = begin; block < end; block += kKeyBlock) {
      std::array<size_t, kKeyBlock> keys;
      std::array<float, kKeyBlock> score;
      size_t count = 0;
      float max = s.max;
      for (size_t j = block; j < std::min(block + kKeyBlock, end); ++j) {
        if (!query.Sees(j)) continue;
        keys[count] = j;
        score[count] = query.Score(j);
        max = std::max(max, score[count++]);
      }
      if (count == 0) continue;
      const float shrink = Exp2(s.max - Finite(max), to_base2);
      for (float& lane : lanes) lane *= shrink;
      for (float& x : s.acc) x *= shrink;
      s.max = max;
      for (size_t n = 0; n < count; ++n) {
        const size_t j = keys[n];
        float p = Exp2(score[n] - Finite(max), to_base2);
        lanes[j % kSumLanes] += p;
        if (a.multiplier != nullptr) p *= a.multiplier[query.pair(j)];
        if (a.v_codes.codes != nullptr) {
          score[n] = p;
          continue;
        }
        const float* v = a.v + query.key(j) * a.v_head_dim;
        for (size_t d = 0; d < s.acc.size(); ++d) s.acc[d] = Fma(p, v[d], s.acc[d]);
      }
      if (a.v_codes.codes != nullptr) {
        AddInt16(query, keys.data(), score.data(), count, s.acc.data());
      }
    }
    s.largest = s.max;
    s.max = query.units().MaxInBase2(s.max);
    s.sum = Fold(lanes);
    return s;
  }

  // Adds a later segment to an earlier total. One that saw nothing changes nothing.
  static void Merge(Partial* total, const Partial& next) {
    if (next.sum == 0.0f) return;
    if (total->sum == 0.0f) {
      *total = next;
      return;
    }
    const float max = std::max(total->max, next.max);
    const float f = Exp2(total->max - Finite(max));
    const float g = Exp2(next.max - Finite(max));
    total->max = max;
    total->largest = std::max(total->largest, next.largest);
    total->sum = Fma(next.sum, g, total->sum * f);
    for (size_t d = 0; d < total->acc.size(); ++d) {
      total->acc[d] = Fma(next.acc[d], g, total->acc[d] * f);
    }
  }

  // A sink joins the sum as one more score, without a value.
  static void AddSink(Partial* total, float sink) {
    const float score = ToBase2(sink), max = std::max(total->max, score);
    const float f = Exp2(total->max - Finite(max));
    total->max = max;
    total->sum = Fma(1.0f, Exp2(score - Finite(max)), total->sum * f);
    for (float& x : total->acc) x *= f;
  }

  static void AttentionRow(const Query& query) {
    const Attention& a = query.a;
    Partial total;
    total.acc.resize(a.v_head_dim);
    for (size_t begin = 0; begin < a.kv_len; begin += kSegmentKeys) {
      Merge(&total, Segment(query, begin));
    }
    if (a.sinks != nullptr) AddSink(&total, a.sinks[query.head]);
    const float inverse = Inverse(total.sum);
    for (size_t d = 0; d < a.v_head_dim; ++d) {
      a.out[query.token() * a.v_head_dim + d] = total.acc[d] * inverse;
    }
    if (a.lse != nullptr) a.lse[query.row()] = LogSumExp(total.max, total.sum);
    if (a.weights == nullptr && a.key_scores == nullptr) return;
    const float factor =
        inverse * Exp2(query.units().MaxInBase2(total.largest) - Finite(total.max));
    for (size_t j = 0; j < a.kv_len; ++j) {
      float weight = 0.0f;
      if (query.Sees(j)) {
        weight = factor * Exp2(query.Score(j) - Finite(total.largest), query.units().to_base2());
        if (a.key_scores != nullptr) {
          a.key_scores[(query.batch * a.num_heads + query.head) * a.kv_len + j] += weight;
        }
        if (a.multiplier != nullptr) weight *= a.multiplier[query.pair(j)];
      }
      if (a.weights != nullptr) a.weights[query.pair(j)] = weight;
    }
  }

  static void Attend(const Attention& a) {
    if (a.key_scores != nullptr) std::fill_n(a.key_scores, a.batch * a.num_heads * a.kv_len, 0.0f);
    for (size_t batch = 0; batch < a.batch; ++batch) {
      for (size_t head = 0; head < a.num_heads; ++head) {
        for (size_t i = 0; i < a.q_len; ++i) AttentionRow({a, batch, head, i});
      }
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
