#include "heed/multi_head_attention.hpp"

#include "src/c/call.h"
#include "src/c/options.h"
#include "src/c/region.h"
#include "src/cache/kv_cache.h"
#include "src/layer/multi_head_attention.h"

using namespace heed;  // NOLINT: the functions below are C's

namespace {

// What heed_multi_head_attention_get_config points to.
void KeepRope(const RopeOptions& rope, MultiHeadAttention::Impl* impl) {
  impl->rope_of_c = ToC(rope);
  impl->rope_of_c.struct_size = sizeof(impl->rope_of_c);
  if (rope.scaling.type == RopeScalingType::kNone) return;
  impl->scaling_of_c = ToC(rope.scaling);
  impl->scaling_of_c.struct_size = sizeof(impl->scaling_of_c);
  impl->rope_of_c.scaling = &impl->scaling_of_c;
}

}  // namespace

heed_status heed_multi_head_attention_create(const heed_multi_head_attention_config* config,
                                             const heed_multi_head_attention_weights* weights,
                                             const heed_memory* memory, heed_context* context,
                                             heed_multi_head_attention** layer, heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckHandleOutput("layer", layer));
    HEED_RETURN_IF_ERROR(CheckPointer("context", context));
    MultiHeadAttentionConfig read;
    HEED_RETURN_IF_ERROR(Read(config, &read));
    MultiHeadAttentionWeights read_weights;
    HEED_RETURN_IF_ERROR(Read(weights, &read_weights));
    Result<MultiHeadAttention> made =
        MultiHeadAttention::create(read, read_weights, ReadMemory(memory), *Of(context));
    if (made.ok() && made->config().rope) {
      KeepRope(*made->config().rope,
               const_cast<MultiHeadAttention::Impl*>(MultiHeadAttention::Impl::Of(*made)));
    }
    return Keep(std::move(made), layer);
  });
}

heed_status heed_multi_head_attention_memory_bytes(const heed_multi_head_attention_config* config,
                                                   const heed_multi_head_attention_weights* weights,
                                                   heed_context* context, size_t* bytes,
                                                   heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckPointer("bytes", bytes));
    HEED_RETURN_IF_ERROR(CheckPointer("context", context));
    MultiHeadAttentionConfig read;
    HEED_RETURN_IF_ERROR(Read(config, &read));
    MultiHeadAttentionWeights read_weights;
    HEED_RETURN_IF_ERROR(Read(weights, &read_weights));
    return Give(MultiHeadAttention::memory_bytes(read, read_weights, *Of(context)), bytes);
  });
}

void heed_multi_head_attention_destroy(heed_multi_head_attention* layer) { Drop(Of(layer)); }

heed_status heed_multi_head_attention_forward(const heed_multi_head_attention* layer,
                                              const heed_tensor* x, const heed_tensor* y,
                                              const heed_forward_options* options,
                                              heed_context* context, heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckPointer("context", context));
    HEED_RETURN_IF_ERROR(CheckPointer("layer", layer));
    ForwardOptions read;
    HEED_RETURN_IF_ERROR(Read(options, &read));
    return Of(layer)->forward(View(x), Output(y), read, *Of(context));
  });
}

heed_status heed_multi_head_attention_create_cache(const heed_multi_head_attention* layer,
                                                   size_t batch, size_t capacity,
                                                   heed_kv_cache** cache, heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckHandleOutput("cache", cache));
    HEED_RETURN_IF_ERROR(CheckPointer("layer", layer));
    return Keep(Of(layer)->create_cache(batch, capacity), cache);
  });
}

heed_status heed_multi_head_attention_cache_config(const heed_multi_head_attention* layer,
                                                   size_t batch, size_t capacity,
                                                   heed_kv_cache_config* config,
                                                   heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckPointer("layer", layer));
    const heed_kv_cache_config c = ToC(Of(layer)->cache_config(batch, capacity));
    return Write("config", &c, sizeof(c), config);
  });
}

heed_status heed_multi_head_attention_get_config(const heed_multi_head_attention* layer,
                                                 heed_multi_head_attention_config* config,
                                                 heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckPointer("layer", layer));
    heed_multi_head_attention_config c = ToC(Of(layer)->config());
    if (Of(layer)->config().rope) c.rope = &MultiHeadAttention::Impl::Of(*Of(layer))->rope_of_c;
    return Write("config", &c, sizeof(c), config);
  });
}

size_t heed_multi_head_attention_d_out(const heed_multi_head_attention* layer) {
  return layer == nullptr ? 0 : Of(layer)->d_out();
}

size_t heed_multi_head_attention_bytes(const heed_multi_head_attention* layer) {
  return layer == nullptr ? 0 : Of(layer)->bytes();
}

heed_status heed_region_forward(const heed_multi_head_attention* layer, const heed_tensor* x,
                                const heed_tensor* y, const heed_forward_options* options,
                                size_t max_workers, heed_context* context, heed_region* region,
                                heed_error* error) {
  return Answer(error, [&]() -> Status {
    ForwardOptions read;
    HEED_RETURN_IF_ERROR(ReadCall(options, context, region, &read));
    HEED_RETURN_IF_ERROR(CheckPointer("layer", layer));
    return Give(Region::forward(*Of(layer), View(x), Output(y), read, max_workers, *Of(context)),
                region);
  });
}
