#include "examples/tiny-lm/model.h"

#include <algorithm>
#include <cmath>

namespace tiny_lm {
namespace {

using heed::MutableTensorView;
using heed::Result;
using heed::Status;
using heed::StatusCode;
using heed::TensorView;
using heed::WeightLayout;
using heed::tools::Safetensors;

// A weight as stored, after a check of its shape.
Result<TensorView> weight(const Safetensors& file, const std::string& name, size_t out, size_t in) {
  auto view = file.view(name);
  if (view.ok() && (view->rank != 2 || view->shape[0] != out || view->shape[1] != in)) {
    return Status::Error(StatusCode::kInvalidArgument, "%s: %s must be [%zu, %zu]",
                         file.name().c_str(), name.c_str(), out, in);
  }
  return view;
}

Result<std::vector<float>> norm_weight(const Safetensors& file, const std::string& name,
                                       size_t size) {
  auto values = file.read_f32(name);
  if (values.ok() && values->size() != size) {
    return Status::Error(StatusCode::kInvalidArgument, "%s: %s has %zu elements, not %zu",
                         file.name().c_str(), name.c_str(), values->size(), size);
  }
  return values;
}

Result<heed::PackedMatrix> pack(const Safetensors& file, const std::vector<std::string>& names,
                                size_t out, size_t in, const heed::PackOptions& storage,
                                heed::Context& context) {
  std::vector<TensorView> views;
  for (const std::string& name : names) {
    auto view = weight(file, name, out, in);
    if (!view.ok()) return view.status();
    views.push_back(*view);
  }
  return heed::PackedMatrix::pack(views.data(), views.size(), WeightLayout::kOutIn, storage,
                                  context);
}

Result<heed::MultiHeadAttention> load_attention(const Safetensors& file, const Config& c,
                                                const std::string& prefix, const Storage& storage,
                                                heed::Context& context) {
  const size_t q_width = c.num_attention_heads * c.head_dim;
  const size_t kv_width = c.num_key_value_heads * c.head_dim;
  heed::MultiHeadAttentionWeights weights;
  struct {
    heed::LinearWeights* linear;
    const char* name;
    size_t out, in;
  } const projections[] = {{&weights.q, "q_proj", q_width, c.hidden_size},
                           {&weights.k, "k_proj", kv_width, c.hidden_size},
                           {&weights.v, "v_proj", kv_width, c.hidden_size},
                           {&weights.out, "o_proj", c.hidden_size, q_width}};
  for (const auto& p : projections) {
    auto view = weight(file, prefix + p.name + ".weight", p.out, p.in);
    if (!view.ok()) return view.status();
    p.linear->weight = *view;
    p.linear->storage = storage.weights;
    p.linear->compute = storage.compute;
  }
  heed::MultiHeadAttentionConfig config;
  config.d_in = c.hidden_size;
  config.num_heads = c.num_attention_heads;
  config.num_kv_heads = c.num_key_value_heads;
  config.head_dim = c.head_dim;
  config.rope = heed::RopeOptions{.theta = c.rope_theta};
  config.k_cache_dtype = storage.keys;
  config.v_cache_dtype = storage.values;
  config.hadamard = storage.hadamard;
  config.attention_compute = storage.attention_compute;
  return heed::MultiHeadAttention::create(config, weights, context);
}

// y = x / sqrt(mean(x^2) + eps) * weight, row by row (Zhang and Sennrich, arXiv 1910.07467).
std::vector<float> rms_norm(const std::vector<float>& x, const std::vector<float>& weight,
                            float eps) {
  const size_t size = weight.size();
  std::vector<float> y(x.size());
  for (size_t row = 0; row < x.size(); row += size) {
    float sum = 0;
    for (size_t i = 0; i < size; ++i) sum += x[row + i] * x[row + i];
    const float factor = 1.0f / std::sqrt(sum / static_cast<float>(size) + eps);
    for (size_t i = 0; i < size; ++i) y[row + i] = x[row + i] * factor * weight[i];
  }
  return y;
}

void add(std::vector<float>& x, const std::vector<float>& y) {
  for (size_t i = 0; i < x.size(); ++i) x[i] += y[i];
}

}  // namespace

Result<Model::Layer> Model::load_layer(const Safetensors& file, const Config& c,
                                       const Storage& storage, size_t index,
                                       heed::Context& context) {
  const std::string prefix = "model.layers." + std::to_string(index) + ".";
  auto attention_norm = norm_weight(file, prefix + "input_layernorm.weight", c.hidden_size);
  if (!attention_norm.ok()) return attention_norm.status();
  auto mlp_norm = norm_weight(file, prefix + "post_attention_layernorm.weight", c.hidden_size);
  if (!mlp_norm.ok()) return mlp_norm.status();
  auto attention = load_attention(file, c, prefix + "self_attn.", storage, context);
  if (!attention.ok()) return attention.status();
  auto gate_up = pack(file, {prefix + "mlp.gate_proj.weight", prefix + "mlp.up_proj.weight"},
                      c.intermediate_size, c.hidden_size, storage.weights, context);
  if (!gate_up.ok()) return gate_up.status();
  auto down = pack(file, {prefix + "mlp.down_proj.weight"}, c.hidden_size, c.intermediate_size,
                   storage.weights, context);
  if (!down.ok()) return down.status();
  return Layer{std::move(*attention_norm), std::move(*mlp_norm), std::move(*attention),
               std::move(*gate_up), std::move(*down)};
}

Result<Model> Model::load(const std::string& dir, const Storage& storage, heed::Context& context) {
  auto config = read_config(dir + "/config.json");
  if (!config.ok()) return config.status();
  auto vocabulary = Vocabulary::load(dir + "/vocab.json");
  if (!vocabulary.ok()) return vocabulary.status();
  if (vocabulary->size() != config->vocab_size) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "%s: vocab.json has %zu characters, config.json says %zu", dir.c_str(),
                         vocabulary->size(), config->vocab_size);
  }
  auto file = Safetensors::load(dir + "/model.safetensors");
  if (!file.ok()) return file.status();

  Model model;
  model.config_ = *config;
  model.product_.compute = storage.compute;
  model.vocabulary_ = std::move(*vocabulary);
  for (size_t i = 0; i < config->num_hidden_layers; ++i) {
    auto layer = load_layer(*file, *config, storage, i, context);
    if (!layer.ok()) return layer.status();
    model.layers_.push_back(std::move(*layer));
  }
  const std::string embedding_name = "model.embed_tokens.weight";
  auto head = pack(*file, {embedding_name}, config->vocab_size, config->hidden_size,
                   storage.weights, context);
  if (!head.ok()) return head.status();
  auto embedding = file->read_f32(embedding_name);
  if (!embedding.ok()) return embedding.status();
  auto final_norm = norm_weight(*file, "model.norm.weight", config->hidden_size);
  if (!final_norm.ok()) return final_norm.status();
  model.head_ = std::move(*head);
  model.embedding_ = std::move(*embedding);
  model.final_norm_ = std::move(*final_norm);
  return model;
}

