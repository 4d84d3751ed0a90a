#include "src/cache/kv_cache.h"

#include <algorithm>
#include <new>

#include "src/base/check.h"
#include "src/base/float_environment.h"
#include "src/base/parallel.h"
#include "src/kernels/layout.h"

namespace heed {
namespace {

Status CheckConfig(const KvCacheConfig& c) {
  if (c.batch == 0 || c.num_kv_heads == 0 || c.head_dim == 0 || c.capacity == 0) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "config: batch %zu, num_kv_heads %zu, head_dim %zu and capacity %zu must "
                         "all be at least 1",
                         c.batch, c.num_kv_heads, c.head_dim, c.capacity);
  }
  if (c.window > c.capacity) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "window: is %zu, must be at most capacity, %zu", c.window, c.capacity);
  }
  if (c.window == 0 && c.sink_tokens != 0) {
    return Status::Error(StatusCode::kInvalidArgument, "sink_tokens: is %zu, needs a window",
                         c.sink_tokens);
  }
  return Status();
}

// The first key that a query at `position` sees, sinks apart.
size_t WindowBegin(size_t position, size_t window) {
  return position + 1 - std::min(position + 1, window);
}

constexpr KvCacheConfig kNoConfig;

}  // namespace

Status KvCache::Impl::Allocate() {
  if (config.v_head_dim == 0) config.v_head_dim = config.head_dim;
  const KvCacheConfig& c = config;
  HEED_RETURN_IF_ERROR(CheckConfig(c));
  constexpr size_t kLimit = PTRDIFF_MAX / 64;  // so that rounding up can't wrap
  block_floats = kKeyBlock * (c.head_dim % kLimit + RoundUp(c.v_head_dim % kLimit, kPanel));
  sink_blocks = CeilDiv(c.sink_tokens, kKeyBlock);
  ring_blocks = CeilDiv(c.capacity, kKeyBlock);
  const size_t factors[] = {c.batch, c.num_kv_heads, sink_blocks + ring_blocks, block_floats,
                            sizeof(float)};
  size_t bytes = 0;
  if (c.head_dim > kLimit / kKeyBlock || c.v_head_dim > kLimit / kKeyBlock ||
      !Product(factors, 5, &bytes)) {
    return Status::Error(
        StatusCode::kInvalidArgument,
        "config: batch %zu, num_kv_heads %zu, head_dim %zu, capacity %zu exceed the "
        "address space",
        c.batch, c.num_kv_heads, c.head_dim, c.capacity);
  }
  data = AllocateFloats(bytes / sizeof(float));
  if (data == nullptr) return OutOfMemory("cache", bytes);
  std::fill_n(data.get(), bytes / sizeof(float), 0.0f);
  return Status();
}

size_t KvCache::Impl::bytes() const {
  return config.batch * config.num_kv_heads * (sink_blocks + ring_blocks) * block_floats *
         sizeof(float);
}

float* KvCache::Impl::Block(size_t sequence, size_t kv_head, size_t block) const {
  const size_t head = sequence * config.num_kv_heads + kv_head;
  const size_t place =
      block < sink_blocks ? block : sink_blocks + (block - sink_blocks) % ring_blocks;
  return data.get() + (head * (sink_blocks + ring_blocks) + place) * block_floats;
}

size_t KvCache::Impl::room() const {
  if (config.window == 0) return config.capacity - length;
  const size_t ring = ring_blocks * kKeyBlock, all = ring + sink_blocks * kKeyBlock;
  return std::max(ring - config.window + 1, all - std::min(all, length));
}

size_t KvCache::Impl::FirstHeldAt(size_t tokens) const {
  const size_t ring = ring_blocks * kKeyBlock;
  return tokens > sink_blocks * kKeyBlock + ring ? std::max(first_held, tokens - ring) : first_held;
}

