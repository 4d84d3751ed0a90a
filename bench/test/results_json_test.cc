// Files of results: what is written is read again, and whatever else a file holds is refused.
#include "bench/results_json.h"

#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "bench/test/sample.h"
#include "test/support/model_files.h"

namespace heed::bench {
namespace {

using nlohmann::json;
using test::Contains;

bool Same(const Entry& a, const Entry& b) {
  return a.operation == b.operation && a.shape == b.shape && a.threads == b.threads &&
         a.library == b.library && a.seconds == b.seconds && a.limits == b.limits &&
         a.flops == b.flops && a.bytes == b.bytes && a.workspace_bytes == b.workspace_bytes &&
         a.vs_causal == b.vs_causal && a.error == b.error;
}

Result<Results> ReadBack(const std::string& text) {
  const test::Folder folder;
  test::Write(folder / "results.json", text);
  return read_results(folder / "results.json");
}

std::string ErrorOf(const std::string& text) {
  const Result<Results> read = ReadBack(text);
  return read.ok() ? "" : read.status().message();
}

// Two repetitions of one entry.
json Small() {
  Results results;
  results.cpu = "a CPU";
  results.limits = {{1, 1e11, {{"memory", 1 << 28, 2e10}}}};
  results.entries = {
      {"prefill", "len:8", 1, "heed", {1e-3, 2e-3}, {3e10, 4e10}, 1e6, 1e5, 0, 0, ""}};
  return json::parse(results_to_json(results));
}

TEST_CASE("results are read as they were written, to the last bit") {
  Results written = sample_results();
  written.entries[0].seconds = {1.0 / 3e5, std::nextafter(1.0 / 3e5, 1.0), 0.1, 1e-12, 1e9};
  written.entries[0].limits = {1, 2e11, 1e11 / 3, 1e24, 5};
  written.entries[0].vs_causal = 1.0 / 7;
  written.entries[2].error = "slow and \"wrong\" \xe2\x88\x9e";
  const Result<Results> read = ReadBack(results_to_json(written));
  REQUIRE_MESSAGE(read.ok(), read.status().message());
  REQUIRE(read->entries.size() == written.entries.size());
  for (size_t i = 0; i < written.entries.size(); ++i) {
    CHECK(Same(read->entries[i], written.entries[i]));
  }
  CHECK(read->heed == written.heed);
  CHECK(read->compiler == written.compiler);
  CHECK(read->cpu == written.cpu);
  CHECK(read->target == written.target);
  CHECK(read->family == written.family);
  CHECK(read->date == written.date);
  CHECK(read->num_cpus == written.num_cpus);
  CHECK(read->caches == written.caches);
  CHECK(read->rivals == written.rivals);
  REQUIRE(read->limits.size() == written.limits.size());
  CHECK(read->limits[1].flops == written.limits[1].flops);
  CHECK(read->limits[1].bandwidth[2].level == "L3");
  CHECK(read->limits[1].bandwidth[2].bytes == written.limits[1].bandwidth[2].bytes);
  CHECK(read->limits[1].bandwidth[2].bytes_per_second ==
        written.limits[1].bandwidth[2].bytes_per_second);
  CHECK(results_to_json(*read) == results_to_json(written));
}

TEST_CASE("files have what Google Benchmark's own tools look for") {
  const json document = Small();
  const json& second = document["benchmarks"][1];
  CHECK(second["name"] == "prefill/len:8/threads:1/heed");
  CHECK(second["run_name"] == second["name"]);
  CHECK(second["run_type"] == "iteration");
  CHECK(second["repetitions"] == 2);
  CHECK(second["repetition_index"] == 1);
  CHECK(second["real_time"] == doctest::Approx(2e6));
  CHECK(second["cpu_time"] == second["real_time"]);
  CHECK(second["time_unit"] == "ns");
  CHECK(second["GFLOP/s"] == doctest::Approx(0.5));
  CHECK(second["of_peak"] == doctest::Approx(0.005));
  CHECK(second["GB/s"] == doctest::Approx(0.05));
  CHECK(second["of_bandwidth"] == doctest::Approx(0.0025));
  CHECK(second["limit_per_second"] == 4e10);
}

TEST_CASE("best, median and shares of an entry") {
  const Results results = sample_results();
  const Entry& entry = results.entries[0];
  CHECK(best_seconds(entry) == entry.seconds[1]);
  CHECK(median_seconds(entry) == entry.seconds[2]);
  Entry even = entry;
  even.seconds = {4, 1, 2, 8};
  CHECK(median_seconds(even) == 3);
  CHECK(share_of_peak(results, entry) == doctest::Approx(0.90512));
  const Entry& row = results.entries[9];  // 1x4096x4096, limited by memory
  CHECK(share_of_memory_bandwidth(results, row) == doctest::Approx(0.95));
  Entry unknown = entry;
  unknown.threads = 3;
  CHECK(limits_of(results, 3) == nullptr);
  CHECK(share_of_peak(results, unknown) == 0);
  CHECK(share_of_memory_bandwidth(results, unknown) == 0);
  CHECK(share_of_peak(results, Entry{}) == 0);
  CHECK(best_seconds(Entry{}) == 0);
  CHECK(median_seconds(Entry{}) == 0);
}

TEST_CASE("a share is of the limit as it was in turn with the repetitions") {
  const Results results = sample_results();
  Entry entry = results.entries[0];
  CHECK(bound_of(entry) == Bound::kFlops);
  CHECK(share_of_limit(results, entry) == share_of_peak(results, entry));  // not measured in turn
  const double peak = limits_of(results, 1)->flops;
  entry.limits = {peak / 4, peak / 2, peak / 3};
  CHECK(share_of_limit(results, entry) == doctest::Approx(2 * share_of_peak(results, entry)));
  entry = results.entries[9];  // 1x4096x4096
  CHECK(bound_of(entry) == Bound::kMemory);
  entry.limits = {memory_bandwidth(*limits_of(results, 1)) / 2};
  CHECK(share_of_limit(results, entry) == doctest::Approx(1.9));
  entry = results.entries[12];
  CHECK(entry.operation == "softmax");
  CHECK(bound_of(entry) == Bound::kL2);
  CHECK(share_of_limit(results, entry) == doctest::Approx(2.5 * 25 / 120));
  CHECK(share_of_limit(results, Entry{}) == 0);
}

TEST_CASE("each wrong member is named") {
  const auto error_with = [](const std::function<void(json&)>& change) {
    json document = Small();
    change(document);
    return ErrorOf(document.dump());
  };
  const auto error_of_benchmark = [&](const char* key, const json& value) {
    return error_with([&](json& document) { document["benchmarks"][1][key] = value; });
  };
  CHECK(error_with([](json&) {}) == "");
  CHECK(Contains(error_of_benchmark("seconds", -1), "benchmarks[1].seconds must be a number"));
  CHECK(Contains(error_of_benchmark("seconds", 0), "benchmarks[1].seconds must be from 1e-12"));
  CHECK(Contains(error_of_benchmark("seconds", 1e20), "seconds must be from 1e-12 to 1e9"));
  CHECK(Contains(error_of_benchmark("seconds", nullptr), "seconds must be a number"));
  CHECK(Contains(error_of_benchmark("flops", 1e300), "flops must be a number from 0 to 1e24"));
  CHECK(Contains(error_of_benchmark("flops", "many"), "flops must be a number from 0 to 1e24"));
  CHECK(Contains(error_of_benchmark("limit_per_second", 0.5), "must be a number from 1 to 1e24"));
  CHECK(Contains(error_of_benchmark("threads", 0), "threads must be a whole number from 1"));
  CHECK(Contains(error_of_benchmark("threads", 1.5), "threads must be a whole number from 1"));
  CHECK(Contains(error_of_benchmark("threads", 1e16), "threads must be a whole number from 1"));
  CHECK(Contains(error_of_benchmark("shape", 3), "shape must be a string"));
  CHECK(Contains(error_of_benchmark("shape", std::string(1001, 'x')), "at most 1000 bytes"));
  CHECK(Contains(error_of_benchmark("error_occurred", 1), "error_occurred must be true or false"));
  CHECK(Contains(error_of_benchmark("repetition_index", 0), "each comes once"));
  CHECK(Contains(error_of_benchmark("repetition_index", 2), "each comes once"));
  CHECK(Contains(error_with([](json& d) { d["benchmarks"][0].erase("bytes"); }),
                 "benchmarks[0].bytes is missing, and must be a number"));
  CHECK(Contains(error_with([](json& d) { d.erase("benchmarks"); }), "benchmarks is missing"));
  CHECK(Contains(error_with([](json& d) { d["benchmarks"] = 1; }), "benchmarks must be an array"));
  CHECK(Contains(error_with([](json& d) { d["benchmarks"][0] = json::array(); }),
                 "benchmarks[0] must be an object"));
  CHECK(Contains(error_with([](json& d) { d["context"] = 7; }), "context must be an object"));
  CHECK(Contains(error_with([](json& d) { d["context"]["heed"].erase("cpu"); }),
                 "context.heed.cpu is missing"));
  CHECK(Contains(error_with([](json& d) { d["context"]["heed"]["limits"][0]["flops"] = "x"; }),
                 "context.heed.limits[0].flops must be a number"));
  CHECK(Contains(error_with([](json& d) {
                   json& limits = d["context"]["heed"]["limits"];
                   limits.push_back(limits[0]);
                 }),
                 "context.heed.limits[1].threads must be unlike"));
}

TEST_CASE("what is no file of results is refused") {
  const test::Folder folder;
  const auto error_of = [&](const std::string& path) {
    const Result<Results> read = read_results(path);
    REQUIRE(!read.ok());
    return std::string(read.status().message());
  };
  CHECK(Contains(error_of(folder / "absent.json"), "absent.json: cannot open: No such file"));
  CHECK(Contains(error_of(folder.path.string()), "not a regular file"));
  std::ofstream(folder / "huge.json").close();
  test::fs::resize_file(folder / "huge.json", size_t{100} << 20);
  CHECK(Contains(error_of(folder / "huge.json"), "too large"));
  const std::string good = Small().dump();
  for (const std::string& text :
       {std::string(), std::string(1000, '\0'),
        std::string("\x7f"
                    "ELF\x02\xff\xfe"),
        good.substr(0, good.size() / 2), good.substr(0, good.size() - 1), good + good,
        std::string("{\"context\": NaN}"), std::string("{\"context\": 1e999}")}) {
    CHECK(Contains(ErrorOf(text), "not valid JSON"));
  }
  CHECK(Contains(ErrorOf(std::string(100000, '[')), "nested deeper"));
  CHECK(Contains(ErrorOf("{\"a\": 1, \"a\": 2}"), "'a' twice"));
  CHECK(Contains(ErrorOf("[]"), "must hold a JSON object"));
  CHECK(Contains(ErrorOf("{}"), "context is missing"));
}

TEST_CASE("texts of a file cannot move the cursor of a terminal") {
  json document = Small();
  document["context"]["heed"]["cpu"] = "\x1b[2J\n\xc2\x9b \xc3\xbc";
  const Result<Results> read = ReadBack(document.dump());
  REQUIRE(read.ok());
  CHECK(read->cpu == "?[2J?? \xc3\xbc");
}

TEST_CASE("means that Google Benchmark adds are passed over, errors need no time") {
  json document = Small();
  document["benchmarks"].push_back({{"run_type", "aggregate"}});
  document["benchmarks"][0]["error_occurred"] = true;
  document["benchmarks"][0]["error_message"] = "";
  document["benchmarks"][0]["seconds"] = 0;
  document["benchmarks"].erase(1);
  const Result<Results> read = ReadBack(document.dump());
  REQUIRE_MESSAGE(read.ok(), read.status().message());
  REQUIRE(read->entries.size() == 1);
  CHECK(read->entries[0].error == "failed");
  CHECK(read->entries[0].seconds.empty());
}

// Whatever a few damaged bytes make of a file: it is refused with a sentence, or what is read can be
// written and read again.
TEST_CASE("damaged files are refused or read, never a crash") {
  const std::string good = Small().dump();
  const test::Folder folder;
  const std::string path = folder / "damaged.json";
  const std::string pieces[] = {"-", "1e308", "null", "[", "{", "\"", "\\u0000", "9", ",", "\xff"};
  std::mt19937 random(1);
  size_t refused = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string text = good;
    for (size_t edits = 1 + random() % 3; edits > 0; --edits) {
      const size_t at = random() % text.size();
      const std::string& piece = pieces[random() % std::size(pieces)];
      switch (random() % 3) {
        case 0:
          text[at] = static_cast<char>(random() % 256);
          break;
        case 1:
          text.erase(at, 1 + random() % 20);
          break;
        default:
          text.insert(at, piece);
      }
    }
    test::Write(path, text);
    const Result<Results> read = read_results(path);
    if (!read.ok()) {
      ++refused;
      CHECK(Contains(read.status().message(), "damaged.json: "));
      continue;
    }
    const std::string again = results_to_json(*read);
    test::Write(path, again);
    const Result<Results> reread = read_results(path);
    REQUIRE_MESSAGE(reread.ok(), reread.status().message());
    CHECK(results_to_json(*reread) == again);
  }
  CHECK(refused > 1000);
  CHECK(refused < 4000);
}

}  // namespace
}  // namespace heed::bench