Result<Session> Model::start_session() const {
  Session session;
  for (const Layer& layer : layers_) {
    auto cache = layer.attention.create_cache(1, config_.max_position_embeddings);
    if (!cache.ok()) return cache.status();
    session.push_back(std::move(*cache));
  }
  return session;
}

Status Model::attend(size_t index, std::vector<float>& x, heed::KvCache& cache, Trace* trace,
                     heed::Context& context) const {
  const size_t tokens = x.size() / config_.hidden_size;
  const size_t past = cache.length();
  std::vector<float> normed = rms_norm(x, layers_[index].attention_norm, config_.rms_norm_eps);
  std::vector<float> out(x.size());
  heed::ForwardOptions options;
  options.cache = &cache;
  const bool traced = trace != nullptr && trace->layer == index;
  if (traced) {
    const size_t heads = config_.num_attention_heads;
    trace->weights.resize(heads * tokens * (past + tokens));
    options.weights = MutableTensorView(trace->weights.data(), {1, heads, tokens, past + tokens});
  }
  Status status = layers_[index].attention.forward(
      TensorView(normed.data(), {tokens, config_.hidden_size}),
      MutableTensorView(out.data(), {tokens, config_.hidden_size}), options, context);
  if (!status.ok()) return status;
  add(x, out);
  if (traced) {
    trace->in = std::move(normed);
    trace->out = std::move(out);
  }
  return {};
}

