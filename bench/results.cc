#include "bench/results.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "tools/text.h"

namespace heed::bench {
namespace {

using Json = nlohmann::json;

constexpr Bound kBounds[] = {Bound::kFlops, Bound::kMemory};

std::string text_in(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

double number_in(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : 0;
}

// What is not JSON is an empty object: other programs' labels are plain words.
Json json_in(const Json& object, const char* key) {
  Json value = Json::parse(text_in(object, key), nullptr, false);
  return value.is_discarded() ? Json::object() : value;
}

double seconds_per(const std::string& unit) {
  return unit == "s" ? 1 : unit == "ms" ? 1e-3 : unit == "us" ? 1e-6 : 1e-9;
}

Label label_of(const Json& row) {
  const Json json = json_in(row, "label");
  if (!json.is_object()) return {};
  Label label{text_in(json, "operation"), text_in(json, "shape"), text_in(json, "library")};
  for (const Bound bound : kBounds) {
    if (text_in(json, "bound") == name_of(bound)) label.bound = bound;
  }
  return label;
}

std::vector<Limits> limits_in(const Json& context) {
  std::vector<Limits> all;
  const Json list = json_in(context, "limits");
  for (const Json& json : list) {
    Limits limits{static_cast<size_t>(number_in(json, "threads")), number_in(json, "flops"), {}};
    const Json levels = json.value("bandwidth", Json::array());
    for (const Json& level : levels) {
      limits.bandwidth.push_back(
          {text_in(level, "level"), static_cast<size_t>(number_in(level, "bytes")),
           number_in(level, "bytes_per_second"), static_cast<size_t>(number_in(level, "streams"))});
    }
    all.push_back(std::move(limits));
  }
  return all;
}

// A row with what all repetitions have in common.
Row row_of(const Json& json) {
  Row row;
  row.name = text_in(json, "run_name");
  row.label = label_of(json);
  row.threads = std::max<size_t>(1, static_cast<size_t>(number_in(json, "num_threads")));
  row.flops = number_in(json, "flops");
  row.bytes = number_in(json, "bytes");
  row.limit = number_in(json, "limit_per_second");
  row.workspace_bytes = number_in(json, "workspace_bytes");
  row.vs_causal = number_in(json, "vs_causal");
  row.vs_f32 = number_in(json, "vs_f32");
  row.bytes_vs_f32 = number_in(json, "bytes_vs_f32");
  return row;
}

double median_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

Results read(const Json& document) {
  Results results;
  const Json& context = document.at("context");
  results.heed = text_in(context, "heed");
  results.compiler = text_in(context, "compiler");
  results.cpu = text_in(context, "cpu");
  results.cpus_in_use = text_in(context, "cpus_in_use");
  results.target = text_in(context, "target");
  results.family = text_in(context, "family");
  const Json rivals = json_in(context, "rivals");
  for (const auto& [name, version] : rivals.items()) {
    if (version.is_string()) results.rivals.emplace_back(name, version.get<std::string>());
  }
  results.limits = limits_in(context);
  std::map<std::string, size_t> index;
  std::vector<std::vector<double>> seconds;  // of each row's repetitions
  for (const Json& json : document.at("benchmarks")) {
    if (label_of(json).library == "limit") continue;
    const auto [place, is_new] = index.emplace(text_in(json, "run_name"), results.rows.size());
    if (is_new) {
      results.rows.push_back(row_of(json));
      seconds.emplace_back();
    }
    Row& row = results.rows[place->second];
    const double time = number_in(json, "real_time") * seconds_per(text_in(json, "time_unit"));
    const std::string aggregate = text_in(json, "aggregate_name");
    if (json.value("error_occurred", false)) {
      row.error = text_in(json, "error_message");
    } else if (aggregate == "min") {
      row.best = time;
    } else if (aggregate == "median") {
      row.median = time;
    } else if (aggregate.empty()) {
      seconds[place->second].push_back(time);
    }
  }
  for (size_t i = 0; i < results.rows.size(); ++i) {
    Row& row = results.rows[i];
    if (row.best == 0 && !seconds[i].empty()) {
      row.best = *std::min_element(seconds[i].begin(), seconds[i].end());
    }
    if (row.median == 0 && !seconds[i].empty()) row.median = median_of(seconds[i]);
    if (row.best == 0) row.best = row.median;  // another program's aggregates
  }
  return results;
}

}  // namespace

const char* name_of(Bound bound) { return bound == Bound::kFlops ? "flops" : "memory"; }

bool is_baseline(const std::string& library) { return library == kCausal || library == kStoredF32; }

double limit_of(const Limits& limits, Bound bound) {
  if (bound == Bound::kFlops) return limits.flops;
  for (const Bandwidth& level : limits.bandwidth) {
    if (level.level == name_of(bound)) return level.bytes_per_second;
  }
  return 0;
}

std::string label_to_json(const Label& label) {
  return Json{{"operation", label.operation},
              {"shape", label.shape},
              {"library", label.library},
              {"bound", name_of(label.bound)}}
      .dump();
}

std::string limits_to_json(const std::vector<Limits>& limits) {
  Json all = Json::array();
  for (const Limits& of : limits) {
    Json bandwidth = Json::array();
    for (const Bandwidth& level : of.bandwidth) {
      bandwidth.push_back({{"level", level.level},
                           {"bytes", level.bytes},
                           {"bytes_per_second", level.bytes_per_second},
                           {"streams", level.streams}});
    }
    all.push_back({{"threads", of.threads}, {"flops", of.flops}, {"bandwidth", bandwidth}});
  }
  return all.dump();
}

Result<Results> results_from_json(const Json& document) try {
  return read(document);
} catch (const Json::exception& error) {
  return tools::refuse("results",
                       std::string("not as Google Benchmark writes them: ") + error.what());
}

Json without_repetitions(Json document) {
  std::set<std::string> aggregated;
  Json kept = Json::array();
  for (const Json& row : document["benchmarks"]) {
    if (text_in(row, "run_type") == "aggregate") aggregated.insert(text_in(row, "run_name"));
  }
  for (Json& row : document["benchmarks"]) {
    if (text_in(row, "run_type") == "aggregate" || !aggregated.contains(text_in(row, "run_name"))) {
      kept.push_back(std::move(row));
    }
  }
  document["benchmarks"] = std::move(kept);
  return document;
}

}  // namespace heed::bench
