#include "heed/multi_head_attention.hpp"

#include <cstring>

#include "src/base/memory.h"
#include "src/c/call.h"
#include "src/c/options.h"
#include "src/cache/kv_cache.h"

using namespace heed;  // NOLINT: the functions below are C's

namespace {

// With what heed_multi_head_attention_get_config points to.
struct Layer {
  explicit Layer(MultiHeadAttention&& made) : layer(std::move(made)) {}

  MultiHeadAttention layer;
  heed_rope_options rope = {};
  heed_rope_scaling scaling = {};
};

Layer* LayerOf(heed_multi_head_attention* layer) { return reinterpret_cast<Layer*>(layer); }
const Layer* LayerOf(const heed_multi_head_attention* layer) {
  return reinterpret_cast<const Layer*>(layer);
}

void KeepRope(const RopeOptions& rope, Layer* kept) {
  kept->rope = ToC(rope);
  kept->rope.struct_size = sizeof(kept->rope);
  if (rope.scaling.type == RopeScalingType::kNone) return;
  kept->scaling = ToC(rope.scaling);
  kept->scaling.struct_size = sizeof(kept->scaling);
  kept->rope.scaling = &kept->scaling;
}

}  // namespace

heed_status heed_multi_head_attention_create(const heed_multi_head_attention_config* config,
                                             const heed_multi_head_attention_weights* weights,
                                             heed_context* context,
                                             heed_multi_head_attention** layer, heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckHandleOutput("layer", layer));
    HEED_RETURN_IF_ERROR(CheckPointer("context", context));
    MultiHeadAttentionConfig read;
    HEED_RETURN_IF_ERROR(Read(config, &read));
    MultiHeadAttentionWeights read_weights;
    HEED_RETURN_IF_ERROR(Read(weights, &read_weights));
    Result<MultiHeadAttention> made = MultiHeadAttention::create(read, read_weights, *Of(context));
    if (!made.ok()) return made.status();
    void* const memory = Allocate(sizeof(Layer));
    if (memory == nullptr) return OutOfMemory("layer", sizeof(Layer));
    auto* const kept = new (memory) Layer(std::move(made.value()));
    const auto& rope = kept->layer.config().rope;
    if (rope) KeepRope(*rope, kept);
    *layer = reinterpret_cast<heed_multi_head_attention*>(kept);
    return Status();
  });
}

void heed_multi_head_attention_destroy(heed_multi_head_attention* layer) { Delete(LayerOf(layer)); }

heed_status heed_multi_head_attention_forward(const heed_multi_head_attention* layer,
                                              const heed_tensor* x, const heed_tensor* y,
                                              const heed_forward_options* options,
                                              heed_context* context, heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckPointer("context", context));
    HEED_RETURN_IF_ERROR(CheckPointer("layer", layer));
    ForwardOptions read;
    HEED_RETURN_IF_ERROR(Read(options, &read));
    return LayerOf(layer)->layer.forward(View(x), Output(y), read, *Of(context));
  });
}

heed_status heed_multi_head_attention_create_cache(const heed_multi_head_attention* layer,
                                                   size_t batch, size_t capacity,
                                                   heed_kv_cache** cache, heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckHandleOutput("cache", cache));
    HEED_RETURN_IF_ERROR(CheckPointer("layer", layer));
    return Keep(LayerOf(layer)->layer.create_cache(batch, capacity), cache);
  });
}

heed_status heed_multi_head_attention_get_config(const heed_multi_head_attention* layer,
                                                 heed_multi_head_attention_config* config,
                                                 heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckPointer("layer", layer));
    heed_multi_head_attention_config c = ToC(LayerOf(layer)->layer.config());
    if (LayerOf(layer)->layer.config().rope) c.rope = &LayerOf(layer)->rope;
    return WriteConfig(&c, sizeof(c), config);
  });
}

size_t heed_multi_head_attention_d_out(const heed_multi_head_attention* layer) {
  return layer == nullptr ? 0 : LayerOf(layer)->layer.d_out();
}

size_t heed_multi_head_attention_bytes(const heed_multi_head_attention* layer) {
  return layer == nullptr ? 0 : LayerOf(layer)->layer.bytes();
}
