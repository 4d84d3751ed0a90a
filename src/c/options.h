// Options of C made options of C++. A null pointer is the defaults; what is configured rather than
// chosen (caches, layers and their weights) may not be null.
#pragma once

#include "src/c/call.h"

namespace heed::inline v1 {

Status Read(const heed_context_options* given, ContextOptions* options);
Status Read(const heed_attention_options* given, AttentionOptions* options);
Status Read(const heed_dropout_options* given, DropoutOptions* options);
Status Read(const heed_kv_cache_config* given, KvCacheConfig* config);
Status Read(const heed_paged_kv_cache_config* given, PagedKvCacheConfig* config);
Status Read(const heed_pack_options* given, PackOptions* options);
Status Read(const heed_map_options* given, MapOptions* options);
Status Read(const heed_matmul_options* given, MatmulOptions* options);
Status Read(const heed_softmax_options* given, SoftmaxOptions* options);
Status Read(const heed_rope_options* given, RopeOptions* options);
Status Read(const heed_rope_scaling* given, RopeScaling* scaling);
Status Read(const heed_multi_head_attention_config* given, MultiHeadAttentionConfig* config);
Status Read(const heed_linear_weights* given, LinearWeights* weights, const char* name = "weights");
Status Read(const heed_multi_head_attention_weights* given, MultiHeadAttentionWeights* weights);
Status Read(const heed_forward_options* given, ForwardOptions* options);
Status Read(const heed_row_errors* given, RowErrors* errors);
Status Read(const heed_paged_kv* given, PagedKv* kv);

// The other way round, without struct_size.
heed_kv_cache_config ToC(const KvCacheConfig& config);
heed_paged_kv_cache_config ToC(const PagedKvCacheConfig& config);
heed_rope_scaling ToC(const RopeScaling& scaling);
heed_rope_options ToC(const RopeOptions& options);                        // but for scaling
heed_multi_head_attention_config ToC(const MultiHeadAttentionConfig& c);  // but for rope

// A struct to where a caller wants it, as far as the struct_size there says, which is checked
// first.
Status CheckWritten(const char* name, const void* to);
Status Write(const char* name, const void* from, size_t known, void* to);

}  // namespace heed::inline v1
