#include "src/cache/kv_tokens.h"

#include "src/base/check.h"
#include "src/base/parallel.h"

namespace heed::inline v1 {
namespace {

Status CheckTokens(const char* name, const TensorView& view, size_t batch, size_t num_kv_heads,
                   size_t head_dim, HeadsView* heads) {
  HEED_RETURN_IF_ERROR(CheckFloatInput(name, view, 3, 4));
  *heads = AsHeads(view);
  if (heads->batch != batch || heads->heads != num_kv_heads || heads->dim != head_dim) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "%s: shape is %s, must be [%zu, seq, %zu, %zu] for this cache", name,
                         ShapeText(view).text, batch, num_kv_heads, head_dim);
  }
  return Status();
}

}  // namespace

Status CheckKvTokens(const TensorView& k, const TensorView& v, size_t batch, size_t num_kv_heads,
                     size_t head_dim, size_t v_head_dim, KvTokens* tokens) {
  HEED_RETURN_IF_ERROR(CheckTokens("k", k, batch, num_kv_heads, head_dim, &tokens->keys));
  HEED_RETURN_IF_ERROR(CheckTokens("v", v, batch, num_kv_heads, v_head_dim, &tokens->values));
  if (tokens->values.len != tokens->keys.len) {
    return Status::Error(StatusCode::kInvalidArgument, "v: has %zu tokens, k has %zu",
                         tokens->values.len, tokens->keys.len);
  }
  return Status();
}

KvTokens WidenedTokens::Read(size_t sequence, size_t i, size_t head, float* floats) const {
  const auto one = [](const HeadsView& of, const float* row) {
    HeadsView view;
    view.data = row;
    view.len = 1;
    view.dim = of.dim;
    view.dim_stride = 1;
    return view;
  };
  float* value = floats + tokens_.keys.dim;
  read_key_(tokens_.keys.at(sequence, i, head), tokens_.keys.dim, floats);
  read_value_(tokens_.values.at(sequence, i, head), tokens_.values.dim, value);
  return {one(tokens_.keys, floats), one(tokens_.values, value)};
}

size_t WorkersForTokens(const Context::Impl& context, size_t num_tasks, const KvTokens& tokens) {
  constexpr double kElementCost = 4;  // in multiply-adds
  const HeadsView& k = tokens.keys;
  const double rows =
      static_cast<double>(k.batch) * static_cast<double>(k.len) * static_cast<double>(k.heads);
  const double elements = rows * static_cast<double>(k.dim + tokens.values.dim);
  return WorkersFor(context, num_tasks, elements * kElementCost);
}

}  // namespace heed::inline v1
