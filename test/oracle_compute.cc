// Golden cases through heed's public functions.
#include <algorithm>
#include <limits>

#include "test/oracle.h"

namespace heed::oracle {
namespace {

// Filled with NaN, so that an element which a call forgets cannot pass.
Tensor make_tensor(const std::vector<size_t>& shape) {
  size_t size = 1;
  for (size_t n : shape) size *= n;
  return {shape, std::vector<float>(size, std::numeric_limits<float>::quiet_NaN())};
}

MutableTensorView view(Tensor& t) {
  return {t.values.data(), DType::kF32, t.shape.data(), t.shape.size()};
}

// Tokens per call: the steps of a decode, or everything at once.
std::vector<size_t> steps(const Case& c) {
  return c.chunks.empty() ? std::vector<size_t>{c.q_len} : c.chunks;
}

// x [batch, len, heads, head_dim], rotated into `rotated` where the case wants RoPE.
Result<TensorView> maybe_rope(const Case& c, const TensorView& x, size_t len,
                              const std::string& positions_name, Inputs& inputs, Tensor& rotated,
                              Context& context) {
  if (!c.rope) return x;
  const TensorView positions = inputs.i32(positions_name, {c.batch, len});
  if (!inputs.status().ok()) return inputs.status();
  rotated = make_tensor({x.shape, x.shape + x.rank});
  if (Status s = rope(x, positions, view(rotated), *c.rope, context); !s.ok()) return s;
  return TensorView(view(rotated));
}

Result<Tensors> compute_rope(const Case& c, Inputs& inputs, Context& context) {
  const TensorView x = inputs.f32("x", {c.batch, c.q_len, c.num_heads, c.head_dim});
  Tensors results;
  auto rotated = maybe_rope(c, x, c.q_len, "positions", inputs, results["out"], context);
  if (!rotated.ok()) return rotated.status();
  return results;
}

Status decode(const Case& c, const TensorView& q, const TensorView& k, const TensorView& v,
              const MutableTensorView& out, const MutableTensorView& lse, Context& context) {
  auto cache = KvCache::create({.batch = c.batch,
                                .num_kv_heads = c.num_kv_heads,
                                .head_dim = c.head_dim,
                                .v_head_dim = c.v_head_dim,
                                .capacity = c.kv_len});
  if (!cache.ok()) return cache.status();
  AttentionOptions options;
  options.scale = c.scale;
  options.causal = c.causal;
  size_t begin = 0;
  for (size_t tokens : steps(c)) {
    const size_t end = begin + tokens;
    options.lse = lse.slice(2, begin, end);
    if (Status s = cache->append(k.slice(1, begin, end), v.slice(1, begin, end)); !s.ok()) return s;
    Status s =
        attention(q.slice(1, begin, end), *cache, out.slice(1, begin, end), options, context);
    if (!s.ok()) return s;
    begin = end;
  }
  return {};
}

Result<Tensors> compute_attention(const Case& c, Inputs& inputs, Context& context) {
  TensorView q = inputs.f32("q", {c.batch, c.q_len, c.num_heads, c.head_dim});
  TensorView k = inputs.f32("k", {c.batch, c.kv_len, c.num_kv_heads, c.head_dim});
  const TensorView v = inputs.f32("v", {c.batch, c.kv_len, c.num_kv_heads, c.v_head_dim});
  if (!inputs.status().ok()) return inputs.status();

  Tensor rotated_q, rotated_k;
  auto roped_q = maybe_rope(c, q, c.q_len, "q_positions", inputs, rotated_q, context);
  if (!roped_q.ok()) return roped_q.status();
  auto roped_k = maybe_rope(c, k, c.kv_len, "k_positions", inputs, rotated_k, context);
  if (!roped_k.ok()) return roped_k.status();

  Tensors results;
  results["out"] = make_tensor({c.batch, c.q_len, c.num_heads, c.v_head_dim});
  results["lse"] = make_tensor({c.batch, c.num_heads, c.q_len});
  const MutableTensorView out = view(results["out"]);
  const MutableTensorView lse = view(results["lse"]);
  AttentionOptions options;
  options.scale = c.scale;
  options.causal = c.causal;
  options.lse = lse;
  Status status = c.op == "attention_decode"
                      ? decode(c, *roped_q, *roped_k, v, out, lse, context)
                      : attention(*roped_q, *roped_k, v, out, options, context);
  if (!status.ok()) return status;
  return results;
}

LinearWeights linear(Inputs& inputs, const std::string& name, size_t out, size_t in, bool bias) {
  LinearWeights weights;
  weights.weight = inputs.f32(name + ".weight", {out, in});
  if (bias) weights.bias = inputs.f32(name + ".bias", {out});
  return weights;
}

Result<MultiHeadAttention> make_layer(const Case& c, Inputs& inputs) {
  const size_t q_width = c.num_heads * c.head_dim;
  const size_t k_width = c.num_kv_heads * c.head_dim;
  const size_t v_width = c.num_kv_heads * c.v_head_dim;
  MultiHeadAttentionWeights weights;
  if (c.fused_qkv) {
    weights.qkv = linear(inputs, "qkv_proj", q_width + k_width + v_width, c.d_in, c.qkv_bias);
  } else {
    weights.q = linear(inputs, "q_proj", q_width, c.d_in, c.qkv_bias);
    weights.k = linear(inputs, "k_proj", k_width, c.d_in, c.qkv_bias);
    weights.v = linear(inputs, "v_proj", v_width, c.d_in, c.qkv_bias);
  }
  weights.out = linear(inputs, "o_proj", c.d_out, c.num_heads * c.v_head_dim, c.out_bias);
  if (!inputs.status().ok()) return inputs.status();
  return MultiHeadAttention::create({.d_in = c.d_in,
                                     .num_heads = c.num_heads,
                                     .num_kv_heads = c.num_kv_heads,
                                     .head_dim = c.head_dim,
                                     .v_head_dim = c.v_head_dim,
                                     .causal = c.causal,
                                     .scale = c.scale,
                                     .rope = c.rope},
                                    weights);
}

Result<Tensors> compute_layer(const Case& c, Inputs& inputs, Context& context) {
  auto layer = make_layer(c, inputs);
  if (!layer.ok()) return layer.status();
  const TensorView x = inputs.f32("x", {c.batch, c.q_len, c.d_in});
  const TensorView positions = c.rope ? inputs.i32("positions", {c.batch, c.q_len}) : TensorView();
  if (!inputs.status().ok()) return inputs.status();
  auto cache = layer->create_cache(c.batch, c.q_len);
  if (!cache.ok()) return cache.status();

  Tensors results;
  results["out"] = make_tensor({c.batch, c.q_len, c.d_out});
  results["context"] = make_tensor({c.batch, c.q_len, c.num_heads * c.v_head_dim});
  results["lse"] = make_tensor({c.batch, c.num_heads, c.q_len});
  size_t begin = 0;
  for (size_t tokens : steps(c)) {
    const size_t end = begin + tokens;
    ForwardOptions options;
    if (c.op == "layer_decode") options.cache = &*cache;
    if (c.rope) options.positions = positions.slice(1, begin, end);
    options.lse = view(results["lse"]).slice(2, begin, end);
    options.context = view(results["context"]).slice(1, begin, end);
    Status s = layer->forward(x.slice(1, begin, end), view(results["out"]).slice(1, begin, end),
                              options, context);
    if (!s.ok()) return s;
    begin = end;
  }
  return results;
}

}  // namespace

bool Inputs::check(const std::string& name, const std::vector<size_t>& shape) {
  used_.insert(name);
  if (!status_.ok()) return false;
  const tools::StoredTensor* stored = file_.find(name);
  if (stored == nullptr) {
    status_ = Status::Error(StatusCode::kInvalidArgument, "tensor %s is missing", name.c_str());
  } else if (!std::equal(shape.begin(), shape.end(), stored->shape.begin(), stored->shape.end())) {
    status_ =
        Status::Error(StatusCode::kInvalidArgument,
                      "tensor %s does not have the shape that the metadata implies", name.c_str());
  }
  return status_.ok();
}

TensorView Inputs::f32(const std::string& name, const std::vector<size_t>& shape) {
  if (!check(name, shape)) return {};
  auto values = file_.read_f32(name);
  if (!values.ok()) {
    status_ = values.status();
    return {};
  }
  std::vector<float>& kept = floats_[name] = std::move(*values);
  return {kept.data(), DType::kF32, shape.data(), shape.size()};
}

TensorView Inputs::i32(const std::string& name, const std::vector<size_t>& shape) {
  if (!check(name, shape)) return {};
  auto values = file_.read_i32(name);
  if (!values.ok()) {
    status_ = values.status();
    return {};
  }
  std::vector<int32_t>& kept = ints_[name] = std::move(*values);
  return {kept.data(), DType::kI32, shape.data(), shape.size()};
}

std::optional<std::string> Inputs::unused() const {
  for (const auto& [name, tensor] : file_.tensors()) {
    if (used_.count(name) == 0) return name;
  }
  return std::nullopt;
}

Result<Tensors> compute(const Case& c, Inputs& inputs, Context& context) {
  if (c.op == "rope") return compute_rope(c, inputs, context);
  if (c.is_layer()) return compute_layer(c, inputs, context);
  return compute_attention(c, inputs, context);
}

}  // namespace heed::oracle
