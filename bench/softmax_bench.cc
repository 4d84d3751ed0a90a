// softmax of rows of several lengths, in cache.
#include <memory>

#include "bench/case.h"

namespace heed::bench {
namespace {

// What heed does with an element: so many operations, each in the place of a multiply-add (maximum,
// difference, 11 of 2^x, sum, factor). They bind where rows stay in L2: loads and stores go beside
// them.
constexpr double kOperations = 15, kFlopsEach = 2;

struct SoftmaxProblem {
  size_t rows, cols;
  Buffer x, out, want;

  SoftmaxProblem(size_t num_rows, size_t num_cols)
      : rows(num_rows),
        cols(num_cols),
        x(random_normal(rows * cols, 1)),
        out(x.size()),
        want(x.size()) {}

  Result<Run> run(const Library& library, bool reference) {
    return library.softmax({rows, cols, x.data(), reference ? want.data() : out.data()});
  }
};

}  // namespace

void add_softmax(Suite* suite) {
  constexpr size_t kCols[] = {128, 256, 512, 1024, 2048, 4096};
  for (const size_t cols : kCols) {
    // So many that input and output stay in the second level of cache.
    const size_t rows = 65536 / cols;
    Case c;
    c.operation = "softmax";
    c.shape = {std::to_string(rows) + "x" + std::to_string(cols), {{"rows", rows}, {"cols", cols}}};
    const double elements = static_cast<double>(rows * cols);
    c.work = {kOperations * kFlopsEach * elements, 2.0 * sizeof(float) * elements};
    add_for_all(suite, c, {}, Operation::kSoftmax,
                [=](const Library& library, const Library& reference) {
                  return prepare_copies<SoftmaxProblem>(1, library, reference, rows, cols);
                });
  }
}

}  // namespace heed::bench
