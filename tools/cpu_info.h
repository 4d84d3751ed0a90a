// What the system says about the CPU; "unknown" where it says nothing.
#pragma once

#include <cstddef>
#include <string>

namespace heed::tools {

std::string cpu_model();
size_t cpu_count();        // logical CPUs that this process may use
std::string cpu_caches();  // "L1d 32 KiB, L2 512 KiB, L3 32 MiB" of the first CPU

}  // namespace heed::tools
