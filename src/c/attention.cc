#include "heed/attention.hpp"

#include "heed/attention_state.hpp"
#include "src/c/call.h"
#include "src/c/options.h"

using namespace heed;  // NOLINT: the functions below are C's

namespace {

// What all kinds of attention begin with.
Status ReadCall(const heed_attention_options* options, heed_context* context,
                AttentionOptions* read) {
  HEED_RETURN_IF_ERROR(CheckPointer("context", context));
  return Read(options, read);
}

}  // namespace

heed_status heed_attention(const heed_tensor* q, const heed_tensor* k, const heed_tensor* v,
                           const heed_tensor* out, const heed_attention_options* options,
                           heed_context* context, heed_error* error) {
  return Answer(error, [&]() -> Status {
    AttentionOptions read;
    HEED_RETURN_IF_ERROR(ReadCall(options, context, &read));
    return attention(View(q), View(k), View(v), Output(out), read, *Of(context));
  });
}

heed_status heed_attention_cache(const heed_tensor* q, const heed_kv_cache* cache,
                                 const heed_tensor* out, const heed_attention_options* options,
                                 heed_context* context, heed_error* error) {
  return Answer(error, [&]() -> Status {
    AttentionOptions read;
    HEED_RETURN_IF_ERROR(ReadCall(options, context, &read));
    HEED_RETURN_IF_ERROR(CheckPointer("cache", cache));
    return attention(View(q), *Of(cache), Output(out), read, *Of(context));
  });
}

heed_status heed_attention_paged(const heed_tensor* q, const heed_paged_kv* kv,
                                 const heed_tensor* out, const heed_attention_options* options,
                                 heed_context* context, heed_error* error) {
  return Answer(error, [&]() -> Status {
    AttentionOptions read;
    HEED_RETURN_IF_ERROR(ReadCall(options, context, &read));
    PagedKv pages;
    HEED_RETURN_IF_ERROR(Read(kv, &pages));
    return attention(View(q), pages, Output(out), read, *Of(context));
  });
}

heed_status heed_alibi_slopes(const heed_tensor* slopes, heed_error* error) {
  return Report(alibi_slopes(Output(slopes)), error);
}

heed_status heed_dropout_mask(float probability, uint64_t seed, const heed_tensor* mask,
                              heed_error* error) {
  return Report(dropout_mask(probability, seed, Output(mask)), error);
}

heed_status heed_attention_partial(const heed_tensor* q, const heed_tensor* k, const heed_tensor* v,
                                   size_t first_key, size_t kv_len,
                                   const heed_attention_state* state,
                                   const heed_attention_options* options, heed_context* context,
                                   heed_error* error) {
  return Answer(error, [&]() -> Status {
    AttentionOptions read;
    HEED_RETURN_IF_ERROR(ReadCall(options, context, &read));
    HEED_RETURN_IF_ERROR(CheckPointer("state", state));
    const AttentionState part = {Output(&state->max), Output(&state->sum), Output(&state->acc)};
    return attention_partial(View(q), View(k), View(v), first_key, kv_len, part, read,
                             *Of(context));
  });
}

heed_status heed_merge_attention(const heed_attention_state* parts, size_t num_parts,
                                 const heed_tensor* sinks, const heed_tensor* out,
                                 const heed_tensor* lse, heed_context* context, heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckPointer("context", context));
    HEED_RETURN_IF_ERROR(CheckArray("parts", parts, num_parts));
    return merge_attention(reinterpret_cast<const AttentionState*>(parts), num_parts, View(sinks),
                           Output(out), Output(lse), *Of(context));
  });
}

heed_status heed_merge_attention_results(const heed_tensor* out_a, const heed_tensor* lse_a,
                                         const heed_tensor* out_b, const heed_tensor* lse_b,
                                         const heed_tensor* out, const heed_tensor* lse,
                                         heed_context* context, heed_error* error) {
  return Answer(error, [&]() -> Status {
    HEED_RETURN_IF_ERROR(CheckPointer("context", context));
    return merge_attention(View(out_a), View(lse_a), View(out_b), View(lse_b), Output(out),
                           Output(lse), *Of(context));
  });
}
