// The table that heed-bench prints: a line per case, with the best and the median of its
// repetitions.
#pragma once

#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "bench/machine.h"
#include "bench/settings.h"

namespace heed::bench {

// What a number is worth depends on: (name, value) pairs about the machine, the build and the
// rivals.
using Facts = std::vector<std::pair<std::string, std::string>>;
Facts describe_run(const Settings& settings, const Machine& machine);

class TableReporter : public benchmark::BenchmarkReporter {
 public:
  explicit TableReporter(Facts facts) : facts_(std::move(facts)) {}

  bool ReportContext(const Context& context) override;
  void ReportRuns(const std::vector<Run>& runs) override;

 private:
  Facts facts_;
  size_t name_width_ = 0;
};

}  // namespace heed::bench
