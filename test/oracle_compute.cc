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
  return c.chunks.empty() ? std::vector<size_t>{c.shape.q_len} : c.chunks;
}

// x [batch, len, heads, head_dim], rotated into `rotated` where the case wants RoPE.
Result<TensorView> maybe_rope(const Case& c, const TensorView& x, size_t len,
                              const std::string& positions_name, Inputs& inputs, Tensor& rotated,
                              Context& context) {
  if (!c.rope) return x;
  const TensorView positions = inputs.i32(positions_name, {c.shape.batch, len});
  if (!inputs.status().ok()) return inputs.status();
  rotated = make_tensor({x.shape, x.shape + x.rank});
  if (Status s = rope(x, positions, view(rotated), *c.rope, context); !s.ok()) return s;
  return TensorView(view(rotated));
}

Result<Tensors> compute_rope(const Case& c, Inputs& inputs, Context& context) {
  const TensorView x =
      inputs.operand("x", {c.shape.batch, c.shape.q_len, c.shape.num_heads, c.shape.head_dim});
  Tensors results;
  auto rotated = maybe_rope(c, x, c.shape.q_len, "positions", inputs, results["out"], context);
  if (!rotated.ok()) return rotated.status();
  return results;
}

// All options that the case asks for but the packed layout's.
AttentionOptions read_options(const Case& c, Inputs& inputs) {
  AttentionOptions options;
  options.scale = c.scale;
  options.causal = c.causal;
  options.window = c.window;
  options.logits_soft_cap = c.soft_cap;
  if (c.alibi) options.alibi_slopes = inputs.f32("alibi_slopes", {c.shape.num_heads});
  if (c.sinks) options.sinks = inputs.f32("sink", {c.shape.num_heads});
  if (c.key_mask) options.key_mask = inputs.u8("key_mask", {c.shape.batch, c.shape.kv_len});
  if (c.mask == test::MaskType::kAdditive) {
    const size_t heads = c.mask_heads ? c.shape.num_heads : 1;
    options.mask = inputs.f32("bias", {heads, c.shape.q_len, c.shape.kv_len});
  }
  return options;
}

// Runs call(options, out) into `results`, and once more without the sinks for their lse.
template <class Call>
Status with_results(const Case& c, const std::vector<size_t>& out, const std::vector<size_t>& lse,
                    AttentionOptions options, Tensors& results, const Call& call) {
  if (c.sinks) {
    results["lse_nosink"] = make_tensor(lse);
    Tensor unused = make_tensor(out);
    AttentionOptions without = options;
    without.sinks = {};
    without.lse = view(results["lse_nosink"]);
    if (Status s = call(without, view(unused)); !s.ok()) return s;
  }
  results["out"] = make_tensor(out);
  results["lse"] = make_tensor(lse);
  options.lse = view(results["lse"]);
  return call(options, view(results["out"]));
}

Status decode(const Case& c, const TensorView& q, const TensorView& k, const TensorView& v,
              const AttentionOptions& asked, const MutableTensorView& out, Context& context) {
  auto cache = KvCache::create({.batch = c.shape.batch,
                                .num_kv_heads = c.shape.num_kv_heads,
                                .head_dim = c.shape.head_dim,
                                .v_head_dim = c.shape.v_head_dim,
                                .capacity = c.shape.kv_len});
  if (!cache.ok()) return cache.status();
  size_t begin = 0;
  for (size_t tokens : steps(c)) {
    const size_t end = begin + tokens;
    AttentionOptions options = asked;
    options.lse = asked.lse.slice(2, begin, end);
    if (Status s = cache->append(k.slice(1, begin, end), v.slice(1, begin, end), context); !s.ok())
      return s;
    Status s =
        attention(q.slice(1, begin, end), *cache, out.slice(1, begin, end), options, context);
    if (!s.ok()) return s;
    begin = end;
  }
  return {};
}

