#include "bench/problem.h"

#include <algorithm>
#include <map>
#include <random>

namespace heed::bench {
namespace {

constexpr double kFloatBytes = sizeof(float);

double product(size_t a, size_t b, size_t c = 1) {
  return static_cast<double>(a) * static_cast<double>(b) * static_cast<double>(c);
}

}  // namespace

Buffer random_normal(size_t n, uint64_t seed) {
  // The largest prime below 2^20: rows do not repeat each other.
  constexpr size_t kPeriod = 1048573;
  // Drawn once for a seed: problems that fill the memory are made in milliseconds.
  static std::map<uint64_t, Buffer> periods;
  Buffer& period = periods[seed];
  if (period.size() < std::min(n, kPeriod)) {
    period.resize(n < kPeriod / 16 ? n : kPeriod);
    std::mt19937_64 engine(seed);
    std::normal_distribution<float> normal;
    for (float& value : period) value = normal(engine);
  }
  Buffer values(n);
  for (size_t i = 0; i < n; i += kPeriod) {
    std::copy_n(period.begin(), std::min(kPeriod, n - i),
                values.begin() + static_cast<ptrdiff_t>(i));
  }
  return values;
}

std::string name_of(const MatmulShape& shape) {
  return std::to_string(shape.m) + "x" + std::to_string(shape.n) + "x" + std::to_string(shape.k);
}

Shape shape_of(const MatmulShape& s) { return {name_of(s), {{"m", s.m}, {"n", s.n}, {"k", s.k}}}; }

Work work_of(const MatmulShape& s) {
  return {2 * product(s.m, s.n, s.k),
          kFloatBytes * (product(s.m, s.k) + product(s.k, s.n) + product(s.m, s.n))};
}

Shape shape_of(const AttentionShape& s) {
  std::string heads = std::to_string(s.num_heads);
  if (s.num_kv_heads != s.num_heads) heads += "on" + std::to_string(s.num_kv_heads);
  return {
      "heads:" + heads + "/len:" + std::to_string(s.kv_len) + "/dim:" + std::to_string(s.head_dim),
      {{"batch", 1},
       {"q_len", s.q_len},
       {"kv_len", s.kv_len},
       {"num_heads", s.num_heads},
       {"num_kv_heads", s.num_kv_heads},
       {"head_dim", s.head_dim}}};
}

double attention_flops(const AttentionShape& s) {
  const double past = static_cast<double>(s.kv_len - s.q_len);
  const double q_len = static_cast<double>(s.q_len);
  const double pairs = q_len * past + q_len * (q_len + 1) / 2;
  return 4 * product(s.num_heads, s.head_dim) * pairs;
}

Work work_of(const AttentionShape& s) {
  const double keys_and_values = 2 * product(s.kv_len, s.num_kv_heads, s.head_dim);
  const double queries_and_outputs = 2 * product(s.q_len, s.num_heads, s.head_dim);
  return {attention_flops(s), kFloatBytes * (keys_and_values + queries_and_outputs)};
}

Shape shape_of(const LayerShape& s) {
  return {
      "width:" + std::to_string(s.width()) + "/heads:" + std::to_string(s.num_heads) +
          "/past:" + std::to_string(s.past) + "/tokens:" + std::to_string(s.seq),
      {{"tokens", s.seq}, {"past", s.past}, {"num_heads", s.num_heads}, {"head_dim", s.head_dim}}};
}

Work work_of(const LayerShape& s) {
  const Work qkv = work_of(MatmulShape{s.seq, 3 * s.width(), s.width()});
  const Work out = work_of(MatmulShape{s.seq, s.width(), s.width()});
  const Work attention = work_of(s.attention());
  return {qkv.flops + attention.flops + out.flops, qkv.bytes + attention.bytes + out.bytes};
}

}  // namespace heed::bench
