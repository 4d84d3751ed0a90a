// config.json and vocab.json of the model.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "examples/tiny-lm/model.h"
#include "tools/file.h"
#include "tools/text.h"
#include "tools/utf8.h"

namespace tiny_lm {
namespace {

using heed::Result;
using heed::Status;
using heed::tools::quote;
using heed::tools::refuse;
using nlohmann::json;

constexpr size_t kMaxFile = size_t{1} << 20;
constexpr size_t kMaxSize = size_t{1}
                            << 20;  // of any dimension: their products stay far from overflow

Result<json> read_json(const std::string& path) {
  auto text = heed::tools::read_text(path, kMaxFile);
  if (!text.ok()) return text.status();
  auto value = heed::tools::parse_json(*text, path);
  if (value.ok() && !value->is_object()) return refuse(path, "must be a JSON object");
  return value;
}

Status read_size(const json& object, const std::string& path, const char* key, size_t* value) {
  const auto entry = object.find(key);
  if (entry == object.end() || !entry->is_number_unsigned() || entry->get<uint64_t>() == 0 ||
      entry->get<uint64_t>() > kMaxSize) {
    return refuse(path, std::string(key) + " must be a whole number from 1 to 1048576");
  }
  *value = entry->get<size_t>();
  return {};
}

Status read_positive(const json& object, const std::string& path, const char* key, double* value) {
  const auto entry = object.find(key);
  if (entry == object.end() || !entry->is_number() || !std::isfinite(entry->get<double>()) ||
      entry->get<double>() <= 0) {
    return refuse(path, std::string(key) + " must be a number above 0");
  }
  *value = entry->get<double>();
  return {};
}

// The one value of a key that this program computes; a key that is not there asks for nothing.
Status require(const json& object, const std::string& path, const char* key, const json& wanted) {
  const auto entry = object.find(key);
  if (entry == object.end() || *entry == wanted) return {};
  return refuse(path, std::string(key) + " is " + entry->dump().substr(0, 40) +
                          ", but this program computes only " + wanted.dump());
}

// How a message shows a character: 'x', or the code of one that cannot be seen.
std::string visible(const std::string& character) {
  const auto byte = static_cast<unsigned char>(character[0]);
  if (character.size() > 1 || (byte >= 0x20 && byte < 0x7F)) return quote(character);
  char code[8];
  std::snprintf(code, sizeof code, "0x%02X", byte);
  return code;
}

}  // namespace

Result<Config> read_config(const std::string& path) {
  auto object = read_json(path);
  if (!object.ok()) return object.status();
  const std::pair<const char*, json> only[] = {
      {"model_type", "llama"},     {"hidden_act", "silu"},        {"tie_word_embeddings", true},
      {"attention_bias", false},   {"mlp_bias", false},           {"rope_scaling", nullptr},
      {"sliding_window", nullptr}, {"partial_rotary_factor", 1.0}};
  for (const auto& [key, wanted] : only) {
    if (Status s = require(*object, path, key, wanted); !s.ok()) return s;
  }
  Config c;
  double eps = 0;
  const std::pair<const char*, size_t*> sizes[] = {
      {"vocab_size", &c.vocab_size},
      {"hidden_size", &c.hidden_size},
      {"intermediate_size", &c.intermediate_size},
      {"num_hidden_layers", &c.num_hidden_layers},
      {"num_attention_heads", &c.num_attention_heads},
      {"num_key_value_heads", &c.num_key_value_heads},
      {"head_dim", &c.head_dim},
      {"max_position_embeddings", &c.max_position_embeddings}};
  for (const auto& [key, value] : sizes) {
    if (Status s = read_size(*object, path, key, value); !s.ok()) return s;
  }
  if (Status s = read_positive(*object, path, "rms_norm_eps", &eps); !s.ok()) return s;
  if (Status s = read_positive(*object, path, "rope_theta", &c.rope_theta); !s.ok()) return s;
  c.rms_norm_eps = static_cast<float>(eps);
  return c;
}

Result<Vocabulary> Vocabulary::load(const std::string& path) {
  auto object = read_json(path);
  if (!object.ok()) return object.status();
  const auto list = object->find("vocab");
  if (list == object->end() || !list->is_array() || list->empty()) {
    return refuse(path, "vocab must be a list of characters");
  }
  Vocabulary vocabulary;
  for (const json& entry : *list) {
    if (!entry.is_string() || entry.get_ref<const std::string&>().empty()) {
      return refuse(path, "vocab holds something that is not a character");
    }
    vocabulary.characters_.push_back(entry.get<std::string>());
  }
  return vocabulary;
}

Result<std::vector<int32_t>> Vocabulary::encode(const std::string& text,
                                                const std::string& source) const {
  std::vector<int32_t> tokens;
  size_t at = 0;
  for (const std::string& character : heed::tools::split_characters(text)) {
    const auto found = std::find(characters_.begin(), characters_.end(), character);
    if (found == characters_.end()) {
      return refuse(source, "the model does not know the character " + visible(character) +
                                " (byte " + std::to_string(at) + ")");
    }
    tokens.push_back(static_cast<int32_t>(found - characters_.begin()));
    at += character.size();
  }
  return tokens;
}

}  // namespace tiny_lm
