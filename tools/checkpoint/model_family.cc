#include "tools/checkpoint/model_family.h"

#include <string>

#include "tools/text.h"

namespace heed::tools {
namespace {

constexpr Family kFamilies[] = {
    {.model_type = "gpt2",
     .class_name = "GPT2",
     .style = WeightStyle::kGpt2,
     .bias = BiasRule::kAlways},
    {.model_type = "llama", .class_name = "Llama"},
    {.model_type = "mistral",
     .class_name = "Mistral",
     .bias = BiasRule::kNever,
     .window = WindowRule::kAll,
     .kv_heads_required = true,
     .sliding_window = 4096},
    {.model_type = "qwen2",
     .class_name = "Qwen2",
     .bias = BiasRule::kOnQkv,
     .window = WindowRule::kUpper,
     .kv_heads_required = true},
    {.model_type = "qwen3",
     .class_name = "Qwen3",
     .window = WindowRule::kUpper,
     .qk_norm = true,
     .kv_heads_required = true,
     .head_dim = 128},
    {.model_type = "phi3",
     .class_name = "Phi3",
     .bias = BiasRule::kNever,
     .window = WindowRule::kAll},
    {.model_type = "gemma2",
     .class_name = "Gemma2",
     .window = WindowRule::kEven,
     .gemma = true,
     .kv_heads_required = true,
     .head_dim = 256,
     .sliding_window = 4096,
     .soft_cap = 50.0},
    {.model_type = "gemma3_text",
     .class_name = "Gemma3",
     .window = WindowRule::kPattern,
     .qk_norm = true,
     .gemma = true,
     .num_heads = 8,
     .num_kv_heads = 4,
     .head_dim = 256,
     .sliding_window = 4096,
     .rope_theta = 1e6},
    {.model_type = "gpt_oss",
     .class_name = "GptOss",
     .bias = BiasRule::kUnlessConfigured,
     .window = WindowRule::kEven,
     .sinks = true,
     .kv_heads_required = true,
     .head_dim = 64,
     .sliding_window = 128,
     .rope_theta = 150000.0},
};

}  // namespace

const Family* find_family(ConfigReader* reader) {
  const std::string type = reader->text("model_type").value_or("");
  std::string names;
  for (const Family& family : kFamilies) {
    if (family.model_type == type) return &family;
    names += std::string(names.empty() ? "" : ", ") + std::string(family.model_type);
  }
  reader->refuse(type.empty()
                     ? "model_type is missing"
                     : "model_type " + quote(type) + " is not one that heed computes: " + names);
  return nullptr;
}

}  // namespace heed::tools
