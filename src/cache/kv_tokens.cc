#include "src/cache/kv_tokens.h"

#include "src/base/check.h"

namespace heed {
namespace {

Status CheckTokens(const char* name, const TensorView& view, size_t batch, size_t num_kv_heads,
                   size_t head_dim, TokenRows* rows) {
  HEED_RETURN_IF_ERROR(CheckInput(name, view, DType::kF32, 3, 4));
  const size_t first = view.rank - 3;
  const size_t given = first == 1 ? view.shape[0] : 1;
  if (given != batch || view.shape[first + 1] != num_kv_heads ||
      view.shape[first + 2] != head_dim) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "%s: shape is %s, must be [%zu, seq, %zu, %zu] for this cache", name,
                         ShapeText(view).text, batch, num_kv_heads, head_dim);
  }
  *rows = {static_cast<const float*>(view.data), first == 1 ? view.strides[0] : 0,
           view.strides[first], view.strides[first + 1], view.strides[first + 2]};
  return Status();
}

}  // namespace

Status CheckKvTokens(const TensorView& k, const TensorView& v, size_t batch, size_t num_kv_heads,
                     size_t head_dim, size_t v_head_dim, KvTokens* tokens) {
  HEED_RETURN_IF_ERROR(CheckTokens("k", k, batch, num_kv_heads, head_dim, &tokens->keys));
  HEED_RETURN_IF_ERROR(CheckTokens("v", v, batch, num_kv_heads, v_head_dim, &tokens->values));
  tokens->seq = k.shape[k.rank - 3];
  if (v.shape[v.rank - 3] != tokens->seq) {
    return Status::Error(StatusCode::kInvalidArgument, "v: has %zu tokens, k has %zu",
                         v.shape[v.rank - 3], tokens->seq);
  }
  return Status();
}

}  // namespace heed
