#include "tools/cpu_info.h"

#include <fstream>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace heed::tools {
namespace {

std::string size_text(unsigned long long bytes) {
  constexpr unsigned long long kMiB = 1 << 20;
  return bytes >= kMiB && bytes % kMiB == 0 ? std::to_string(bytes / kMiB) + " MiB"
                                            : std::to_string(bytes / 1024) + " KiB";
}

#if defined(__APPLE__)
std::string sysctl_text(const char* name) {
  char text[256] = {};
  size_t size = sizeof(text) - 1;
  return sysctlbyname(name, text, &size, nullptr, 0) == 0 ? text : "unknown";
}
#else
// The first line of a file; empty when there is none.
std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// The value of the first "key : value" line with one of the keys in order of preference.
std::string cpuinfo_value() {
  for (const char* wanted : {"model name", "Model", "cpu model", "uarch", "machine", "Processor"}) {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);) {
      const size_t colon = line.find(':');
      if (colon == std::string::npos) continue;
      const std::string key = line.substr(0, line.find_last_not_of(" \t", colon - 1) + 1);
      const size_t value = line.find_first_not_of(" \t", colon + 1);
      if (colon > 0 && key == wanted && value != std::string::npos) return line.substr(value);
    }
  }
  return "unknown";
}
#endif

}  // namespace

std::string cpu_model() {
#if defined(__APPLE__)
  return sysctl_text("machdep.cpu.brand_string");
#else
  return cpuinfo_value();
#endif
}

size_t cpu_count() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return static_cast<size_t>(CPU_COUNT(&set));
#endif
  return std::thread::hardware_concurrency();
}

std::string cpu_caches() {
  std::string text;
  const auto add = [&text](const std::string& name, unsigned long long bytes) {
    if (bytes != 0) text += (text.empty() ? "" : ", ") + name + " " + size_text(bytes);
  };
#if defined(__APPLE__)
  for (const auto& [label, name] :
       {std::pair{"L1d", "hw.l1dcachesize"}, std::pair{"L2", "hw.l2cachesize"},
        std::pair{"L3", "hw.l3cachesize"}}) {
    unsigned long long bytes = 0;
    size_t size = sizeof(bytes);
    if (sysctlbyname(name, &bytes, &size, nullptr, 0) == 0) add(label, bytes);
  }
#else
  for (int index = 0; index < 8; ++index) {
    const std::string cache =
        "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
    const std::string level = first_line(cache + "level");
    const std::string type = first_line(cache + "type");
    const std::string size = first_line(cache + "size");  // "512K"
    if (level.empty() || size.empty() || type == "Instruction") continue;
    unsigned long long amount = 0;
    for (const char c : size) {
      if (c >= '0' && c <= '9') amount = amount * 10 + static_cast<unsigned long long>(c - '0');
    }
    const unsigned long long unit = size.back() == 'M' ? 1 << 20 : size.back() == 'K' ? 1 << 10 : 1;
    add("L" + level + (level == "1" ? "d" : ""), amount * unit);
  }
#endif
  return text.empty() ? "unknown" : text;
}

}  // namespace heed::tools
