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
  // Errors: kInvalidArgument, naming the first character that the model does not know.
  heed::Result<std::vector<int32_t>> encode(const std::string& text) const;

 private:
  std::vector<std::string> characters_;
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
  static heed::Result<Model> load(const std::string& dir, heed::Context& context);

  const Config& config() const { return config_; }
  const Vocabulary& vocabulary() const { return vocabulary_; }

  heed::Result<Session> start_session() const;

  // Appends tokens to the session. logits [tokens, vocab_size]: scores of what follows each.
  // The same bits come out for any number of threads and any way to cut a text into calls.
  // Errors: kCapacityExceeded beyond max_position_embeddings. `trace` may be null.
  heed::Status forward(const std::vector<int32_t>& tokens, Session& session,
                       std::vector<float>& logits, Trace* trace, heed::Context& context) const;

 private:
  struct Layer {
    std::vector<float> attention_norm, mlp_norm;
    heed::MultiHeadAttention attention;
    heed::PackedMatrix gate_up;  // one product for both
    heed::PackedMatrix down;
  };

  Model() = default;
  static heed::Result<Layer> load_layer(const heed::tools::Safetensors& file, const Config& config,
                                        size_t index, heed::Context& context);
  heed::Status attend(size_t layer, std::vector<float>& x, heed::KvCache& cache, Trace* trace,
                      heed::Context& context) const;
  heed::Status mlp(const Layer& layer, std::vector<float>& x, heed::Context& context) const;

  Config config_;
  Vocabulary vocabulary_;
  std::vector<Layer> layers_;
  std::vector<float> embedding_;  // [vocab_size, hidden_size]
  std::vector<float> final_norm_;
  heed::PackedMatrix head_;  // the embedding again, as the output projection
};

}  // namespace tiny_lm
