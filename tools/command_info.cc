// heed info: this machine and this build, as far as they matter for speed and bits.
#include <array>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "tools/command.h"
#include "tools/cpu_info.h"
#include "tools/onednn_layer.h"
#include "tools/weight_errors.h"

namespace heed::tools {
namespace {

using ListTargets = size_t (*)(const char** names, size_t max);

std::string target_list(ListTargets list) {
  std::array<const char*, 64> names = {};
  const size_t count = std::min(list(names.data(), names.size()), names.size());
  std::string text;
  for (size_t i = 0; i < count; ++i) text += (i == 0 ? "" : " ") + std::string(names[i]);
  return text;
}

void line(const std::string& what, const std::string& value) {
  std::printf("%-20s%s\n", what.c_str(), value.c_str());
}

std::string each(DType dtype, size_t bytes, size_t elements) {
  char text[32];
  std::snprintf(text, sizeof(text), "%s %.4g", name_of(dtype),
                static_cast<double>(bytes) / static_cast<double>(elements));
  return text;
}

// What an element of a packed matrix and of a cache takes, scales included.
Status storage_lines(Context& context) {
  constexpr size_t kIn = 4096, kOut = 32, kHeadDim = 128;
  const std::vector<float> zeros(kIn * kOut);
  std::map<size_t, std::string> weights;  // of each group
  for (const PackOptions& storage : kPackOptions) {
    const auto packed = PackedMatrix::pack(TensorView(zeros.data(), {kIn, kOut}),
                                           WeightLayout::kInOut, storage, context);
    if (!packed.ok()) return packed.status();
    std::string& text = weights[storage.group];
    text += (text.empty() ? "" : ", ") + each(storage.dtype, packed->bytes(), kIn * kOut);
  }
  for (const auto& [group, text] : weights) {
    line(group == 0 ? "bytes of a weight" : "  groups of " + std::to_string(group), text);
  }
  std::string keys;
  for (const DType dtype : kStorageTypes) {
    const auto cache = KvCache::create({.num_kv_heads = 1,
                                        .head_dim = kHeadDim,
                                        .capacity = kKeyBlock,
                                        .k_dtype = dtype,
                                        .v_dtype = dtype});
    if (!cache.ok()) return cache.status();
    keys += (keys.empty() ? "" : ", ") + each(dtype, cache->bytes(), 2 * kKeyBlock * kHeadDim);
  }
  line("  key or value", keys + " (head_dim " + std::to_string(kHeadDim) + ")");
  return Status();
}

int info() {
  Context context;
  if (!context.status().ok()) return refused(context.status());
  line("heed", version());
  line("numerics version", std::to_string(kNumericsVersion));
  line("family", name_of(family(context.target())));
  line("CPU", cpu_model());
  line("CPUs", std::to_string(cpu_count()));
  line("caches", cpu_caches());
  line("targets compiled", target_list(compiled_targets));
  line("targets supported", target_list(supported_targets));
  line("target chosen", context.target());
  line("threads", std::to_string(context.num_threads()));
  line("oneDNN", onednn_available() ? "yes" : "no");
  if (const Status s = storage_lines(context); !s.ok()) return refused(s);
  return kDone;
}

}  // namespace

Action add_info(CLI::App* app) {
  app->add_subcommand("info", "this CPU, the instruction sets and threads heed uses on it");
  return info;
}

}  // namespace heed::tools
