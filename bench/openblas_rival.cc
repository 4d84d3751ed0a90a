// OpenBLAS as a rival: sgemm, and attention blocked by hand around it.
#include <cblas.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#if defined(_OPENMP)
#include <omp.h>
#endif

#include "bench/library.h"
#include "heed/info.hpp"

namespace heed::bench {
namespace {

int to_int(size_t n) { return static_cast<int>(n); }

void sgemm(CBLAS_TRANSPOSE trans_b, size_t m, size_t n, size_t k, float alpha, const float* a,
           size_t lda, const float* b, size_t ldb, float* c, size_t ldc) {
  cblas_sgemm(CblasRowMajor, CblasNoTrans, trans_b, to_int(m), to_int(n), to_int(k), alpha, a,
              to_int(lda), b, to_int(ldb), 0.0f, c, to_int(ldc));
}

// Attention in tasks of up to kRows queries against the keys the last of them sees: sgemm, heed's
// softmax, sgemm. The tasks run on several threads, each with a single-threaded OpenBLAS.
class BlockedAttention {
 public:
  BlockedAttention(const AttentionArgs& args, size_t threads, const char* target)
      : args_(args), scale_(1.0f / std::sqrt(static_cast<float>(args.shape.head_dim))) {
    ContextOptions options;
    options.num_threads = 1;
    options.target = target;
    for (size_t i = 0; i < threads; ++i) {
      workers_.push_back({Context(options), Buffer(max_rows() * args.shape.kv_len), Status()});
    }
  }

  Status operator()() {
    // Late blocks see the most keys: the largest tasks first, so that threads end together.
    const AttentionShape& s = args_.shape;
    const bool decode = s.q_len == 1;
    const size_t blocks = (s.q_len + kRows - 1) / kRows;
    const size_t heads = decode ? s.num_kv_heads : s.num_heads;
    std::atomic<size_t> next{0};
    const auto work = [&](Worker& worker) {
      for (size_t task; (task = next.fetch_add(1)) < blocks * heads && worker.status.ok();) {
        worker.status = decode ? attend_group(worker, task)
                               : attend_block(worker, task % heads, blocks - 1 - task / heads);
      }
    };
#if defined(_OPENMP)
#pragma omp parallel num_threads(to_int(workers_.size()))
    work(workers_[static_cast<size_t>(omp_get_thread_num())]);
#else
    work(workers_.front());
#endif
    for (const Worker& worker : workers_) {
      if (!worker.status.ok()) return worker.status;
    }
    return Status();
  }

 private:
  static constexpr size_t kRows = 128;  // 64 to 256 are about as fast

  struct Worker {
    Context context;
    Buffer scores;
    Status status;
  };

  size_t group() const { return args_.shape.num_heads / args_.shape.num_kv_heads; }
  size_t max_rows() const { return std::max(std::min(kRows, args_.shape.q_len), group()); }

  // `rows` queries, `q_stride` apart, against the first `keys` keys; scores are already in place.
  Status softmax_times_v(Worker& worker, size_t rows, size_t keys, const float* v, float* out,
                         size_t out_stride) {
    float* scores = worker.scores.data();
    Status s = heed::softmax(TensorView(scores, {rows, keys}),
                             MutableTensorView(scores, {rows, keys}), {}, worker.context);
    if (!s.ok()) return s;
    sgemm(CblasNoTrans, rows, args_.shape.head_dim, keys, 1.0f, scores, keys, v,
          args_.v.token_stride, out, out_stride);
    return s;
  }

  Status attend_block(Worker& worker, size_t head, size_t block) {
    const AttentionShape& s = args_.shape;
    const size_t begin = block * kRows, rows = std::min(kRows, s.q_len - begin);
    const size_t first_keys = begin + 1 + s.kv_len - s.q_len, keys = first_keys + rows - 1;
    const size_t kv_head = head / group();
    float* scores = worker.scores.data();
    sgemm(CblasTrans, rows, keys, s.head_dim, scale_,
          args_.q.data + begin * args_.q.token_stride + head * args_.q.head_stride,
          args_.q.token_stride, args_.k.data + kv_head * args_.k.head_stride, args_.k.token_stride,
          scores, keys);
    for (size_t i = 0; i < rows; ++i) {
      std::fill(scores + i * keys + first_keys + i, scores + (i + 1) * keys,
                -std::numeric_limits<float>::infinity());
    }
    return softmax_times_v(worker, rows, keys, args_.v.data + kv_head * args_.v.head_stride,
                           args_.out + (begin * s.num_heads + head) * s.head_dim,
                           s.num_heads * s.head_dim);
  }

  // The query heads of one kv head are the rows.
  Status attend_group(Worker& worker, size_t kv_head) {
    const AttentionShape& s = args_.shape;
    const size_t rows = group();
    sgemm(CblasTrans, rows, s.kv_len, s.head_dim, scale_,
          args_.q.data + kv_head * rows * args_.q.head_stride, args_.q.head_stride,
          args_.k.data + kv_head * args_.k.head_stride, args_.k.token_stride, worker.scores.data(),
          s.kv_len);
    return softmax_times_v(worker, rows, s.kv_len, args_.v.data + kv_head * args_.v.head_stride,
                           args_.out + kv_head * rows * s.head_dim, s.head_dim);
  }

  AttentionArgs args_;
  float scale_;
  std::vector<Worker> workers_;
};

class OpenBlas : public Library {
 public:
  OpenBlas(size_t threads, const char* target) : threads_(threads), target_(target) {}

  const char* name() const override { return "OpenBLAS"; }
  bool has(Operation operation) const override {
    return operation == Operation::kMatmul || operation == Operation::kAttention;
  }
  void use_threads() const override { openblas_set_num_threads(to_int(threads_)); }

  Result<Run> matmul(const MatmulArgs& args) const override {
    return Run([args, threads = threads_] {
      const auto [m, n, k] = args.shape;
      openblas_set_num_threads(to_int(threads));
      if (m == 1) {
        cblas_sgemv(CblasRowMajor, CblasTrans, to_int(k), to_int(n), 1.0f, args.b, to_int(n),
                    args.a, 1, 0.0f, args.c, 1);
      } else {
        sgemm(CblasNoTrans, m, n, k, 1.0f, args.a, k, args.b, n, args.c, n);
      }
      return Status();
    });
  }

  Result<Run> softmax(const SoftmaxArgs&) const override {
    return Status::Error(StatusCode::kUnsupported, "OpenBLAS has no softmax");
  }

  Result<Run> attention(const AttentionArgs& args) const override {
    const auto attention = std::make_shared<BlockedAttention>(args, threads_, target_);
    return Run([attention] {
      openblas_set_num_threads(1);
      return (*attention)();
    });
  }

 private:
  size_t threads_;
  const char* target_;
};

}  // namespace

std::string openblas_version() {
  const std::string name = "OpenBLAS ", config = openblas_get_config();
  std::string version = config.rfind(name, 0) == 0 ? config.substr(name.size()) : config;
  // A CPU that it does not know gets the kernels of an old one, several times slower.
  const char* best = nullptr;
  if (supported_targets(&best, 1) > 0 && family(best) == Family::kFma &&
      std::strcmp(openblas_get_corename(), "Prescott") == 0) {
    version += " (not its best here: set OPENBLAS_CORETYPE to Haswell or SkylakeX)";
  }
  return version;
}

std::shared_ptr<const Library> make_openblas(size_t threads, const char* target) {
  return std::make_shared<OpenBlas>(threads, target);
}

}  // namespace heed::bench
