// What the user asked for on the command line.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace heed::bench {

// Where results go, beside the table: Google Benchmark's own flags of these names.
struct Output {
  std::string format = "console";  // of standard output: "console" is the table, "json", "csv"
  std::string file;                // empty: none
  std::string file_format = "json";
  std::string html;  // empty: none
};

struct Settings {
  std::vector<size_t> threads;  // ascending; to run with
  bool all_threads = false;     // every case with every number of threads, as the user named them
  std::string target;           // instruction set; empty: the best one
  bool quick = false;
  bool repetitions_given = false;  // else they are chosen by how long a case takes
  Output output;
  size_t simulate_cores = 0;  // 0: measure this machine

  const char* target_or_null() const { return target.empty() ? nullptr : target.c_str(); }
};

// Reads heed's flags, and has Google Benchmark read its own. Nothing when there is no more to do
// than to leave with *exit_code: after help, or after one sentence about what is wrong.
std::optional<Settings> parse_settings(int argc, char** argv, size_t num_cpus, int* exit_code);

// "" when a file can be written at `path`, else why not; the file itself is not touched.
std::string check_writable(const std::string& path);

}  // namespace heed::bench
