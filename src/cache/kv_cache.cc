#include "src/cache/kv_cache.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "src/base/check.h"
#include "src/base/half.h"
#include "src/base/parallel.h"
#include "src/base/quantize.h"
#include "src/kernels/layout.h"

namespace heed::inline v1 {
namespace {

// Bytes of the scales of a block's keys or values.
size_t BytesOfScales(DType dtype, size_t dim) {
  if (dtype == DType::kInt8) return kKeyBlock * sizeof(float);
  if (dtype == DType::kInt4) return kKeyBlock * sizeof(f16) * CeilDiv(dim, kInt4Group);
  return 0;
}

void FillScales(const uint8_t* at, ScaleAxis axis, size_t dim, Panels* panels) {
  if (!HasScales(panels->dtype)) return;
  const bool int8 = panels->dtype == DType::kInt8;
  Scales& scales = panels->scales;
  scales.data = at;
  scales.axis = axis;
  scales.group = int8 ? RoundUp(dim, kPanel) : kInt4Group;
  scales.panel_stride = kPanel;
  scales.group_stride = kKeyBlock;
}

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
  if (c.values_in_keys && c.v_head_dim > c.head_dim) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "v_head_dim: is %zu, must be at most head_dim, %zu, with values_in_keys",
                         c.v_head_dim, c.head_dim);
  }
  HEED_RETURN_IF_ERROR(CheckStored("k_dtype", c.k_dtype));
  return CheckStored("v_dtype", c.v_dtype);
}

// The first key that a query at `position` sees, sinks apart.
size_t WindowBegin(size_t position, size_t window) {
  return position + 1 - std::min(position + 1, window);
}

Status TooLarge(const KvCacheConfig& c) {
  return Status::Error(StatusCode::kInvalidArgument,
                       "config: batch %zu, num_kv_heads %zu, head_dim %zu, capacity %zu exceed the "
                       "address space",
                       c.batch, c.num_kv_heads, c.head_dim, c.capacity);
}

// Where the elements of one token and head lie, counted as elements of f32 panels: channel d at
// first + d / 16 * kPanelStep + d % 16 * kStep.
template <size_t kStep, size_t kPanelStep>
struct Places {
  uint8_t* panels;
  size_t first;

  // put(index, element) for the channels [begin, end), begin a multiple of kPanel; `from` is the
  // first one's element.
  template <class T, class Put>
  void ForEach(const T* from, ptrdiff_t stride, size_t begin, size_t end, const Put& put) const {
    for (size_t d = begin; d < end; d += kPanel) {
      const size_t at = first + d / kPanel * kPanelStep, width = std::min(kPanel, end - d);
      for (size_t c = 0; c < width; ++c, from += stride) put(at + c * kStep, *from);
    }
  }
};
using KeyPlaces = Places<kPanel, kPanel * kPanel>;
using ValuePlaces = Places<1, kKeyBlock * kPanel>;

template <class T, class To, class Narrow>
void WriteElements(const float* from, ptrdiff_t stride, size_t n, const To& to,
                   const Narrow& narrow) {
  T* const elements = reinterpret_cast<T*>(to.panels);
  to.ForEach(from, stride, 0, n, [&](size_t at, float x) { elements[at] = narrow(x); });
}

template <class To>
void WriteInt8(const float* from, ptrdiff_t stride, size_t n, const To& to, float* scale) {
  *scale = Int8Scale(Extreme(from, stride, n));
  WriteElements<int8_t>(from, stride, n, to, [&](float x) { return Int8Code(x, *scale); });
}

template <class To>
void PutInt4(const To& to, size_t at, int8_t code) {
  const size_t step = at / kPanel, shift = step % 2 * 4;
  uint8_t& pair = to.panels[step / 2 * kPanel + at % kPanel];
  pair =
      static_cast<uint8_t>((pair & ~(15u << shift)) | (static_cast<unsigned>(code) & 15u) << shift);
}

// `scales` of the groups lie kKeyBlock apart.
template <class To>
void WriteInt4(const float* from, ptrdiff_t stride, size_t n, const To& to, f16* scales) {
  for (size_t begin = 0; begin < n; begin += kInt4Group, scales += kKeyBlock) {
    const size_t end = std::min(begin + kInt4Group, n);
    *scales = Int4Scale(Extreme(from, stride, end - begin));
    const float scale = ToFloat(*scales);
    to.ForEach(from, stride, begin, end,
               [&](size_t at, float x) { PutInt4(to, at, Int4Code(x, scale)); });
    from += static_cast<ptrdiff_t>(end - begin) * stride;
  }
}

