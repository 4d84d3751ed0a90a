// Calls whose tasks the host runs itself, on threads of its own job system.
#pragma once

#include <cstddef>

#include "heed/attention.hpp"
#include "heed/context.hpp"
#include "heed/matmul.hpp"
#include "heed/multi_head_attention.hpp"
#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed::inline v1 {

// A call that is checked, planned, and cut into tasks, of which nothing has run. The host runs
// them; heed starts no thread, takes no lock, allocates nothing and never waits in there.
//
//   Result<Region> region = Region::attention(q, k, v, out, {}, 8, context);
//   for (size_t phase = 0; phase < region->phases(); ++phase) {
//     // On any threads, in any pieces: run(phase, begin, end, worker)
//     // until all of the tasks(phase) have run; then the next phase.
//   }
//
// The bits are those of the function itself, whoever runs what. A region lies in its context's
// workspace, and ends with the context's next call or end. It is a handle: copies are the same
// region. All that the call got must stay as it is until the last task has run: the views' data,
// and the layer, the cache, the PackedMatrix and what `options` points to. Lengths and lists are read here.
class Region {
 public:
  // Of the functions of the same name, for at most `max_workers` threads at a time (1 to 4096),
  // whatever num_threads the context has. Errors: as of these functions.
  static Result<Region> attention(const TensorView& q, const TensorView& k, const TensorView& v,
                                  const MutableTensorView& out, const AttentionOptions& options,
                                  size_t max_workers, Context& context);
  static Result<Region> attention(const TensorView& q, const KvCache& cache,
                                  const MutableTensorView& out, const AttentionOptions& options,
                                  size_t max_workers, Context& context);
  static Result<Region> attention(const TensorView& q, const PagedKv& kv,
                                  const MutableTensorView& out, const AttentionOptions& options,
                                  size_t max_workers, Context& context);
  static Result<Region> matmul(const TensorView& a, const TensorView& b, const MutableTensorView& c,
                               const MatmulOptions& options, size_t max_workers, Context& context);
  static Result<Region> matmul(const TensorView& a, const PackedMatrix& b,
                               const MutableTensorView& c, const MatmulOptions& options,
                               size_t max_workers, Context& context);
  // MultiHeadAttention::forward(). One of the phases appends x's tokens to the cache: a region that
  // ends before leaves the cache's length() as it was, one that ends later has appended them.
  static Result<Region> forward(const MultiHeadAttention& layer, const TensorView& x,
                                const MutableTensorView& y, const ForwardOptions& options,
                                size_t max_workers, Context& context);

  // All tasks of a phase must have run before one of the next begins, and each once. 0: there is
  // nothing to do.
  size_t phases() const;
  size_t tasks(size_t phase) const;
  // Workers that a phase has memory for, at most max_workers.
  size_t workers(size_t phase) const;

  // Runs tasks [begin, end) of a phase on the calling thread, with the memory of `worker`, which
  // must be below workers(phase) and no other thread's until the call returns. Errors:
  // kInvalidArgument (a phase, task or worker that does not exist); nothing has run.
  Status run(size_t phase, size_t begin, size_t end, size_t worker) const;

  struct Impl;

 private:
  static Result<Region> plan_attention(const TensorView& q, const TensorView& k,
                                       const TensorView& v, const KvCache* cache,
                                       const PagedKv* paged, const MutableTensorView& out,
                                       const AttentionOptions& options, size_t max_workers,
                                       Context& context);
  template <class Matrix>
  static Result<Region> plan_matmul(const TensorView& a, const Matrix& b,
                                    const MutableTensorView& c, const MatmulOptions& options,
                                    size_t max_workers, Context& context);
  explicit Region(const Impl* impl) : impl_(impl) {}
  const Impl* impl_;
};

}  // namespace heed::inline v1
