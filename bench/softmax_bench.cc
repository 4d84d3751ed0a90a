// softmax of 1024 rows of several lengths.
#include <memory>

#include "bench/case.h"

namespace heed::bench {
namespace {

struct SoftmaxProblem {
  Buffer x, y, want;

  explicit SoftmaxProblem(size_t n) : x(random_normal(n, 1)), y(n), want(n) {}
};

Result<Runs> PrepareSoftmax(size_t rows, size_t cols, const Library& library,
                            const Library& reference) {
  const auto p = std::make_shared<SoftmaxProblem>(rows * cols);
  Result<Run> run = library.softmax({rows, cols, p->x.data(), p->y.data()});
  if (!run.ok()) return run.status();
  Result<Run> want = reference.softmax({rows, cols, p->x.data(), p->want.data()});
  if (!want.ok()) return want.status();
  if (Status s = check_against(*want, p->want, *run, p->y); !s.ok()) return s;
  return Runs{[p, run = *run] { return run(); }};
}

}  // namespace

void register_softmax(const Suite& suite) {
  constexpr size_t kRows = 1024;
  constexpr size_t kCols[] = {128, 256, 512, 1024, 2048, 4096};
  for (const size_t cols : kCols) {
    const Work work{0, 2.0 * sizeof(float) * static_cast<double>(kRows * cols)};
    register_for_all(suite, "softmax/" + std::to_string(kRows) + "x" + std::to_string(cols),
                     Operation::kSoftmax, work,
                     [=](const Library& library, const Library& reference) {
                       return PrepareSoftmax(kRows, cols, library, reference);
                     });
  }
}

}  // namespace heed::bench
