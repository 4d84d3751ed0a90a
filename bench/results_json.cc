#include "bench/results_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "bench/results_text.h"

namespace heed::bench {
namespace {

using Json = nlohmann::ordered_json;

Json ContextOf(const Results& results) {
  Json caches = Json::array(), rivals = Json::array(), limits = Json::array();
  for (const auto& [name, bytes] : results.caches)
    caches.push_back({{"name", name}, {"size", bytes}});
  for (const auto& [name, version] : results.rivals) {
    rivals.push_back({{"name", name}, {"version", version}});
  }
  for (const Limits& of : results.limits) {
    Json bandwidth = Json::array();
    for (const Bandwidth& level : of.bandwidth) {
      bandwidth.push_back({{"level", level.level},
                           {"bytes", level.bytes},
                           {"bytes_per_second", level.bytes_per_second}});
    }
    limits.push_back({{"threads", of.threads}, {"flops", of.flops}, {"bandwidth", bandwidth}});
  }
  return {{"date", results.date},
          {"executable", "heed-bench"},
          {"num_cpus", results.num_cpus},
          {"caches", caches},
          {"heed",
           {{"version", results.heed},
            {"compiler", results.compiler},
            {"cpu", results.cpu},
            {"target", results.target},
            {"family", results.family},
            {"rivals", rivals},
            {"limits", limits}}}};
}

void AddCounters(const Results& results, const Entry& entry, double seconds, Json* object) {
  Entry once = entry;
  once.seconds = {seconds};
  if (entry.flops > 0) {
    (*object)["GFLOP/s"] = entry.flops / seconds / 1e9;
    if (const double share = share_of_peak(results, once); share > 0) (*object)["of_peak"] = share;
  }
  if (entry.bytes > 0) {
    (*object)["GB/s"] = entry.bytes / seconds / 1e9;
    const double share = share_of_memory_bandwidth(results, once);
    if (share > 0) (*object)["of_bandwidth"] = share;
  }
}

// An error needs one to stand in, even where nothing was timed.
size_t RepetitionsOf(const Entry& entry) {
  return std::max<size_t>(entry.seconds.size(), entry.error.empty() ? 0 : 1);
}

Json RepetitionOf(const Results& results, const Entry& entry, size_t index) {
  const std::string name = name_of(entry);
  const double seconds = index < entry.seconds.size() ? entry.seconds[index] : 0;
  Json object = {{"name", name},
                 {"run_name", name},
                 {"run_type", "iteration"},
                 {"repetitions", RepetitionsOf(entry)},
                 {"repetition_index", index},
                 {"threads", entry.threads}};
  if (!entry.error.empty()) {
    object["error_occurred"] = true;
    object["error_message"] = entry.error;
  }
  object["iterations"] = 1;
  object["real_time"] = seconds * 1e9;
  object["cpu_time"] = seconds * 1e9;  // not measured, and Google's tools want it
  object["time_unit"] = "ns";
  if (seconds > 0) AddCounters(results, entry, seconds, &object);
  if (index < entry.limits.size()) object["limit_per_second"] = entry.limits[index];
  object["seconds"] = seconds;  // what is read again: nanoseconds would round
  object["operation"] = entry.operation;
  object["shape"] = entry.shape;
  object["library"] = entry.library;
  object["flops"] = entry.flops;
  object["bytes"] = entry.bytes;
  object["workspace_bytes"] = entry.workspace_bytes;
  object["vs_causal"] = entry.vs_causal;
  return object;
}

}  // namespace

std::string results_to_json(const Results& results) {
  Json benchmarks = Json::array();
  for (const Entry& entry : results.entries) {
    for (size_t i = 0; i < RepetitionsOf(entry); ++i)
      benchmarks.push_back(RepetitionOf(results, entry, i));
  }
  const Json document = {{"context", ContextOf(results)}, {"benchmarks", std::move(benchmarks)}};
  return document.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace heed::bench
