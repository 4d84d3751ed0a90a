// A program of somebody who uses heed: attention, a cache of int8 keys, packed weights. Prints a digest of all
// results, which is the same however heed was built, packaged and linked.
#include "app.h"

#include <cstdio>
#include <heed/heed.hpp>
#include <vector>

namespace {

class Numbers {
 public:
  std::vector<float> Draw(size_t count) {
    std::vector<float> numbers(count);
    for (float& number : numbers) {
      state_ = state_ * 1664525u + 1013904223u;
      number = static_cast<float>(static_cast<int32_t>(state_ >> 20) - 2048) / 1024.0f;
    }
    return numbers;
  }

 private:
  uint32_t state_ = 1;
};

void Take(const std::vector<float>& results, uint64_t* digest) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(results.data());
  for (size_t i = 0; i < results.size() * sizeof(float); ++i) {
    *digest = (*digest ^ bytes[i]) * 1099511628211u;
  }
}

bool Failed(const heed::Status& status) {
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.message());
  return !status.ok();
}

}  // namespace

uint64_t APP_DIGEST() {
  heed::ContextOptions threads;
  threads.num_threads = 2;
  heed::Context context(threads);
  Numbers numbers;
  uint64_t digest = 14695981039346656037u;

  const std::vector<float> q = numbers.Draw(5 * 4 * 32), k = numbers.Draw(300 * 2 * 32),
                           v = numbers.Draw(300 * 2 * 32);
  std::vector<float> out(5 * 4 * 32);
  heed::AttentionOptions options;
  options.causal = true;
  options.logits_soft_cap = 20.0f;
  if (Failed(heed::attention({q.data(), {5, 4, 32}}, {k.data(), {300, 2, 32}},
                             {v.data(), {300, 2, 32}}, {out.data(), {5, 4, 32}}, options,
                             context))) {
    return 0;
  }
  Take(out, &digest);

  heed::KvCacheConfig config;
  config.num_kv_heads = 2;
  config.head_dim = 32;
  config.capacity = 300;
  config.k_dtype = heed::DType::kInt8;
  config.v_dtype = heed::DType::kBF16;
  heed::Result<heed::KvCache> cache = heed::KvCache::create(config);
  if (Failed(cache.status()) ||
      Failed(cache->append({k.data(), {1, 300, 2, 32}}, {v.data(), {1, 300, 2, 32}}, context)) ||
      Failed(heed::attention({q.data(), {1, 5, 4, 32}}, *cache, {out.data(), {1, 5, 4, 32}},
                             options, context))) {
    return 0;
  }
  Take(out, &digest);

  const std::vector<float> weights = numbers.Draw(128 * 96);
  heed::PackOptions storage;
  storage.dtype = heed::DType::kInt4;
  storage.group = 32;
  heed::Result<heed::PackedMatrix> packed = heed::PackedMatrix::pack(
      {weights.data(), {96, 128}}, heed::WeightLayout::kOutIn, storage, context);
  std::vector<float> product(5 * 96);
  if (Failed(packed.status()) ||
      Failed(heed::matmul({q.data(), {5, 128}}, *packed, {product.data(), {5, 96}}, {}, context))) {
    return 0;
  }
  Take(product, &digest);

  // What is refused says so, without exceptions and without having written anything.
  const heed::Status refused =
      heed::attention({q.data(), {5, 3, 32}}, {k.data(), {300, 2, 32}}, {v.data(), {300, 2, 32}},
                      {out.data(), {5, 3, 32}}, options, context);
  if (refused.ok() || refused.message()[0] == '\0') return 0;
  return digest;
}
