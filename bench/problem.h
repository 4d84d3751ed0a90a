// What is computed: shapes, the work they are, and inputs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

namespace heed::bench {

// Vectors begin at cache lines, so that no library is slowed by where malloc put its operands.
template <class T>
struct CacheLineAllocator {
  using value_type = T;
  static constexpr std::align_val_t kAlignment{64};
  CacheLineAllocator() = default;
  template <class U>
  CacheLineAllocator(const CacheLineAllocator<U>&) {}
  T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), kAlignment)); }
  void deallocate(T* p, size_t) { ::operator delete(p, kAlignment); }
  bool operator==(const CacheLineAllocator&) const { return true; }
};
using Buffer = std::vector<float, CacheLineAllocator<float>>;

// Normally distributed: mean 0, deviation 1. Long buffers repeat with a period that is prime.
Buffer random_normal(size_t n, uint64_t seed);

// A problem's sizes by name, as they go into results: ("kv_len", 4096).
using Sizes = std::vector<std::pair<const char*, size_t>>;

struct Shape {
  std::string name;  // "heads:12/len:1024/dim:64"
  Sizes sizes = {};
};

// What one run computes and moves. Bytes count every operand once.
struct Work {
  double flops = 0;  // 0: not counted
  double bytes = 0;
};

struct MatmulShape {
  size_t m = 0, n = 0, k = 0;
};
std::string name_of(const MatmulShape& shape);  // "1024x2304x768": m x n x k
Shape shape_of(const MatmulShape& shape);
Work work_of(const MatmulShape& shape);

// Causal self-attention of one sequence; the queries are the last q_len of kv_len tokens.
struct AttentionShape {
  size_t q_len = 0, kv_len = 0, num_heads = 0, num_kv_heads = 0, head_dim = 0;
};
Shape shape_of(const AttentionShape& shape);  // "heads:32on8/len:1024/dim:128"

// Two products of each query with the keys it sees, and only those: with q_len = kv_len = S that is
// 4 * H * D * S * (S + 1) / 2. Exponentials are not counted.
double attention_flops(const AttentionShape& shape);
Work work_of(const AttentionShape& shape);

// qkv projection, attention, output projection; `past` tokens are in the cache.
struct LayerShape {
  size_t seq = 0, past = 0, num_heads = 0, head_dim = 0;

  size_t width() const { return num_heads * head_dim; }  // of x, y and of each projection
  AttentionShape attention() const { return {seq, past + seq, num_heads, num_heads, head_dim}; }
};
Shape shape_of(const LayerShape& shape);
Work work_of(const LayerShape& shape);

}  // namespace heed::bench
