// A second includer of the kernels' headers beside the library's own files: what they define must
// not clash with the library's when both are linked.
#include <doctest/doctest.h>

#include "hwy/highway.h"
#include "src/kernels/attention_pv-inl.h"
#include "src/kernels/attention_qk-inl.h"
#include "src/kernels/attention_tiles-inl.h"
#include "src/kernels/divide-inl.h"
#include "src/kernels/exp2-inl.h"
#include "src/kernels/exp_sum-inl.h"
#include "src/kernels/online_softmax-inl.h"
#include "src/kernels/pack-inl.h"
#include "src/kernels/prefetch-inl.h"
#include "src/kernels/scores-inl.h"
#include "src/kernels/tanh-inl.h"
#include "src/kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace heed::HWY_NAMESPACE {
namespace {

// q.k of one query with the keys of a block: calls what is not inlined, too.
float FirstScore(const float* q, const Panels& k, size_t head_dim, float* scores) {
  const uint8_t begin = 0, end = kKeyBlock;
  QueryRows rows;
  rows.q = q;
  rows.rows = 1;
  rows.head_dim = head_dim;
  rows.scores = scores;
  KeyBlock block;
  block.k = k;
  block.begin = &begin;
  block.end = &end;
  block.whole = true;
  RowPrefetcher nothing({}, 1);
  Scores(rows, block, TileRanges(block, 1), nothing);
  return scores[0];
}

}  // namespace
}  // namespace heed::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

namespace heed::test {
namespace {

TEST_CASE("the kernels' headers can be included beside the library") {
  constexpr size_t kDim = 3;
  HWY_ALIGN static float k[kKeyBlock * kDim];
  HWY_ALIGN static float scores[kScoreRows * kKeyBlock];
  for (size_t d = 0; d < kDim; ++d) k[d * kPanel] = 2.0f;  // key 0
  const float q[kDim] = {1.0f, 2.0f, 4.0f};
  CHECK(HWY_NAMESPACE::FirstScore(q, {k}, kDim, scores) == 14.0f);
}

}  // namespace
}  // namespace heed::test
