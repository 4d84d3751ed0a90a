// softmax of rows of several lengths, in cache.
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

void add_softmax(Suite* suite) {
  constexpr size_t kCols[] = {128, 256, 512, 1024, 2048, 4096};
  for (const size_t cols : kCols) {
    // So many that input and output stay in the second level of cache.
    const size_t rows = 65536 / cols;
    Case c;
    c.operation = "softmax";
    c.shape = std::to_string(rows) + "x" + std::to_string(cols);
    c.work = {0, 2.0 * sizeof(float) * static_cast<double>(rows * cols)};
    add_for_all(suite, c, {}, Operation::kSoftmax,
                [=](const Library& library, const Library& reference) {
                  return PrepareSoftmax(rows, cols, library, reference);
                });
  }
}

}  // namespace heed::bench