// One token of one head, `n` channels. `scales`: the block's.
template <class To>
void WriteToken(DType dtype, const float* from, ptrdiff_t stride, size_t n, const To& to,
                uint8_t* scales, size_t token) {
  switch (dtype) {
    case DType::kBF16:
      return WriteElements<bf16>(from, stride, n, to, [](float x) { return ToBf16(x); });
    case DType::kF16:
      return WriteElements<f16>(from, stride, n, to, [](float x) { return ToF16(x); });
    case DType::kInt8:
      return WriteInt8(from, stride, n, to, reinterpret_cast<float*>(scales) + token);
    case DType::kInt4:
      return WriteInt4(from, stride, n, to, reinterpret_cast<f16*>(scales) + token);
    default:
      return WriteElements<float>(from, stride, n, to, [](float x) { return x; });
  }
}

// The codes of a row. A key has both nibbles of its bytes, whose channels are steps; of values,
// whose steps are tokens, it has one of each.
void PlaceInt4(const int8_t* codes, size_t n, const KeyPlaces& to) {
  for (size_t d = 0; d < n; d += 2) {
    const int odd = d + 1 < n ? codes[d + 1] : 0;
    to.panels[d / 2 * kPanel + to.first] = static_cast<uint8_t>((codes[d] & 15) | (odd & 15) << 4);
  }
}
void PlaceInt4(const int8_t* codes, size_t n, const ValuePlaces& to) {
  const size_t step = to.first / kPanel, shift = step % 2 * 4;
  for (size_t d = 0; d < n; d += kPanel) {
    uint8_t* pairs = to.panels + (d / kPanel * kKeyBlock + step) / 2 * kPanel;
    for (size_t c = 0; c < std::min(kPanel, n - d); ++c) {
      const unsigned code = static_cast<unsigned>(codes[d + c]) & 15u;
      pairs[c] = static_cast<uint8_t>((pairs[c] & ~(15u << shift)) | code << shift);
    }
  }
}

// The same by vectors, of rows of at most so many channels that lie side by side: nearly all are.
constexpr size_t kRowChannels = 1024;

template <class To>
void WriteRow(const Kernels& kernels, DType dtype, const float* from, size_t n, const To& to,
              uint8_t* scales, size_t token) {
  uint16_t halves[kRowChannels];
  int8_t codes[kRowChannels];
  switch (dtype) {
    case DType::kBF16:
    case DType::kF16: {
      kernels.widen->narrow[StoredIndex(dtype)](from, n, halves);
      auto* const elements = reinterpret_cast<uint16_t*>(to.panels);
      return to.ForEach(halves, 1, 0, n, [&](size_t at, uint16_t bits) { elements[at] = bits; });
    }
    case DType::kInt8: {
      kernels.quantize->int8_row(from, n, n, reinterpret_cast<float*>(scales) + token, codes);
      auto* const elements = reinterpret_cast<int8_t*>(to.panels);
      return to.ForEach(codes, 1, 0, n, [&](size_t at, int8_t code) { elements[at] = code; });
    }
    case DType::kInt4: {
      f16 of_groups[kRowChannels / kInt4Group];
      kernels.quantize->int4_row(from, n, kInt4Group, of_groups, codes);
      f16* const block_scales = reinterpret_cast<f16*>(scales) + token;
      for (size_t g = 0; g < CeilDiv(n, kInt4Group); ++g)
        block_scales[g * kKeyBlock] = of_groups[g];
      return PlaceInt4(codes, n, to);
    }
    default:
      return WriteToken(dtype, from, 1, n, to, scales, token);
  }
}

template <class To>
void Store(const Kernels& kernels, DType dtype, const float* from, ptrdiff_t stride, size_t n,
           const To& to, uint8_t* scales, size_t token) {
  if (stride == 1 && n <= kRowChannels) return WriteRow(kernels, dtype, from, n, to, scales, token);
  WriteToken(dtype, from, stride, n, to, scales, token);
}

constexpr KvCacheConfig kNoConfig;

}  // namespace

Status KvCache::Impl::Describe(const KvCacheConfig& of) {
  config = of;
  if (config.v_head_dim == 0) config.v_head_dim = config.head_dim;
  if (config.values_in_keys) config.v_dtype = config.k_dtype;
  const KvCacheConfig& c = config;
  HEED_RETURN_IF_ERROR(CheckConfig(c));
  constexpr size_t kLimit = PTRDIFF_MAX / 64;  // so that rounding up can't wrap
  if (c.head_dim > kLimit / kKeyBlock || c.v_head_dim > kLimit / kKeyBlock) return TooLarge(c);
  values_at = kKeyBlock / kPanel * key_panel_bytes();
  const size_t v_head_dim = c.values_in_keys ? 0 : c.v_head_dim;
  key_scales_at = values_at + CeilDiv(v_head_dim, kPanel) * value_panel_bytes();
  value_scales_at = key_scales_at + BytesOfScales(c.k_dtype, c.head_dim);
  block_bytes = value_scales_at + (c.values_in_keys ? 0 : BytesOfScales(c.v_dtype, v_head_dim));
  sink_blocks = CeilDiv(c.sink_tokens, kKeyBlock);
  ring_blocks = CeilDiv(c.capacity, kKeyBlock);
  const size_t factors[] = {c.batch, c.num_kv_heads, sink_blocks + ring_blocks, block_bytes};
  size_t bytes = 0;
  return Product(factors, 4, &bytes) ? Status() : TooLarge(c);
}

