// A small Llama-style language model on top of heed: RMSNorm, rotary grouped-query attention,
// SwiGLU, tied embeddings; tokens are characters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "heed/heed.hpp"
#include "tools/checkpoint/safetensors.h"

namespace tiny_lm {

// What config.json says, under its names there.
struct Config {
  size_t vocab_size = 0;
  size_t hidden_size = 0;
  size_t intermediate_size = 0;
  size_t num_hidden_layers = 0;
  size_t num_attention_heads = 0;
  size_t num_key_value_heads = 0;
  size_t head_dim = 0;
  size_t max_position_embeddings = 0;
  float rms_norm_eps = 0;
  double rope_theta = 0;
};

// Reads a configuration; what it asks and this program does not compute is refused.
heed::Result<Config> read_config(const std::string& path);

// The characters that the model knows; a token is an index into them.
class Vocabulary {
 public:
  static heed::Result<Vocabulary> load(const std::string& path);
  size_t size() const { return characters_.size(); }
  const std::string& character(int32_t token) const {
    return characters_[static_cast<size_t>(token)];
  }
  // Errors: kInvalidArgument, naming the first character that the model does not know; `source` says
  // where the text is from.
  heed::Result<std::vector<int32_t>> encode(const std::string& text,
                                            const std::string& source = "prompt") const;

 private:
  std::vector<std::string> characters_;
};

// How a model is kept in memory, and computed.
struct Storage {
  heed::PackOptions weights = {};  // of every product
  heed::DType keys = heed::DType::kF32;
  heed::DType values = heed::DType::kF32;
  bool hadamard = false;                        // rotates queries and keys
  heed::Compute compute = heed::Compute::kF32;  // of every product
  heed::Compute attention_compute = heed::Compute::kF32;
};

// What happened in one attention layer during a call.
struct Trace {
  size_t layer = 0;
  std::vector<float> in;       // [tokens, hidden_size], normalised
  std::vector<float> out;      // [tokens, hidden_size], before it is added to the residual
  std::vector<float> weights;  // [num_attention_heads, tokens, past + tokens]
};

// The past of one text: a cache for each layer.
using Session = std::vector<heed::KvCache>;

class Model {
 public:
  // `dir` holds model.safetensors, config.json and vocab.json.
  static heed::Result<Model> load(const std::string& dir, const Storage& storage,
                                  heed::Context& context);

  const Config& config() const { return config_; }
  const Vocabulary& vocabulary() const { return vocabulary_; }

  heed::Result<Session> start_session() const;

  // Appends tokens to the session. logits [tokens, vocab_size]: scores of what follows each.
  // The same bits come out for any number of threads and any way to cut a text into calls.
  // Errors: kCapacityExceeded beyond max_position_embeddings. `trace` may be null.
  heed::Status forward(const std::vector<int32_t>& tokens, Session& session,
                       std::vector<float>& logits, Trace* trace, heed::Context& context) const;

  size_t weight_bytes() const;  // of all layers and the head

 private:
  struct Layer {
    std::vector<float> attention_norm, mlp_norm;
    heed::MultiHeadAttention attention;
    heed::PackedMatrix gate_up;  // one product for both
    heed::PackedMatrix down;
  };

  Model() = default;
  static heed::Result<Layer> load_layer(const heed::tools::Safetensors& file, const Config& config,
                                        const Storage& storage, size_t index,
                                        heed::Context& context);
  heed::Status attend(size_t layer, std::vector<float>& x, heed::KvCache& cache, Trace* trace,
                      heed::Context& context) const;
  heed::Status mlp(const Layer& layer, std::vector<float>& x, heed::Context& context) const;

  Config config_;
  Vocabulary vocabulary_;
  std::vector<Layer> layers_;
  std::vector<float> embedding_;  // [vocab_size, hidden_size]
  std::vector<float> final_norm_;
  heed::MatmulOptions product_;
  heed::PackedMatrix head_;  // the embedding again, as the output projection
};

// How well a model predicts a text: the mean of -log(probability) of its characters, in nats, from
// windows of 257 characters, one every 256. Each begins without a past and predicts its last 256.
// What is left behind the last window does not count; a shorter text is one window.
struct Loss {
  double nats = 0;
  size_t characters = 0;  // predicted
  double perplexity() const;
};
// Errors: kInvalidArgument (fewer than 2 tokens), those of forward().
heed::Result<Loss> loss_of(const Model& model, const std::vector<int32_t>& tokens,
                           heed::Context& context);

}  // namespace tiny_lm
