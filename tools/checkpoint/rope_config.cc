#include "tools/checkpoint/rope_config.h"

#include <algorithm>
#include <optional>
#include <string>

#include "tools/text.h"

namespace heed::tools {
namespace {

using nlohmann::json;

struct RopeSettings {
  double theta = 10000.0;
  double fraction = 1.0;  // of head_dim that rotates
  RopeScaling scaling;
};

constexpr struct {
  const char* name;
  RopeScalingType type;
} kTypes[] = {{"default", RopeScalingType::kNone},
              {"linear", RopeScalingType::kLinear},
              {"llama3", RopeScalingType::kLlama3},
              {"yarn", RopeScalingType::kYarn}};

// What each type reads; other settings are refused. rope_theta and partial_rotary_factor go with
// all of them.
constexpr struct {
  const char* name;
  RopeScalingType type;
} kSettings[] = {
    {"factor", RopeScalingType::kLinear},
    {"factor", RopeScalingType::kLlama3},
    {"low_freq_factor", RopeScalingType::kLlama3},
    {"high_freq_factor", RopeScalingType::kLlama3},
    {"original_max_position_embeddings", RopeScalingType::kLlama3},
    {"factor", RopeScalingType::kYarn},
    {"original_max_position_embeddings", RopeScalingType::kYarn},
    {"beta_fast", RopeScalingType::kYarn},
    {"beta_slow", RopeScalingType::kYarn},
    {"attention_factor", RopeScalingType::kYarn},
    {"mscale", RopeScalingType::kYarn},
    {"mscale_all_dim", RopeScalingType::kYarn},
    {"truncate", RopeScalingType::kYarn},
};

RopeScalingType read_type(const json& settings, ConfigReader* reader) {
  RopeScalingType type = RopeScalingType::kNone;
  for (const char* key : {"type", "rope_type"}) {  // the second is the newer name, and counts
    const std::optional<std::string> name = reader->text(key);
    if (!name.has_value()) continue;
    const auto row = std::find_if(std::begin(kTypes), std::end(kTypes),
                                  [&](const auto& t) { return *name == t.name; });
    if (row == std::end(kTypes)) {
      reader->refuse("asks for " + quote(key) + " " + value_text(settings[key]) +
                     ", and heed computes default, linear, llama3 and yarn");
    } else {
      type = row->type;
    }
  }
  return type;
}

void refuse_others(const json& settings, RopeScalingType type, ConfigReader* reader) {
  for (const auto& [name, value] : settings.items()) {
    const auto reads = [&key = name, type](const auto& s) {
      return s.type == type && key == s.name;
    };
    if (value.is_null() || name == "type" || name == "rope_type" || name == "rope_theta" ||
        name == "partial_rotary_factor" ||
        std::any_of(std::begin(kSettings), std::end(kSettings), reads)) {
      continue;
    }
    reader->refuse("asks for " + quote(name) + " " + value_text(value) +
                   ", which this type of RoPE does not have");
  }
}

void read_scaling(ConfigReader* top, ConfigReader* reader, RopeScaling* scaling) {
  if (scaling->type == RopeScalingType::kNone) return;
  const auto required = [&](const char* name) {
    const std::optional<double> value = reader->number(name);
    if (!value.has_value()) reader->refuse(std::string(name) + " is missing");
    return value.value_or(1.0);
  };
  scaling->factor = required("factor");  // also where max_position_embeddings implies another one
  if (scaling->type == RopeScalingType::kLinear) return;
  const bool llama3 = scaling->type == RopeScalingType::kLlama3;
  // Beside the settings of RoPE it counts for them, as in transformers 5.
  const char* key = "original_max_position_embeddings";
  std::optional<size_t> length = reader->size(key);
  if (const std::optional<size_t> beside = top->size(key)) {
    if (length.has_value() && *length != *beside) {
      reader->refuse(std::string(key) + " has two values");
    }
    length = beside;
  }
  if (!length.has_value() && !llama3) length = top->size("max_position_embeddings");
  if (!length.has_value()) reader->refuse("original_max_position_embeddings is missing");
  scaling->original_max_position_embeddings = length.value_or(1);
  if (llama3) {
    scaling->low_freq_factor = required("low_freq_factor");
    scaling->high_freq_factor = required("high_freq_factor");
    return;
  }
  scaling->beta_fast = reader->number("beta_fast").value_or(32.0);
  scaling->beta_slow = reader->number("beta_slow").value_or(1.0);
  scaling->truncate = reader->flag("truncate", true);
  scaling->attention_factor = reader->number("attention_factor");
  scaling->mscale = reader->number("mscale").value_or(0.0);
  scaling->mscale_all_dim = reader->number("mscale_all_dim").value_or(0.0);
}

// One of rope_scaling and rope_parameters, or a part of the latter. `theta_key`: what rope_theta
// is called at the top.
void read_settings(const json& settings, const std::string& name, const char* theta_key,
                   ConfigReader* top, RopeSettings* rope) {
  if (!settings.is_object()) {
    return top->refuse(name + " is " + value_text(settings) + ", and must be an object");
  }
  ConfigReader reader(settings, name);
  if (rope->scaling.type != RopeScalingType::kNone) reader.refuse("RoPE is scaled twice");
  rope->scaling.type = read_type(settings, &reader);
  refuse_others(settings, rope->scaling.type, &reader);
  const auto take = [&](const char* key, const char* top_key, double* into) {
    const std::optional<double> value = reader.number(key);
    if (!value.has_value()) return;
    if (top->find(top_key) != nullptr && *value != *into) {
      reader.refuse(std::string(key) + " has two values");
    }
    *into = *value;
  };
  take("rope_theta", theta_key, &rope->theta);
  take("partial_rotary_factor", "partial_rotary_factor", &rope->fraction);
  read_scaling(top, &reader, &rope->scaling);
  if (!reader.ok()) top->refuse(reader.status().message());
}

// Gemma 3's rope_parameters: an object for each kind of layer. What it leaves out is as
// transformers 5 fills it in: the old settings, or defaults; rope_scaling replaces what it names
// for the layers without a window.
void read_parts(const json& parameters, bool slides, const char* theta_key, ConfigReader* reader,
                RopeSettings* rope) {
  const std::string name = "rope_parameters";
  if (!parameters.is_object()) {
    return reader->refuse(name + " is " + value_text(parameters) + ", and must be an object");
  }
  for (const auto& [key, value] : parameters.items()) {
    if (key == "full_attention" || key == "sliding_attention" || value.is_null()) continue;
    reader->refuse(name + " has " + quote(key) +
                   ", and must have full_attention and sliding_attention alone");
  }
  const char* kind = slides ? "sliding_attention" : "full_attention";
  json part = parameters.value(kind, json());
  if (part.is_null()) part = json::object();
  const json* scaling = slides ? nullptr : reader->find("rope_scaling");
  if (scaling != nullptr) {
    if (!scaling->is_object()) {
      return reader->refuse("rope_scaling is " + value_text(*scaling) + ", and must be an object");
    }
    if (part.is_object()) part.update(*scaling);
  }
  read_settings(part, name + "." + kind, theta_key, reader, rope);
}

// Gemma 3: layers with a window have their own frequencies, which rope_scaling does not scale.
void read_gemma3(bool slides, ConfigReader* reader, RopeSettings* rope) {
  const char* theta_key = slides ? "rope_local_base_freq" : "rope_theta";
  if (slides) rope->theta = reader->number(theta_key).value_or(10000.0);
  if (const json* parameters = reader->find("rope_parameters")) {
    return read_parts(*parameters, slides, theta_key, reader, rope);
  }
  const json* scaling = slides ? nullptr : reader->find("rope_scaling");
  if (scaling != nullptr) read_settings(*scaling, "rope_scaling", theta_key, reader, rope);
}

}  // namespace

RopeOptions read_rope(const Family& family, size_t head_dim, bool slides, ConfigReader* reader) {
  RopeSettings settings;
  settings.theta = reader->number("rope_theta").value_or(family.rope_theta);
  settings.fraction = reader->number("partial_rotary_factor").value_or(1.0);
  if (family.window == WindowRule::kPattern) {
    read_gemma3(slides, reader, &settings);
  } else {
    for (const char* key : {"rope_scaling", "rope_parameters"}) {
      if (const json* value = reader->find(key))
        read_settings(*value, key, "rope_theta", reader, &settings);
    }
  }
  if (settings.fraction > 1) reader->refuse("partial_rotary_factor is above 1");
  RopeOptions rope;
  rope.theta = settings.theta;
  rope.scaling = settings.scaling;
  // Truncated as the families' own code does.
  rope.rope_dim =
      static_cast<size_t>(static_cast<double>(head_dim) * std::min(settings.fraction, 1.0));
  if (rope.rope_dim == 0 || rope.rope_dim % 2 != 0) {
    reader->refuse("RoPE would rotate " + std::to_string(rope.rope_dim) + " channels of head_dim " +
                   std::to_string(head_dim) + ", and the number must be even and > 0");
  }
  return rope;
}

}  // namespace heed::tools
