// heed info: this machine and this build, as far as they matter for speed and bits.
#include <array>
#include <cstdio>

#include "tools/command.h"
#include "tools/cpu_info.h"
#include "tools/onednn_layer.h"

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

void line(const char* what, const std::string& value) {
  std::printf("%-20s%s\n", what, value.c_str());
}

int info() {
  const Context context;
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
  return kDone;
}

}  // namespace

Action add_info(CLI::App* app) {
  app->add_subcommand("info", "this CPU, the instruction sets and threads heed uses on it");
  return info;
}

}  // namespace heed::tools
