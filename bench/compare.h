// Results of several files side by side: CPUs, versions, targets.
#pragma once

#include <string>
#include <vector>

#include "bench/results.h"

namespace heed::bench {

// heed-bench compare A.json B.json ... [--html FILE] [--filter REGEX]. argv[0] is "compare". Prints
// a table; the exit code is 0, or 2 after one sentence on standard error. May throw bad_alloc only.
int compare_main(int argc, char** argv);

// What one problem took in each file; null where it is missing.
struct Comparison {
  std::vector<std::string> names;  // of the files: what tells them apart, the CPU if it does
  std::vector<Results> files;
  struct Row {
    std::string name;  // "prefill/len:8/threads:1/heed"
    std::vector<const Entry*> entries;
  };
  std::vector<Row> rows;  // point into `files`
};

// `paths` name the files, for when nothing in them differs.
Comparison compare(std::vector<Results> files, const std::vector<std::string>& paths);

std::string comparison_text(const Comparison& comparison);
std::string comparison_html(const Comparison& comparison);

}  // namespace heed::bench
