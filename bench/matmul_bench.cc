// matmul: B as given, and packed once as weights are.
#include <memory>

#include "bench/case.h"

namespace heed::bench {
namespace {

struct MatmulProblem {
  Buffer a, b, c, want;

  explicit MatmulProblem(const MatmulShape& s)
      : a(random_normal(s.m * s.k, 1)),
        b(random_normal(s.k * s.n, 2)),
        c(s.m * s.n),
        want(c.size()) {}
};

Result<Runs> PrepareMatmul(const MatmulShape& shape, bool pack, size_t copies,
                           const Library& library, const Library& reference) {
  Runs runs;
  for (size_t i = 0; i < copies; ++i) {
    const auto p = std::make_shared<MatmulProblem>(shape);
    Result<Run> run = library.matmul({shape, p->a.data(), p->b.data(), p->c.data(), pack});
    if (!run.ok()) return run.status();
    if (i == 0) {
      Result<Run> want = reference.matmul({shape, p->a.data(), p->b.data(), p->want.data(), false});
      if (!want.ok()) return want.status();
      if (Status s = check_against(*want, p->want, *run, p->c); !s.ok()) return s;
    }
    runs.push_back([p, run = *run] { return run(); });
  }
  return runs;
}

}  // namespace

void register_matmul(const Suite& suite) {
  const MatmulShape shapes[] = {
      {512, 512, 512},    {1024, 1024, 1024},
      {2048, 2048, 2048}, {1024, 2304, 768},  // GPT-2's q, k and v, a prompt
      {128, 768, 768},                        // GPT-2's output projection, a short prompt
      {512, 6144, 4096},                      // Llama 3 8B's q, k and v
      {512, 4096, 4096},                      // and its output projection
      {1, 4096, 4096},                        // the same for one token
  };
  for (const bool pack : {false, true}) {
    for (const MatmulShape& shape : shapes) {
      const Work work = work_of(shape);
      // One token meets weights that the rest of the model has pushed out of the caches.
      const size_t copies = shape.m == 1 ? copies_beyond_cache(suite.machine, work.bytes) : 1;
      register_for_all(suite, (pack ? "matmul_packed/" : "matmul/") + name_of(shape),
                       pack ? Operation::kPackedMatmul : Operation::kMatmul, work,
                       [=](const Library& library, const Library& reference) {
                         return PrepareMatmul(shape, pack, copies, library, reference);
                       });
    }
  }
}

}  // namespace heed::bench
