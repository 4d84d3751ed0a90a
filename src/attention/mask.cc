#include "src/attention/mask.h"

#include <bit>
#include <limits>

namespace heed {
namespace {

void Clear(uint64_t* bits, size_t j) { bits[j / 64] &= ~(uint64_t{1} << j % 64); }

// Clears every set bit j for which hides(j).
template <class Hides>
void ClearWhere(uint64_t* bits, const Hides& hides) {
  for (size_t word = 0; word < kVisibleWords; ++word) {
    for (uint64_t left = bits[word]; left != 0; left &= left - 1) {
      const size_t j = word * 64 + static_cast<size_t>(std::countr_zero(left));
      if (hides(j)) Clear(bits, j);
    }
  }
}

}  // namespace

bool MayHaveHoles(const AttentionPlan& plan) {
  const AttentionOptions& o = plan.options;
  return (o.window > 0 && (o.sink_tokens > 0 || !o.prefix_lens.absent())) || !o.mask.absent() ||
         !o.key_mask.absent() || !o.tree_mask.absent();
}

void ApplyMasks(const AttentionPlan& plan, size_t b, const Sequence& sequence, size_t head,
                size_t i, size_t first, uint64_t* bits) {
  const AttentionOptions& o = plan.options;
  if (!o.key_mask.absent()) {
    ClearWhere(bits, [&](size_t j) { return At<uint8_t>(o.key_mask, b, first + j) == 0; });
  }
  if (!o.mask.absent()) {
    const size_t lead = o.mask.rank - 3;
    TensorView of_batch = o.mask;  // [heads, q_len, kv_len] of this sequence
    if (lead == 1) {
      of_batch.data =
          static_cast<const char*>(o.mask.data) + static_cast<ptrdiff_t>(b) * o.mask.strides[0] *
                                                      static_cast<ptrdiff_t>(size_of(o.mask.dtype));
      std::copy_n(o.mask.strides + 1, 3, of_batch.strides);
    }
    const size_t h = o.mask.shape[lead] == 1 ? 0 : head;
    if (o.mask.dtype == DType::kU8) {
      ClearWhere(bits, [&](size_t j) { return At<uint8_t>(of_batch, h, i, first + j) == 0; });
    } else {
      ClearWhere(bits, [&](size_t j) {
        return At<float>(of_batch, h, i, first + j) == -std::numeric_limits<float>::infinity();
      });
    }
  }
  if (!o.tree_mask.absent()) {
    const size_t past = static_cast<size_t>(sequence.position);  // keys before the queries' own
    ClearWhere(bits, [&](size_t j) {
      if (first + j < past) return false;
      const size_t own = first + j - past;
      return (o.tree_mask.rank == 3 ? At<uint8_t>(o.tree_mask, b, i, own)
                                    : At<uint8_t>(o.tree_mask, i, own)) == 0;
    });
  }
}

}  // namespace heed