// x += down(silu(gate(n)) * up(n)) with n = rms_norm(x) (SwiGLU: Shazeer, arXiv 2002.05202).
Status Model::mlp(const Layer& layer, std::vector<float>& x, heed::Context& context) const {
  const size_t tokens = x.size() / config_.hidden_size;
  const size_t width = config_.intermediate_size;
  const std::vector<float> normed = rms_norm(x, layer.mlp_norm, config_.rms_norm_eps);
  std::vector<float> gate_up(tokens * 2 * width), hidden(tokens * width), out(x.size());
  Status status =
      heed::matmul(TensorView(normed.data(), {tokens, config_.hidden_size}), layer.gate_up,
                   MutableTensorView(gate_up.data(), {tokens, 2 * width}), product_, context);
  if (!status.ok()) return status;
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t i = 0; i < width; ++i) {
      const float gate = gate_up[t * 2 * width + i];
      const float up = gate_up[t * 2 * width + width + i];
      hidden[t * width + i] = gate / (1.0f + std::exp(-gate)) * up;
    }
  }
  status =
      heed::matmul(TensorView(hidden.data(), {tokens, width}), layer.down,
                   MutableTensorView(out.data(), {tokens, config_.hidden_size}), product_, context);
  if (status.ok()) add(x, out);
  return status;
}

Status Model::forward(const std::vector<int32_t>& tokens, Session& session,
                      std::vector<float>& logits, Trace* trace, heed::Context& context) const {
  const size_t past = session.front().length();
  if (tokens.size() > config_.max_position_embeddings - past) {
    return Status::Error(StatusCode::kCapacityExceeded,
                         "%zu tokens after %zu are more than the %zu that the model can take",
                         tokens.size(), past, config_.max_position_embeddings);
  }
  for (int32_t token : tokens) {
    if (token < 0 || static_cast<size_t>(token) >= config_.vocab_size) {
      return Status::Error(StatusCode::kInvalidArgument, "token %d is not in [0, %zu)", token,
                           config_.vocab_size);
    }
  }
  std::vector<float> x;
  x.reserve(tokens.size() * config_.hidden_size);
  for (int32_t token : tokens) {
    const auto row = embedding_.begin() + token * static_cast<ptrdiff_t>(config_.hidden_size);
    x.insert(x.end(), row, row + static_cast<ptrdiff_t>(config_.hidden_size));
  }
  for (size_t i = 0; i < layers_.size(); ++i) {
    if (Status s = attend(i, x, session[i], trace, context); !s.ok()) return s;
    if (Status s = mlp(layers_[i], x, context); !s.ok()) return s;
  }
  const std::vector<float> normed = rms_norm(x, final_norm_, config_.rms_norm_eps);
  logits.resize(tokens.size() * config_.vocab_size);
  return heed::matmul(TensorView(normed.data(), {tokens.size(), config_.hidden_size}), head_,
                      MutableTensorView(logits.data(), {tokens.size(), config_.vocab_size}),
                      product_, context);
}

size_t Model::weight_bytes() const {
  size_t bytes = head_.bytes();
  for (const Layer& layer : layers_) {
    bytes += layer.attention.bytes() + layer.gate_up.bytes() + layer.down.bytes();
  }
  return bytes;
}

double Loss::perplexity() const { return std::exp(nats); }

Result<Loss> loss_of(const Model& model, const std::vector<int32_t>& tokens,
                     heed::Context& context) {
  if (tokens.size() < 2) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "tokens: %zu are given, and the loss needs at least 2", tokens.size());
  }
  const size_t window = std::min<size_t>(256, tokens.size() - 1);
  const size_t vocab_size = model.config().vocab_size;
  auto session = model.start_session();
  if (!session.ok()) return session.status();
  Loss loss;
  std::vector<float> logits;
  for (size_t start = 0; start + window < tokens.size(); start += window) {
    for (heed::KvCache& cache : *session) {
      if (Status s = cache.truncate(0); !s.ok()) return s;
    }
    const auto begin = tokens.begin() + static_cast<ptrdiff_t>(start);
    const std::vector<int32_t> seen(begin, begin + static_cast<ptrdiff_t>(window));
    if (Status s = model.forward(seen, *session, logits, nullptr, context); !s.ok()) return s;
    for (size_t i = 0; i < window; ++i) {
      const float* row = logits.data() + i * vocab_size;
      const double max = static_cast<double>(*std::max_element(row, row + vocab_size));
      double sum = 0;
      for (size_t j = 0; j < vocab_size; ++j) sum += std::exp(static_cast<double>(row[j]) - max);
      loss.nats += max + std::log(sum) - static_cast<double>(row[tokens[start + i + 1]]);
    }
    loss.characters += window;
  }
  loss.nats /= static_cast<double>(loss.characters);
  return loss;
}

}  // namespace tiny_lm
