// What the user asked for on the command line.
#pragma once

#include <string>
#include <vector>

#include "heed/status.hpp"

namespace heed::bench {

struct Settings {
  std::vector<size_t> threads;  // to run everything with, in this order
  std::string target;           // instruction set; empty: the best one
  bool own_report = true;       // the table of this program, not one of Google Benchmark's formats
  bool list_only = false;       // name the benchmarks, run none

  const char* target_or_null() const { return target.empty() ? nullptr : target.c_str(); }
};

// Takes the flags of Google Benchmark out of argv (this may print help and exit), then reads the
// others.
Result<Settings> parse_settings(int argc, char** argv, size_t num_cpus);

}  // namespace heed::bench
