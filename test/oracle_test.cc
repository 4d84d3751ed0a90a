// The judge of golden cases must be able to fail: it is shown cases that are wrong in one thing.
#include "test/oracle.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <map>
#include <string>
#include <vector>

namespace heed::test {
namespace {

using oracle::Outcome;
using oracle::Verdict;

// One query, two equal keys: the output is the mean of the values and the lse log(2).
struct SmallCase {
  std::map<std::string, std::string> metadata = {{"format", "golden-attn-1"},
                                                 {"op", "attention"},
                                                 {"batch", "1"},
                                                 {"q_len", "1"},
                                                 {"kv_len", "2"},
                                                 {"heads", "1"},
                                                 {"kv_heads", "1"},
                                                 {"head_dim", "1"},
                                                 {"v_head_dim", "1"},
                                                 {"causal", "0"},
                                                 {"window", "0"},
                                                 {"softcap", "0.0"},
                                                 {"scale", "1.0"},
                                                 {"alibi", "0"},
                                                 {"scale_mode", "default"},
                                                 {"sink", "0"},
                                                 {"bias", "none"},
                                                 {"key_mask", "0"},
                                                 {"rope", "none"},
                                                 {"rope_dim", "0"},
                                                 {"rope_theta", "0"},
                                                 {"input_dtype", "f32"},
                                                 {"check", "0"},
                                                 {"chunks", ""},
                                                 {"atol", "3e-06"},
                                                 {"rtol", "2e-06"},
                                                 {"lse_atol", "3e-06"},
                                                 {"lse_rtol", "2e-06"}};
  std::map<std::string, std::vector<float>> values = {{"q", {1}},
                                                      {"k", {0, 0}},
                                                      {"v", {1, 3}},
                                                      {"expected.out", {2}},
                                                      {"expected.lse", {std::log(2.0f)}}};

  Outcome judge() const {
    std::vector<tools::NamedArray> arrays;
    for (const auto& [name, data] : values) {
      std::vector<uint64_t> shape = {1, data.size(), 1, 1};
      if (name == "expected.lse") shape = {1, 1, data.size()};
      arrays.push_back({name, shape, data.data()});
    }
    const auto path = std::filesystem::temp_directory_path() / "heed-oracle-test.safetensors";
    const Status saved = tools::save_safetensors(path.string(), arrays, metadata);
    REQUIRE_MESSAGE(saved.ok(), saved.message());
    const auto file = tools::Safetensors::load(path.string());
    REQUIRE_MESSAGE(file.ok(), file.status().message());
    Context context;
    const Outcome outcome = oracle::judge(*file, context);
    std::filesystem::remove(path);
    return outcome;
  }
};

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

}  // namespace

TEST_CASE("oracle: a right case passes, a wrong number fails") {
  CHECK(SmallCase().judge().verdict == Verdict::kPassed);
  for (const float wrong : {2.00001f, -2.0f, kNaN, kInf, -kInf}) {
    CAPTURE(wrong);
    SmallCase out, lse;
    out.values["expected.out"] = {wrong};
    CHECK(out.judge().verdict == Verdict::kFailed);
    lse.values["expected.lse"] = {wrong};
    CHECK(lse.judge().verdict == Verdict::kFailed);
  }
  SmallCase nan;  // a result that is NaN
  nan.values["v"] = {1, kNaN};
  CHECK(nan.judge().verdict == Verdict::kFailed);
  nan.values["expected.out"] = {kNaN};
  CHECK(nan.judge().verdict == Verdict::kFailed);
}

TEST_CASE("oracle: what it does not know fails") {
  const std::pair<const char*, const char*> changes[] = {{"op", "attention_sparse"},
                                                         {"format", "golden-attn-2"},
                                                         {"rope", "yarn"},
                                                         {"scale_mode", "none"},
                                                         {"input_dtype", "f8"},
                                                         {"causal", "2"},
                                                         {"bias", "alibi"},
                                                         {"chunks", "1"},
                                                         {"q_len", "2"},
                                                         {"heads", "-1"},
                                                         {"atol", "nan"},
                                                         {"scale", "0.5"},
                                                         {"rotation", "1"},
                                                         {"check", "1"},
                                                         {"window", "x"}};
  for (const auto& change : changes) {
    const std::string key = change.first;
    CAPTURE(key);
    SmallCase c;
    c.metadata[key] = change.second;
    CHECK(c.judge().verdict == Verdict::kFailed);
    c.metadata.erase(key);
    if (key != "rotation") CHECK(c.judge().verdict == Verdict::kFailed);
  }
  SmallCase extra;
  extra.values["slopes"] = {1};
  CHECK(extra.judge().verdict == Verdict::kFailed);
  for (const char* name : {"q", "v", "expected.out", "expected.lse"}) {
    SmallCase lacking;
    lacking.values.erase(name);
    CHECK(lacking.judge().verdict == Verdict::kFailed);
  }
}

TEST_CASE("oracle: options are computed, not ignored") {
  SmallCase c;
  c.metadata["causal"] = "1";
  CHECK(c.judge().verdict == Verdict::kPassed);
  c.metadata["window"] = "1";  // the query sees the second key alone
  CHECK(c.judge().verdict == Verdict::kFailed);
  c.values["expected.out"] = {3};
  c.values["expected.lse"] = {0};
  CHECK(c.judge().verdict == Verdict::kPassed);
  c.metadata["alibi"] = "1";  // without its slopes
  CHECK(c.judge().verdict == Verdict::kFailed);
}

}  // namespace heed::test
