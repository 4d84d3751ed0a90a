// What the user asked for on the command line.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace heed::bench {

struct Settings {
  std::vector<size_t> threads;  // ascending; to run with
  bool all_threads = false;     // every case with every number of threads, as the user named them
  std::string target;           // instruction set; empty: the best one
  std::string filter;           // empty: what is run by default
  bool quick = false, list = false;
  std::string json, html;     // files to write; empty: none
  size_t simulate_cores = 0;  // 0: measure this machine

  const char* target_or_null() const { return target.empty() ? nullptr : target.c_str(); }
};

// Nothing when there is no more to do than to leave with *exit_code: after help, or after one
// sentence about what is wrong.
std::optional<Settings> parse_settings(int argc, char** argv, size_t num_cpus, int* exit_code);

}  // namespace heed::bench
