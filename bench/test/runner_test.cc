#include "bench/runner.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <optional>

#include "bench/output.h"
#include "bench/results.h"
#include "bench/table.h"

namespace heed::bench {
namespace {

struct Doubling {
  Buffer x, out, want;
  explicit Doubling(size_t n) : x(random_normal(n, 1)), out(n), want(n) {}
  Result<Run> run(const Library& library, bool reference) {
    return library.softmax({1, x.size(), x.data(), reference ? want.data() : out.data()});
  }
};

// Doubles, or adds `error` to one element too; or refuses.
class Doubler : public Library {
 public:
  explicit Doubler(float error, bool refuses = false) : error_(error), refuses_(refuses) {}
  const char* name() const override { return "doubler"; }
  bool has(Operation) const override { return true; }
  void use_threads() const override {}
  Result<Run> matmul(const MatmulArgs&) const override { return refused(); }
  Result<Run> attention(const AttentionArgs&) const override { return refused(); }
  Result<Run> softmax(const SoftmaxArgs& args) const override {
    return Run([args, error = error_, refuses = refuses_] {
      for (size_t i = 0; i < args.cols; ++i) args.y[i] = 2 * args.x[i];
      args.y[args.cols / 2] += error;
      return refuses ? refused() : Status();
    });
  }

 private:
  static Status refused() { return Status::Error(StatusCode::kUnsupported, "only doubles"); }
  float error_;
  bool refuses_;
};

Case case_of(const std::string& library_name, float error, bool refuses = false) {
  Case c;
  c.operation = "double";
  c.shape = {"64", {{"cols", 64}}};
  c.work = {64, 512};
  c.library_name = library_name;
  c.library = std::make_shared<Doubler>(error, refuses);
  c.prepare = [library = c.library] {
    return prepare_copies<Doubling>(2, *library, Doubler(0), size_t{64});
  };
  return c;
}

Row row_of(const Results& results, const std::string& name) {
  for (const Row& row : results.rows) {
    if (row.name == name) return row;
  }
  FAIL("no row " << name);
  return {};
}

// As the command reads them, with its short repetitions.
Settings quick() {
  char program[] = "heed-bench", flag[] = "--quick";
  char* arguments[] = {program, flag, nullptr};
  int exit_code = 0;
  const std::optional<Settings> settings = parse_settings(2, arguments, 1, &exit_code);
  REQUIRE(settings.has_value());
  return *settings;
}

Results results_of(const Outcome& outcome) {
  return *results_from_json(nlohmann::json::parse(to_json(outcome.runs)));
}

TEST_CASE("cases of a problem are timed beside its limit; wrong and refused ones are not") {
  const Settings settings = quick();
  std::vector<Case> cases = {case_of("right", 0), case_of("wrong", 1),
                             case_of("refusing", 0, true)};
  Meter meter("", {}, size_t{1} << 20);
  const Outcome outcome = run_cases(settings, std::move(cases), &meter);
  CHECK(outcome.failed);
  const Results results = results_of(outcome);
  REQUIRE(results.rows.size() == 3);  // the limit's is none

  const Row right = row_of(results, "double/64/threads:1/right");
  CHECK(right.label.operation == "double");
  CHECK(right.label.shape == "64");
  CHECK(right.label.library == "right");
  CHECK(right.label.bound == Bound::kFlops);
  CHECK(right.error.empty());
  CHECK(right.best > 0);
  CHECK(right.median >= right.best);
  CHECK(right.flops == 64);
  CHECK(right.bytes == 512);
  CHECK(right.limit > 0);
  CHECK(right.share() == doctest::Approx(64 / right.best / right.limit));

  const Row wrong = row_of(results, "double/64/threads:1/wrong");
  CHECK(wrong.error.find("element 32 is") == 0);
  CHECK(wrong.best == 0);
  CHECK(wrong.threads == 1);
  CHECK(row_of(results, "double/64/threads:1/refusing").error == "only doubles");

  const bool cols = std::all_of(outcome.runs.begin(), outcome.runs.end(), [](const auto& run) {
    return run.report_label.find("\"limit\"") != std::string::npos ||
           run.counters.at("cols").value == 64;
  });
  CHECK(cols);
}

TEST_CASE("the share is of the limit that takes longer, multiply-adds or reads of memory") {
  const Settings settings = quick();
  std::vector<Case> cases = {case_of("adds", 0), case_of("reads", 0)};
  for (Case& c : cases) c.bound = Bound::kMemory;
  // No machine does a million multiply-adds, nor reads a million bytes, as fast as it does one.
  cases[0].work = {1e6, 1};
  cases[1].work = {1, 1e6};
  Meter meter("", {}, size_t{1} << 20);
  const Results both = results_of(run_cases(settings, cases, &meter));
  const Row adds = row_of(both, "double/64/threads:1/adds");
  CHECK(adds.label.bound == Bound::kFlops);
  CHECK(adds.share() == doctest::Approx(1e6 / adds.best / adds.limit));
  const Row reads = row_of(both, "double/64/threads:1/reads");
  CHECK(reads.label.bound == Bound::kMemory);
  CHECK(reads.share() == doctest::Approx(1e6 / reads.best / reads.limit));
  CHECK(adds.limit != reads.limit);
  CHECK(adds.limit <= meter.limits().at(0).flops);
  CHECK(reads.limit <= limit_of(meter.limits().at(0), Bound::kMemory));

  // What is read from a cache is bound by what its case says.
  cases[0].bound = cases[1].bound = Bound::kFlops;
  const Results cached = results_of(run_cases(settings, cases, &meter));
  CHECK(row_of(cached, "double/64/threads:1/reads").label.bound == Bound::kFlops);
}

TEST_CASE("a problem's cost per flop is compared with plain causal attention's") {
  const Settings settings = quick();
  std::vector<Case> cases = {case_of("heed", 0), case_of(kCausal, 0)};
  cases[1].work.flops = 32;  // the same time for half of the work
  Meter meter("", {}, size_t{1} << 20);
  const Results results = results_of(run_cases(settings, std::move(cases), &meter));
  const Row heed = row_of(results, "double/64/threads:1/heed");
  const Row causal = row_of(results, "double/64/threads:1/causal");
  CHECK(heed.vs_causal == doctest::Approx(heed.best / 64 / (causal.best / 32)));
  CHECK(causal.vs_causal == 0);
}

TEST_CASE("what is stored in fewer bits is compared with f32, in time and bytes") {
  const Settings settings = quick();
  std::vector<Case> cases = {case_of("heed", 0), case_of(kStoredF32, 0)};
  cases[0].work.bytes = 16;
  cases[1].work.bytes = 64;
  Meter meter("", {}, size_t{1} << 20);
  const Results results = results_of(run_cases(settings, std::move(cases), &meter));
  const Row heed = row_of(results, "double/64/threads:1/heed");
  const Row f32 = row_of(results, "double/64/threads:1/f32");
  CHECK(heed.vs_f32 == doctest::Approx(heed.best / f32.best));
  CHECK(heed.bytes_vs_f32 == 0.25);
  CHECK(heed.vs_causal == 0);
  CHECK(f32.vs_f32 == 0);
  const std::string table = table_of(results);
  CHECK(table.find(" of f32, bytes 0.25\n") != std::string::npos);
  CHECK(table.find("  f32  ") == std::string::npos);
}

}  // namespace
}  // namespace heed::bench
