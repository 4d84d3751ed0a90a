// Every number of the textbook chapter, as chapter3.safetensors has it, from heed's public
// functions. Which call gives which tensor stands in examples/chapter3, which is also what the
// example prints.
#include <doctest/doctest.h>

#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "examples/chapter3/lab.h"

namespace heed::test {
namespace {

// The stored numbers are f32, up to 2.1e-7 from float64 (a column of chapter3.md); heed's sums of
// at most 24 products of numbers below 3 lose about as much again.
constexpr double kTolerance = 1e-6;

struct Expected {
  std::vector<size_t> shape;
  std::vector<double> values;
};

Expected Read(const tools::Safetensors& book, const std::string& name) {
  const tools::StoredTensor* stored = book.find(name);
  REQUIRE(stored != nullptr);
  Expected expected;
  expected.shape.assign(stored->shape.begin(), stored->shape.end());
  if (stored->type == tools::StoredType::kF32) {
    const auto values = book.read_f32(name);
    REQUIRE(values.ok());
    expected.values.assign(values->begin(), values->end());
  } else {
    const auto values = book.read_i32(name);
    REQUIRE(values.ok());
    expected.values.assign(values->begin(), values->end());
  }
  return expected;
}

// The worst |got - want|. NaN and an infinity that is not met exactly count as infinite.
double Error(const std::vector<float>& got, const std::vector<double>& want) {
  if (got.size() != want.size()) return INFINITY;
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double g = static_cast<double>(got[i]);
    if (g == want[i]) continue;
    const double error = std::abs(g - want[i]);
    worst = std::isnan(error) ? INFINITY : std::max(worst, error);
  }
  return worst;
}

const chapter3::Array& Find(const chapter3::Lab& lab, const std::string& what) {
  for (const auto& section : lab.sections()) {
    for (const auto& entry : section.entries) {
      if (entry.what == what) return entry.value;
    }
  }
  FAIL("no result called " << what);
  return lab.sections().front().entries.front().value;
}

const tools::Safetensors& Book() {
  static const auto book = tools::Safetensors::load(CHAPTER3_DATA);
  REQUIRE_MESSAGE(book.ok(), book.status().message());
  return *book;
}

}  // namespace

TEST_CASE("every tensor of the textbook chapter is an input or comes out of heed") {
  Context context;
  chapter3::Lab lab(Book(), context);
  chapter3::one_head(lab);
  chapter3::many_heads(lab);

  std::set<std::string> seen = lab.inputs();
  for (const auto& section : lab.sections()) {
    for (const auto& entry : section.entries) {
      if (entry.name.empty()) continue;
      CAPTURE(entry.name);
      CAPTURE(entry.what);
      const Expected expected = Read(Book(), entry.name);
      CHECK(entry.value.shape == expected.shape);
      CHECK(Error(entry.value.values, expected.values) <= kTolerance);
      CHECK(lab.inputs().count(entry.name) == 0);  // or it would be compared with itself
      seen.insert(entry.name);
    }
  }
  CHECK(Book().tensors().size() == 112);  // as chapter3.md says
  for (const auto& entry : Book().tensors()) {
    const std::string& name = entry.first;
    CAPTURE(name);
    CHECK(seen.count(name) == 1);
  }
}

TEST_CASE("the chapter's dropout: heed's generator and the mask it gives agree") {
  std::vector<float> first;
  for (size_t threads : {1u, 2u, 7u}) {
    Context context({.num_threads = threads});
    chapter3::Lab lab(Book(), context);
    chapter3::one_head(lab);
    const auto& mask = Find(lab, "heed's own mask, p = 0.5, seed 123").values;
    const auto& dropped = Find(lab, "causal weights with it").values;
    const auto& causal = Find(lab, "the same by causal heed::attention").values;
    std::vector<float> product;
    size_t kept = 0;
    for (size_t i = 0; i < mask.size(); ++i) {
      CHECK((mask[i] == 0.0f || mask[i] == 2.0f));
      kept += mask[i] != 0.0f;
      product.push_back(causal[i] * mask[i]);
    }
    CHECK(kept > 9);  // 36 fair coins
    CHECK(kept < 27);
    CHECK(dropped == product);
    if (first.empty()) first = dropped;
    CHECK(dropped == first);
  }
}

}  // namespace heed::test
