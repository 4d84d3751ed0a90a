#include "bench/case.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace heed::bench {

Status check_against(const Run& reference, const Buffer& want, const Run& run, const Buffer& got) {
  if (Status s = reference(); !s.ok()) return s;
  if (Status s = run(); !s.ok()) return s;
  float largest = 0;
  for (const float w : want) largest = std::max(largest, std::abs(w));
  // Sums of a few thousand products in f32 differ by some 1e-6 of the largest; a wrong element by
  // about all of it.
  const float tolerance = 1e-4f * largest;
  for (size_t i = 0; i < want.size(); ++i) {
    if (!(std::abs(got[i] - want[i]) <= tolerance)) {  // NaN fails
      return Status::Error(StatusCode::kInvalidArgument,
                           "element %zu is %g but heed computes %g (tolerance %g)", i,
                           static_cast<double>(got[i]), static_cast<double>(want[i]),
                           static_cast<double>(tolerance));
    }
  }
  return Status();
}

size_t Suite::copies_beyond_cache(double bytes) const {
  const double copies = static_cast<double>(beyond_cache_bytes) / bytes;
  return std::max<size_t>(2, static_cast<size_t>(std::ceil(copies)));
}

void add_for_all(Suite* suite, const Case& problem, const Choice& choice, Operation operation,
                 const Prepare& prepare) {
  const std::vector<size_t>& all = suite->settings.threads;
  for (const size_t threads : all) {
    const bool between = threads != all.front() && threads != all.back();
    // Libraries of this problem alone: a Context's workspace says what this problem takes.
    const auto libraries = make_libraries(threads, suite->settings.target_or_null());
    for (const auto& library : libraries) {
      if (!library->has(operation)) continue;
      Case c = problem;
      c.threads = threads;
      c.library = library;
      c.library_name = library->name();
      c.tier = choice.tier;
      if (library != libraries.front() && !choice.rivals) c.tier = Tier::kNamed;
      if (between && !choice.scaling && !suite->settings.all_threads) c.tier = Tier::kNamed;
      c.prepare = [library, reference = libraries.front(), prepare] {
        return prepare(*library, *reference);
      };
      suite->cases.push_back(std::move(c));
    }
  }
}

}  // namespace heed::bench
