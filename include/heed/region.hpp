// Calls whose tasks the host runs itself, on threads of its own job system: see heed/c/region.h.
#pragma once

#include <cstddef>

#include "heed/attention.hpp"
#include "heed/context.hpp"
#include "heed/export.h"
#include "heed/matmul.hpp"
#include "heed/multi_head_attention.hpp"
#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed::inline v1 {

// heed_region, and the functions that begin with it.
class HEED_API Region {
 public:
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
  static Result<Region> forward(const MultiHeadAttention& layer, const TensorView& x,
                                const MutableTensorView& y, const ForwardOptions& options,
                                size_t max_workers, Context& context);

  size_t phases() const;
  size_t tasks(size_t phase) const;
  size_t workers(size_t phase) const;

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
  HEED_INLINE explicit Region(const Impl* impl) : impl_(impl) {}
  const Impl* impl_;
};

}  // namespace heed::inline v1
