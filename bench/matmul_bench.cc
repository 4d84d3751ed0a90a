// matmul: B as given, and packed once as weights are.
#include <memory>
#include <span>
#include <string>
#include <utility>

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

// Weights of other types than f32, beside f32's. That results are right is tested, not checked
// here: they are not f32's.
struct StoredProblem {
  MatmulShape shape;
  PackOptions options;
  Compute compute = Compute::kF32;
};

std::string name_of(const PackOptions& options) {
  std::string name = heed::name_of(options.dtype);
  if (options.group > 0) name += "/group:" + std::to_string(options.group);
  return name;
}

Result<Run> prepare_stored(const StoredProblem& stored, const std::shared_ptr<Context>& context) {
  const auto [m, n, k] = stored.shape;
  const Buffer b = random_normal(k * n, 2);
  Result<PackedMatrix> made = PackedMatrix::pack(TensorView(b.data(), {k, n}), WeightLayout::kInOut,
                                                 stored.options, *context);
  if (!made.ok()) return made.status();
  const auto packed = std::make_shared<PackedMatrix>(std::move(*made));
  const auto a = std::make_shared<Buffer>(random_normal(m * k, 1));
  const auto c = std::make_shared<Buffer>(m * n);
  return Run([=, shape = stored.shape, compute = stored.compute] {
    return matmul(TensorView(a->data(), {shape.m, shape.k}), *packed,
                  MutableTensorView(c->data(), {shape.m, shape.n}), {.compute = compute}, *context);
  });
}

// What is read of the matrix: its panels and scales.
double stored_bytes(const StoredProblem& stored) {
  const auto elements = static_cast<double>(stored.shape.n * stored.shape.k);
  const PackOptions& o = stored.options;
  const auto per_scale = static_cast<double>(o.group > 0 ? o.group : stored.shape.k);
  if (o.dtype == DType::kInt8) return elements * (1 + 4 / per_scale);
  if (o.dtype == DType::kInt4) return elements * (0.5 + 2 / per_scale);
  return elements * static_cast<double>(size_of(o.dtype));
}

void add_stored(Suite* suite, const MatmulShape& shape, std::span<const PackOptions> all,
                Compute compute) {
  const char* target = suite->settings.target_or_null();
  for (const PackOptions& options : all) {
    for (const size_t threads : suite->settings.threads) {
      Case c;
      c.operation = "feature";
      c.shape = shape_of(shape);
      c.shape.name = "weights:" + name_of(options) + "/" +
                     (compute == Compute::kInt16 ? "compute:int16/" : "") + c.shape.name;
      // A few rows meet weights that the rest of the model has pushed out of the caches.
      const bool from_memory = shape.m <= 6;
      c.bound = from_memory ? Bound::kMemory : Bound::kFlops;
      c.threads = threads;
      c.tier = Tier::kNamed;
      const auto add = [&](const PackOptions& of, const std::string& name) {
        const StoredProblem stored{shape, of, name == kStoredF32 ? Compute::kF32 : compute};
        c.work = work_of(shape);
        c.work.bytes += stored_bytes(stored) - stored_bytes({shape, PackOptions()});
        const size_t copies = from_memory ? suite->copies_beyond_cache(c.work.bytes) : 1;
        c.library_name = name;
        c.prepare = [=]() -> Result<Runs> {
          const auto context =
              std::make_shared<Context>(ContextOptions{.num_threads = threads, .target = target});
          Runs runs;
          for (size_t i = 0; i < copies; ++i) {
            const Result<Run> run = prepare_stored(stored, context);
            if (!run.ok()) return run.status();
            runs.push_back(*run);
          }
          return runs;
        };
        suite->cases.push_back(c);
      };
      c.library = make_heed(threads, target);
      add(options, c.library->name());
      add(PackOptions(), kStoredF32);
    }
  }
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
  const MatmulShape stored[] = {{1, 4096, 4096}, {6, 4096, 4096}, {128, 768, 768}};
  const PackOptions types[] = {{DType::kBF16},     {DType::kF16},      {DType::kInt8},
                               {DType::kInt8, 32}, {DType::kInt4, 32}, {DType::kInt4, 128}};
  for (const MatmulShape& shape : stored) add_stored(suite, shape, types, Compute::kF32);
  const MatmulShape many_rows[] = {{128, 768, 768}, {512, 768, 768}, {1024, 2304, 768}};
  const PackOptions integers[] = {{DType::kInt8}, {DType::kInt8, 32}, {DType::kInt4, 32}};
  for (const MatmulShape& shape : many_rows) add_stored(suite, shape, integers, Compute::kInt16);
}

}  // namespace heed::bench