uint8_t* KvCache::Impl::LayOut(Arena* arena) const {
  (void)arena->Take<Impl>();
  return arena->Take<uint8_t>(bytes());
}

size_t KvCache::Impl::bytes() const {
  return config.batch * config.num_kv_heads * (sink_blocks + ring_blocks) * block_bytes;
}

uint8_t* KvCache::Impl::Block(size_t sequence, size_t kv_head, size_t block) const {
  const size_t head = sequence * config.num_kv_heads + kv_head;
  const size_t place =
      block < sink_blocks ? block : sink_blocks + (block - sink_blocks) % ring_blocks;
  return data + (head * (sink_blocks + ring_blocks) + place) * block_bytes;
}

void KvCache::Impl::PanelsOf(const uint8_t* block, Panels* k, Panels* v) const {
  k->data = block;
  k->dtype = config.k_dtype;
  FillScales(block + key_scales_at, ScaleAxis::kColumn, config.head_dim, k);
  v->data = block + values_at;
  v->dtype = config.v_dtype;
  FillScales(block + value_scales_at, ScaleAxis::kDepth, config.v_head_dim, v);
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

void KvCache::Impl::Write(const Kernels& kernels, size_t sequence, size_t kv_head,
                          const KvTokens& tokens, size_t after) {
  const size_t first = length + after;
  for (size_t i = 0; i < tokens.keys.len; ++i) {
    const size_t at = (first + i) % kKeyBlock;
    uint8_t* block = Block(sequence, kv_head, (first + i) / kKeyBlock);
    Store(kernels, config.k_dtype, tokens.keys.row(sequence, i, kv_head), tokens.keys.dim_stride,
          config.head_dim, KeyPlaces{block + at / kPanel * key_panel_bytes(), at % kPanel},
          block + key_scales_at, at);
    if (config.values_in_keys) continue;
    Store(kernels, config.v_dtype, tokens.values.row(sequence, i, kv_head),
          tokens.values.dim_stride, config.v_head_dim, ValuePlaces{block + values_at, at * kPanel},
          block + value_scales_at, at);
  }
}

Status CheckCache(const KvCache& cache) {
  const KvCache::Impl* impl = KvCache::Impl::Of(cache);
  if (impl == nullptr) {
    return Status::Error(StatusCode::kInvalidArgument, "cache: was moved from");
  }
  if (impl->data != nullptr || DataIsOptional()) return Status();
  return Status::Error(StatusCode::kInvalidArgument,
                       "cache: is without data, for calls that measure alone");
}

KvCache::KvCache() = default;
KvCache::~KvCache() = default;
KvCache::KvCache(KvCache&& other) noexcept = default;
KvCache& KvCache::operator=(KvCache&& other) noexcept = default;

void KvCache::Destroy::operator()(Impl* impl) const { Remove(impl); }

Result<size_t> KvCache::memory_bytes(const KvCacheConfig& config) {
  Impl impl;
  HEED_RETURN_IF_ERROR(impl.Describe(config));
  Arena counted;
  impl.LayOut(&counted);
  return counted.used();
}

Result<KvCache> KvCache::create(const KvCacheConfig& config, const Memory& memory) {
  if (IsHeap(memory)) return create(config);
  const Result<size_t> bytes = memory_bytes(config);
  HEED_RETURN_IF_ERROR(bytes.status());
  HEED_RETURN_IF_ERROR(CheckMemory(memory, *bytes));
  KvCache cache;
  cache.impl_.reset(new (memory.data) Impl);
  Impl& impl = *cache.impl_;
  HEED_RETURN_IF_ERROR(impl.Describe(config));
  Arena arena(memory.data);
  impl.data = impl.LayOut(&arena);
  std::memset(impl.data, 0, impl.bytes());
  return cache;
}

Result<KvCache> KvCache::create(const KvCacheConfig& config) {
  const Result<size_t> bytes = memory_bytes(config);
  HEED_RETURN_IF_ERROR(bytes.status());
  void* memory = Allocate(*bytes);
  if (memory == nullptr) return OutOfMemory("cache", *bytes);
  Result<KvCache> cache = create(config, {memory, *bytes});
  cache->impl_->on_heap = true;
  return cache;
}

Result<KvCache> KvCache::without_data(const KvCacheConfig& config, size_t length) {
  KvCache cache;
  cache.impl_.reset(New<Impl>());
  if (cache.impl_ == nullptr) return OutOfMemory("cache", sizeof(Impl));
  Impl& impl = *cache.impl_;
  impl.on_heap = true;
  HEED_RETURN_IF_ERROR(impl.Describe(config));
  if (config.window == 0 && length > config.capacity) {
    return Status::Error(StatusCode::kCapacityExceeded, "length: is %zu, the capacity %zu", length,
                         config.capacity);
  }
  impl.first_held = impl.FirstHeldAt(length);
  impl.length = length;
  return cache;
}

const KvCacheConfig& KvCache::config() const { return impl_ ? impl_->config : kNoConfig; }

size_t KvCache::length() const { return impl_ ? impl_->length : 0; }

size_t KvCache::bytes() const { return impl_ ? impl_->bytes() : 0; }

size_t KvCache::first_held() const { return impl_ ? impl_->first_held : 0; }

size_t KvCache::room() const { return impl_ ? impl_->room() : 0; }

Status KvCache::append(const TensorView& k, const TensorView& v, Context& context) {
  return append_tokens(k, &v, context);
}

Status KvCache::append(const TensorView& k, Context& context) {
  return append_tokens(k, nullptr, context);
}

Status KvCache::Impl::PlanAppend(const TensorView& k, const TensorView* v,
                                 const Context::Impl& context, AppendPlan* plan) const {
  const KvCacheConfig& c = config;
  if (c.values_in_keys != (v == nullptr)) {
    return Status::Error(StatusCode::kInvalidArgument, "v: is %s, must be %s values_in_keys",
                         v == nullptr ? "missing" : "given",
                         v == nullptr ? "given without" : "left out with");
  }
  KvTokens& tokens = plan->tokens;
  HEED_RETURN_IF_ERROR(CheckKvTokens(k, v == nullptr ? k : *v, c.batch, c.num_kv_heads, c.head_dim,
                                     v == nullptr ? c.head_dim : c.v_head_dim, &tokens));
  const size_t seq = tokens.keys.len;
  if (seq > room()) {
    return Status::Error(StatusCode::kCapacityExceeded,
                         "cache: at %zu tokens with capacity %zu and window %zu it can take %zu "
                         "more, not %zu",
                         length, c.capacity, c.window, room(), seq);
  }
  plan->workers = WorkersForTokens(context, c.batch * c.num_kv_heads, tokens);
  plan->widened = tokens.f32() ? 0 : WidenedTokens::Floats(tokens);
  Arena counted;
  counted.TakeIf<float>(plan->widened > 0, plan->workers, plan->widened);
  plan->bytes = counted.used();
  return Status();
}

Status KvCache::Impl::RunAppend(const AppendPlan& plan, Arena arena, const Context::Impl& context) {
  const size_t seq = plan.tokens.keys.len, widened = plan.widened;
  float* floats = arena.TakeIf<float>(widened > 0, plan.workers, widened);
  const WidenedTokens reader(*context.widen, plan.tokens);
  // First: a ring is overwritten from here on.
  HEED_RETURN_IF_ERROR(Once(context, [&] { first_held = FirstHeldAt(length + seq); }));
  const auto append = [&](size_t task, size_t worker) {
    const size_t sequence = task / config.num_kv_heads, head = task % config.num_kv_heads;
    if (widened == 0) return Write(context, sequence, head, plan.tokens);
    for (size_t i = 0; i < seq; ++i) {
      Write(context, sequence, head, reader.Read(sequence, i, head, floats + worker * widened), i);
    }
  };
  HEED_RETURN_IF_ERROR(
      ForEachTask(context, config.batch * config.num_kv_heads, plan.workers, append));
  return Once(context, [&] { length += seq; });
}

Status KvCache::append_tokens(const TensorView& k, const TensorView* v, Context& context) {
  const Call call(context);
  HEED_RETURN_IF_ERROR(call.status());
  HEED_RETURN_IF_ERROR(CheckCache(*this));
  Context::Impl& impl = *Context::Impl::Of(context);
  AppendPlan plan;
  HEED_RETURN_IF_ERROR(impl_->PlanAppend(k, v, impl, &plan));
  if (plan.tokens.keys.len == 0) return Status();
  Arena arena;
  HEED_RETURN_IF_ERROR(impl.Reserve(plan.bytes, &arena));
  return impl_->RunAppend(plan, arena, impl);
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

}  // namespace heed::inline v1
