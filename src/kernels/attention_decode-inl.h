// Rows of queries that see the same keys of a block, few of them as in decode.
#include "src/kernels/attention.h"

#if defined(HEED_ATTENTION_DECODE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEED_ATTENTION_DECODE_INL_H_
#undef HEED_ATTENTION_DECODE_INL_H_
#else
#define HEED_ATTENTION_DECODE_INL_H_
#endif

#include "hwy/highway.h"
#include "src/kernels/attention_int16-inl.h"
#include "src/kernels/attention_stored_streams-inl.h"
#include "src/kernels/attention_streams-inl.h"
#include "src/kernels/online_softmax-inl.h"

HWY_BEFORE_NAMESPACE();
namespace heed::inline v1::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using StreamKeysOf = void (*)(const QueryRows&, const KeyBlock&, const CommonKeys&, Pieces&);
using StreamValuesOf = void (*)(const QueryRows&, const KeyBlock&, const CommonKeys&,
                                const RowState&, const float*, Pieces&);

// By StoredIndex.
constexpr StreamKeysOf kStreamKeys[kStoredTypes] = {
    &StreamKeys, IsBuilt(DType::kF16) ? &StreamStoredKeys<DType::kF16> : nullptr,
    IsBuilt(DType::kBF16) ? &StreamStoredKeys<DType::kBF16> : nullptr,
    IsBuilt(DType::kInt8) ? &StreamStoredKeys<DType::kInt8> : nullptr,
    IsBuilt(DType::kInt4) ? &StreamStoredKeys<DType::kInt4> : nullptr};
constexpr StreamValuesOf kStreamValues[kStoredTypes] = {
    &StreamValues, IsBuilt(DType::kF16) ? &StreamStoredValues<DType::kF16> : nullptr,
    IsBuilt(DType::kBF16) ? &StreamStoredValues<DType::kBF16> : nullptr,
    IsBuilt(DType::kInt8) ? &StreamStoredValues<DType::kInt8> : nullptr,
    IsBuilt(DType::kInt4) ? &StreamStoredValues<DType::kInt4> : nullptr};

// What Attend does, for at most kDecodeRows rows that see the keys of `keys` and no others.
HWY_NOINLINE HWY_MAYBE_UNUSED static void AttendStreams(const QueryRows& t, const KeyBlock& block,
                                                        const CommonKeys& keys,
                                                        const RowState& state) {
  Pieces pieces(t, block.prefetch.rows, keys.end - keys.begin);
  if (IsCodes(t, block.k)) {
    ScoresOfCodes(t, block, keys.begin, keys.end, pieces.prefetcher);
  } else {
    kStreamKeys[StoredIndex(block.k.dtype)](t, block, keys, pieces);
  }
  PrefetchValues(t, block, keys);
  HWY_ALIGN float factor[kPaddedRows];
  SoftmaxStep(t, block, state, factor, pieces.prefetcher);
  if (IsCodes(t, block.v)) return ValuesOfCodes(t, block, state, factor, pieces.prefetcher);
  kStreamValues[StoredIndex(block.v.dtype)](t, block, keys, state, factor, pieces);
}
}  // namespace heed::inline v1::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // HEED_ATTENTION_DECODE_INL_H_
