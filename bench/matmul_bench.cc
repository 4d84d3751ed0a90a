// matmul: B as given, and packed once as weights are.
#include <memory>

#include "bench/case.h"

namespace heed::bench {
namespace {

struct MatmulProblem {
  MatmulShape shape;
  bool pack;
  Buffer a, b, out, want;

  MatmulProblem(const MatmulShape& s, bool packed)
      : shape(s),
        pack(packed),
        a(random_normal(s.m * s.k, 1)),
        b(random_normal(s.k * s.n, 2)),
        out(s.m * s.n),
        want(out.size()) {}

  Result<Run> run(const Library& library, bool reference) {
    float* c = reference ? want.data() : out.data();
    return library.matmul({shape, a.data(), b.data(), c, pack && !reference});
  }
};

void add_problem(Suite* suite, const MatmulShape& shape, bool pack, const Choice& choice) {
  Case c;
  c.operation = pack ? "matmul_packed" : "matmul";
  c.shape = shape_of(shape);
  c.work = work_of(shape);
  c.bound = shape.m == 1 ? Bound::kMemory : Bound::kFlops;
  // One token meets weights that the rest of the model has pushed out of the caches.
  const size_t copies = shape.m == 1 ? suite->copies_beyond_cache(c.work.bytes) : 1;
  add_for_all(suite, c, choice, pack ? Operation::kPackedMatmul : Operation::kMatmul,
              [=](const Library& library, const Library& reference) {
                return prepare_copies<MatmulProblem>(copies, library, reference, shape, pack);
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
    add_problem(suite, shape, false, {.scaling = shape.n == 1024});
  }
  const Choice named{.tier = Tier::kNamed};
  // Llama 3 8B's q, k and v, and its output projection.
  const MatmulShape large[] = {{512, 6144, 4096}, {512, 4096, 4096}};
  for (const MatmulShape& shape : large) add_problem(suite, shape, false, named);
  for (const MatmulShape& shape : shapes) add_problem(suite, shape, true, named);
  for (const MatmulShape& shape : large) add_problem(suite, shape, true, named);
}

}  // namespace heed::bench
