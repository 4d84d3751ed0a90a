#include "bench/compare.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "bench/table.h"

namespace heed::bench {
namespace {

using Json = nlohmann::json;

Json row_json(const std::string& name, double nanoseconds) {
  return {{"name", name},
          {"run_name", name},
          {"run_type", "iteration"},
          {"real_time", nanoseconds},
          {"time_unit", "ns"},
          {"label", label_to_json({"decode", "len:8", "heed", Bound::kMemory})},
          {"num_threads", 2},
          {"bytes", 1000},
          {"limit_per_second", 2e9}};
}

Json document_of(const std::vector<Json>& rows) {
  const std::vector<Limits> limits = {{2, 1e11, {{"L2", 1 << 20, 5e10}, {"memory", 1 << 25, 2e9}}}};
  return {{"context",
           {{"heed", "0.1"},
            {"cpu", "Xeon"},
            {"rivals", R"({"oneDNN": "2.7"})"},
            {"limits", limits_to_json(limits)}}},
          {"benchmarks", rows}};
}

Results results_of(const std::vector<Json>& rows) { return *results_from_json(document_of(rows)); }

TEST_CASE("best and median are those of the repetitions, or of their aggregates") {
  const Results single =
      results_of({row_json("a", 1000), row_json("a", 3000), row_json("a", 1500)});
  REQUIRE(single.rows.size() == 1);
  const Row& row = single.rows[0];
  CHECK(row.best == doctest::Approx(1e-6));
  CHECK(row.median == doctest::Approx(1.5e-6));
  CHECK(row.threads == 2);
  CHECK(row.share() == doctest::Approx(0.5));
  CHECK(single.rivals == std::vector<std::pair<std::string, std::string>>{{"oneDNN", "2.7"}});
  REQUIRE(single.limits.size() == 1);
  CHECK(limit_of(single.limits[0], Bound::kMemory) == 2e9);

  Json best = row_json("a", 2), median = row_json("a", 3), mean = row_json("a", 4);
  for (Json* aggregate : {&best, &median, &mean}) {
    (*aggregate)["run_type"] = "aggregate";
    (*aggregate)["time_unit"] = "us";
  }
  best["aggregate_name"] = "min";
  median["aggregate_name"] = "median";
  mean["aggregate_name"] = "mean";
  const Json document = document_of({row_json("a", 2000), row_json("b", 7), mean, median, best});
  CHECK(results_from_json(document)->rows[0].best == doctest::Approx(2e-6));
  CHECK(results_from_json(document)->rows[0].median == doctest::Approx(3e-6));
  const Json reduced = without_repetitions(document);
  CHECK(reduced["benchmarks"].size() == 4);
  CHECK(results_from_json(reduced)->rows.size() == 2);
}

TEST_CASE("a ratio within what the repetitions spread over is marked as noise") {
  const Results a =
      results_of({row_json("near", 1000), row_json("near", 1100), row_json("near", 1200),
                  row_json("far", 1000), row_json("far", 1010), row_json("far", 1020),
                  row_json("gone", 1000)});
  const Results b = results_of({row_json("near", 950), row_json("far", 500)});
  const std::string text = comparison_text({a, b});
  INFO(text);
  CHECK(text.find("1.05x ~") != std::string::npos);
  CHECK(text.find("2.00x  ") != std::string::npos);
  CHECK(text.find("missing") != std::string::npos);
}

TEST_CASE("both spreads, the limit's change and 3 % count as noise") {
  // Either run may be the slower one.
  const auto marked = [](const Results& a, const Results& b) {
    const bool forth = comparison_text({a, b}).find("x ~") != std::string::npos;
    CHECK(forth == (comparison_text({b, a}).find("x ~") != std::string::npos));
    return forth;
  };
  const auto run = [](std::vector<double> times, double limit) {
    std::vector<Json> rows;
    for (const double time : times) {
      rows.push_back(row_json("a", time));
      rows.back()["limit_per_second"] = limit;
    }
    return results_of(rows);
  };
  CHECK(marked(run({1000}, 2e9), run({1029}, 2e9)));
  CHECK_FALSE(marked(run({1000}, 2e9), run({1032}, 2e9)));
  CHECK(marked(run({1000, 1100, 1200}, 2e9), run({1230, 1353, 1400}, 2e9)));
  CHECK_FALSE(marked(run({1000, 1100, 1200}, 2e9), run({1260, 1386, 1400}, 2e9)));
  CHECK(marked(run({1000}, 2e9), run({1220}, 2.4e9)));
  CHECK_FALSE(marked(run({1000}, 2e9), run({1260}, 2.4e9)));
  CHECK_FALSE(marked(run({1000}, 0), run({1220}, 2.4e9)));  // not measured

  // Another processor, instruction set or limit is what is compared, not noise.
  Results other = run({1220}, 2.4e9);
  other.cpu = "Zen";
  CHECK_FALSE(marked(run({1000}, 2e9), other));
  other = run({1220}, 2.4e9);
  other.target = "AVX2";
  CHECK_FALSE(marked(run({1000}, 2e9), other));
  other = run({1220}, 2.4e9);
  other.rows[0].label.bound = Bound::kFlops;
  CHECK_FALSE(marked(run({1000}, 2e9), other));
}

TEST_CASE("files of other programs and broken ones") {
  Json row = row_json("BM_other", 5);
  row["label"] = "plain words";
  row.erase("num_threads");
  const Results other = results_of({row});
  REQUIRE(other.rows.size() == 1);
  CHECK(other.rows[0].threads == 1);
  CHECK(other.rows[0].label.operation.empty());
  CHECK_FALSE(results_from_json(Json::object()).ok());
  CHECK_FALSE(results_from_json(Json{{"context", 1}, {"benchmarks", {1}}}).ok());
}

TEST_CASE("the table names the machine, each case once, and what failed") {
  Json failed = row_json("c", 0);
  failed["error_occurred"] = true;
  failed["error_message"] = "element 3 is wrong";
  const std::string text = table_of(results_of({row_json("a", 1000), row_json("a", 1500), failed}));
  INFO(text);
  CHECK(text.find("beside    oneDNN 2.7") != std::string::npos);
  CHECK(text.find("2 threads: fma peak 100 GFLOP/s; reads L2 50.0 GB/s memory 2.00 GB/s") !=
        std::string::npos);
  CHECK(text.find("1.00 us") != std::string::npos);
  CHECK(text.find("1.25 us") != std::string::npos);
  CHECK(text.find("0.50 memory") != std::string::npos);
  CHECK(text.find("failed: element 3 is wrong") != std::string::npos);
}

}  // namespace
}  // namespace heed::bench