void KvCache::Impl::Write(size_t sequence, size_t kv_head, const KvTokens& tokens) {
  for (size_t i = 0; i < tokens.keys.len; ++i) {
    const size_t at = (length + i) % kKeyBlock;
    float* block = Block(sequence, kv_head, (length + i) / kKeyBlock);
    const float* key = tokens.keys.row(sequence, i, kv_head);
    float* k = block + at / kPanel * kPanel * config.head_dim + at % kPanel;
    for (size_t d = 0; d < config.head_dim; ++d, key += tokens.keys.dim_stride) {
      k[d * kPanel] = *key;
    }
    const float* value = tokens.values.row(sequence, i, kv_head);
    float* v = block + kKeyBlock * config.head_dim + at * kPanel;
    for (size_t d = 0; d < config.v_head_dim; d += kPanel, v += kKeyBlock * kPanel) {
      const size_t width = std::min(kPanel, config.v_head_dim - d);
      if (tokens.values.dim_stride == 1) {
        std::copy_n(value + d, width, v);
        continue;
      }
      for (size_t c = 0; c < width; ++c) {
        v[c] = value[static_cast<ptrdiff_t>(d + c) * tokens.values.dim_stride];
      }
    }
  }
}

Status CheckCache(const KvCache& cache) {
  if (KvCache::Impl::Of(cache) != nullptr) return Status();
  return Status::Error(StatusCode::kInvalidArgument, "cache: was moved from");
}

void KvCache::Destroy::operator()(Impl* impl) const { delete impl; }

Result<KvCache> KvCache::create(const KvCacheConfig& config) {
  KvCache cache;
  cache.impl_.reset(new (std::nothrow) Impl);
  if (cache.impl_ == nullptr) return OutOfMemory("cache", sizeof(Impl));
  cache.impl_->config = config;
  HEED_RETURN_IF_ERROR(cache.impl_->Allocate());
  return cache;
}

const KvCacheConfig& KvCache::config() const { return impl_ ? impl_->config : kNoConfig; }

size_t KvCache::length() const { return impl_ ? impl_->length : 0; }

size_t KvCache::bytes() const { return impl_ ? impl_->bytes() : 0; }

size_t KvCache::first_held() const { return impl_ ? impl_->first_held : 0; }

size_t KvCache::room() const { return impl_ ? impl_->room() : 0; }

Status KvCache::append(const TensorView& k, const TensorView& v, Context& context) {
  const FloatEnvironment environment;
  HEED_RETURN_IF_ERROR(CheckContext(context));
  HEED_RETURN_IF_ERROR(CheckCache(*this));
  Impl& m = *impl_;
  const KvCacheConfig& c = m.config;
  KvTokens tokens;
  HEED_RETURN_IF_ERROR(
      CheckKvTokens(k, v, c.batch, c.num_kv_heads, c.head_dim, c.v_head_dim, &tokens));
  const size_t seq = tokens.keys.len;
  if (seq > m.room()) {
    return Status::Error(StatusCode::kCapacityExceeded,
                         "cache: at %zu tokens with capacity %zu and window %zu it can take %zu "
                         "more, not %zu",
                         m.length, c.capacity, c.window, m.room(), seq);
  }
  if (seq == 0) return Status();
  m.first_held = m.FirstHeldAt(m.length + seq);  // first: a ring is overwritten from here on
  const Context::Impl& impl = *Context::Impl::Of(context);
  const size_t heads = c.batch * c.num_kv_heads;
  const Status status = ForEachTask(
      impl, heads, WorkersForTokens(impl, heads, tokens),
      [&](size_t head, size_t) { m.Write(head / c.num_kv_heads, head % c.num_kv_heads, tokens); });
  if (status.ok()) m.length += seq;
  return status;
}

Status KvCache::truncate(size_t length) {
  HEED_RETURN_IF_ERROR(CheckCache(*this));
  Impl& m = *impl_;
  if (length > m.length) {
    return Status::Error(StatusCode::kInvalidArgument, "length: is %zu, the cache holds %zu",
                         length, m.length);
  }
  const size_t sinks = m.sink_blocks * kKeyBlock;
  const size_t needed = std::max(WindowBegin(length, m.config.window), sinks);
  if (needed < std::min(m.first_held, length)) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "length: is %zu, whose window of %zu is overwritten: the ring holds %zu "
                         "to %zu",
                         length, m.config.window, m.first_held, m.length);
  }
  m.length = length;
  m.first_held = length <= sinks ? 0 : std::min(m.first_held, length);
  return Status();
}

}  // namespace heed
