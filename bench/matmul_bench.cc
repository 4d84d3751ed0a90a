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

void AddMatmul(Suite* suite, const MatmulShape& shape, bool pack, const Choice& choice) {
  Case c;
  c.operation = pack ? "matmul_packed" : "matmul";
  c.shape = name_of(shape);
  c.work = work_of(shape);
  // One token meets weights that the rest of the model has pushed out of the caches.
  const size_t copies = shape.m == 1 ? suite->copies_beyond_cache(c.work.bytes) : 1;
  add_for_all(suite, c, choice, pack ? Operation::kPackedMatmul : Operation::kMatmul,
              [=](const Library& library, const Library& reference) {
                return PrepareMatmul(shape, pack, copies, library, reference);
              });
}

}  // namespace

void add_matmul(Suite* suite) {
  const MatmulShape shapes[] = {
      {512, 512, 512},    {1024, 1024, 1024},
      {2048, 2048, 2048}, {1024, 2304, 768},  // GPT-2's q, k and v, a prompt
      {128, 768, 768},                        // GPT-2's output projection, a short prompt
      {1, 4096, 4096},                        // Llama 3 8B's output projection, one token
  };
  for (const MatmulShape& shape : shapes) {
    AddMatmul(suite, shape, false, {.scaling = shape.n == 1024});
  }
  const Choice named{.tier = Tier::kNamed};
  // Llama 3 8B's q, k and v, and its output projection.
  const MatmulShape large[] = {{512, 6144, 4096}, {512, 4096, 4096}};
  for (const MatmulShape& shape : large) AddMatmul(suite, shape, false, named);
  for (const MatmulShape& shape : shapes) AddMatmul(suite, shape, true, named);
  for (const MatmulShape& shape : large) AddMatmul(suite, shape, true, named);
}

}  // namespace heed::bench