Result<Tensors> compute_attention(const Case& c, Inputs& inputs, Context& context) {
  const TensorView q =
      inputs.operand("q", {c.shape.batch, c.shape.q_len, c.shape.num_heads, c.shape.head_dim});
  const TensorView k =
      inputs.operand("k", {c.shape.batch, c.shape.kv_len, c.shape.num_kv_heads, c.shape.head_dim});
  const TensorView v = inputs.operand(
      "v", {c.shape.batch, c.shape.kv_len, c.shape.num_kv_heads, c.shape.v_head_dim});
  const AttentionOptions options = read_options(c, inputs);
  if (!inputs.status().ok()) return inputs.status();

  Tensor rotated_q, rotated_k;
  auto roped_q = maybe_rope(c, q, c.shape.q_len, "q_positions", inputs, rotated_q, context);
  if (!roped_q.ok()) return roped_q.status();
  auto roped_k = maybe_rope(c, k, c.shape.kv_len, "k_positions", inputs, rotated_k, context);
  if (!roped_k.ok()) return roped_k.status();

  Tensors results;
  const Status status = with_results(
      c, {c.shape.batch, c.shape.q_len, c.shape.num_heads, c.shape.v_head_dim},
      {c.shape.batch, c.shape.num_heads, c.shape.q_len}, options, results,
      [&](const AttentionOptions& o, const MutableTensorView& out) {
        return c.op == "attention_decode" ? decode(c, *roped_q, *roped_k, v, o, out, context)
                                          : attention(*roped_q, *roped_k, v, out, o, context);
      });
  if (!status.ok()) return status;
  return results;
}

Result<Tensors> compute_varlen(const Case& c, Inputs& inputs, Context& context) {
  const size_t total_q = inputs.size("q", 0), total_k = inputs.size("k", 0);
  const TensorView q = inputs.operand("q", {total_q, c.shape.num_heads, c.shape.head_dim});
  const TensorView k = inputs.operand("k", {total_k, c.shape.num_kv_heads, c.shape.head_dim});
  const TensorView v = inputs.operand("v", {total_k, c.shape.num_kv_heads, c.shape.v_head_dim});
  AttentionOptions options = read_options(c, inputs);
  options.cu_seqlens_q = inputs.i32("cu_seqlens_q", {c.shape.batch + 1});
  options.cu_seqlens_k = inputs.i32("cu_seqlens_k", {c.shape.batch + 1});
  if (!inputs.status().ok()) return inputs.status();
  Tensors results;
  const Status status = with_results(c, {total_q, c.shape.num_heads, c.shape.v_head_dim},
                                     {c.shape.num_heads, total_q}, options, results,
                                     [&](const AttentionOptions& o, const MutableTensorView& out) {
                                       return attention(q, k, v, out, o, context);
                                     });
  if (!status.ok()) return status;
  return results;
}

Result<Tensors> compute_paged(const Case& c, Inputs& inputs, Context& context) {
  const size_t blocks = inputs.size("k_cache", 0), max_blocks = inputs.size("block_table", 1);
  const PagedKv kv = {
      inputs.operand("k_cache", {blocks, c.block_size, c.shape.num_kv_heads, c.shape.head_dim}),
      inputs.operand("v_cache", {blocks, c.block_size, c.shape.num_kv_heads, c.shape.v_head_dim}),
      inputs.i32("block_table", {c.shape.batch, max_blocks}),
      inputs.i32("seq_lens", {c.shape.batch})};
  AttentionOptions options = read_options(c, inputs);
  std::vector<size_t> q_shape = {c.shape.batch, c.shape.q_len, c.shape.num_heads, c.shape.head_dim};
  std::vector<size_t> lse_shape = {c.shape.batch, c.shape.num_heads, c.shape.q_len};
  if (inputs.has("cu_seqlens_q")) {
    options.cu_seqlens_q = inputs.i32("cu_seqlens_q", {c.shape.batch + 1});
    q_shape = {inputs.size("q", 0), c.shape.num_heads, c.shape.head_dim};
    lse_shape = {c.shape.num_heads, q_shape[0]};
  }
  const TensorView q = inputs.operand("q", q_shape);
  if (!inputs.status().ok()) return inputs.status();
  std::vector<size_t> out_shape = q_shape;
  out_shape.back() = c.shape.v_head_dim;
  Tensors results;
  const Status status = with_results(c, out_shape, lse_shape, options, results,
                                     [&](const AttentionOptions& o, const MutableTensorView& out) {
                                       return attention(q, kv, out, o, context);
                                     });
  if (!status.ok()) return status;
  return results;
}

LinearWeights linear(Inputs& inputs, const std::string& name, size_t out, size_t in, bool bias) {
  LinearWeights weights;
  weights.weight = inputs.operand(name + ".weight", {out, in});
  if (bias) weights.bias = inputs.operand(name + ".bias", {out});
  return weights;
}

Result<MultiHeadAttention> make_layer(const Case& c, Inputs& inputs, Context& context) {
  const size_t q_width = c.shape.num_heads * c.shape.head_dim;
  const size_t k_width = c.shape.num_kv_heads * c.shape.head_dim;
  const size_t v_width = c.shape.num_kv_heads * c.shape.v_head_dim;
  MultiHeadAttentionWeights weights;
  if (c.fused_qkv) {
    weights.qkv = linear(inputs, "qkv_proj", q_width + k_width + v_width, c.d_in, c.qkv_bias);
  } else {
    weights.q = linear(inputs, "q_proj", q_width, c.d_in, c.qkv_bias);
    weights.k = linear(inputs, "k_proj", k_width, c.d_in, c.qkv_bias);
    weights.v = linear(inputs, "v_proj", v_width, c.d_in, c.qkv_bias);
  }
  weights.out =
      linear(inputs, "o_proj", c.d_out, c.shape.num_heads * c.shape.v_head_dim, c.out_bias);
  if (!inputs.status().ok()) return inputs.status();
  return MultiHeadAttention::create({.d_in = c.d_in,
                                     .num_heads = c.shape.num_heads,
                                     .num_kv_heads = c.shape.num_kv_heads,
                                     .head_dim = c.shape.head_dim,
                                     .v_head_dim = c.shape.v_head_dim,
                                     .causal = c.causal,
                                     .scale = c.scale,
                                     .rope = c.rope,
                                     .window = c.window,
                                     .logits_soft_cap = c.soft_cap},
                                    weights, context);
}

Result<Tensors> compute_layer(const Case& c, Inputs& inputs, Context& context) {
  auto layer = make_layer(c, inputs, context);
  if (!layer.ok()) return layer.status();
  const TensorView x = inputs.operand("x", {c.shape.batch, c.shape.q_len, c.d_in});
  const TensorView positions =
      c.rope ? inputs.i32("positions", {c.shape.batch, c.shape.q_len}) : TensorView();
  if (!inputs.status().ok()) return inputs.status();
  auto cache = layer->create_cache(c.shape.batch, c.shape.q_len);
  if (!cache.ok()) return cache.status();

  Tensors results;
  results["out"] = make_tensor({c.shape.batch, c.shape.q_len, c.d_out});
  results["context"] =
      make_tensor({c.shape.batch, c.shape.q_len, c.shape.num_heads * c.shape.v_head_dim});
  results["lse"] = make_tensor({c.shape.batch, c.shape.num_heads, c.shape.q_len});
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

Result<Tensors> compute(const Case& c, Inputs& inputs, Context& context) {
  inputs.input_dtype = c.input_dtype;
  if (c.op == "rope") return compute_rope(c, inputs, context);
  if (c.is_layer()) return compute_layer(c, inputs, context);
  if (c.op == "attention_varlen") return compute_varlen(c, inputs, context);
  if (c.op == "attention_paged") return compute_paged(c, inputs, context);
  return compute_attention(c, inputs, context);
}

}  // namespace heed::oracle
