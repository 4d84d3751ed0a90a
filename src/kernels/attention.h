// Attention kernels: one block of keys against a group of rows of queries, single-threaded.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "src/kernels/dispatch.h"
#include "src/kernels/layout.h"
#include "src/kernels/panels.h"
#include "src/kernels/prefetch.h"

namespace heed::inline v1 {

// Rows a kernel takes at a time: 24 * kKeyBlock scores are 12 KB, so that they stay in L1 beside a
// panel of keys or values (4 or 8 KB) from q.k through softmax to p.v.
inline constexpr size_t kScoreRows = 24;

// Running softmax of rows: the state of docs/numerics.md, with maxima in units.
struct RowState {
  float* max = nullptr;    // [rows]
  float* lanes = nullptr;  // [rows][kSumLanes]
  float* acc = nullptr;    // [rows][acc_stride], acc_stride a multiple of kColumnPad
  size_t acc_stride = 0;
};

// Which keys of a block a row sees, a bit each.
inline constexpr size_t kVisibleWords = kKeyBlock / 64;

inline bool SeesKey(const uint64_t* visible, size_t r, size_t j) {  // null: all
  return visible == nullptr || (visible[r * kVisibleWords + j / 64] >> j % 64 & 1) != 0;
}

// Bits [begin, end) of a word, begin <= end <= 64.
inline uint64_t OnesOf(size_t begin, size_t end) {
  return begin < end ? ~uint64_t{0} >> (64 - (end - begin)) << begin : 0;
}

struct KeyBlock {
  Panels k;                        // [kKeyBlock / 16][head_dim][16]
  Panels v;                        // [v_head_dim / 16][kKeyBlock][16]
  const uint8_t* begin = nullptr;  // [rows] keys of this block that each row sees: [begin, end)
  const uint8_t* end = nullptr;
  bool whole = false;  // every row sees all of it
  // [rows][kVisibleWords] where some row does not see all of its [begin, end), and a bit for each
  // of those rows; null: all do.
  const uint64_t* visible = nullptr;
  uint32_t holes = 0;
  static_assert(kScoreRows <= 32);
  const float* distance = nullptr;     // [rows] first key of the block - position of the row
  const float* const* bias = nullptr;  // [rows] of [kKeyBlock] added to the scores; null: none
  const float* multiplier = nullptr;   // [rows][kKeyBlock], of dropout; null: none
  BlockPrefetch prefetch;
};

// The most rows that read keys and values as streams, in the type in which they are stored. More of
// them are bound by arithmetic, and take f32 alone.
inline constexpr size_t kDecodeRows = 8;

// The keys of a block that all rows see, or none where they see different ones.
struct CommonKeys {
  size_t begin = 0, end = 0;

  CommonKeys(const KeyBlock& block, size_t rows) {
    if (block.holes != 0) return;
    for (size_t r = 1; r < rows; ++r) {
      if (block.begin[r] != block.begin[0] || block.end[r] != block.end[0]) return;
    }
    begin = block.begin[0];
    end = block.end[0];
  }
};

// Whether `attend` takes the block's keys and values in any type.
inline bool IsStreamed(const KeyBlock& block, size_t rows) {
  if (rows > kDecodeRows) return false;
  const CommonKeys keys(block, rows);
  return keys.begin < keys.end;
}

// Scores are held in units (score_units.h) that make them q.k, or its tanh.
struct QueryRows {
  const float* q = nullptr;  // tiles, see layout.h; not read where q_codes are
  size_t rows = 0;           // at most kScoreRows
  size_t head_dim = 0;
  size_t v_head_dim = 0;
  float to_base2 = 1.0f;         // a score times this is the exponent of 2
  float per_natural = 1.0f;      // of the additive mask: times this it is in units
  bool soft_cap = false;         // a score is tanh of q.k
  const float* slope = nullptr;  // [rows], of ALiBi, in units; null: none
  float* scores = nullptr;       // [kScoreRows][kKeyBlock], scratch
  // Of Compute::kInt16: keys and values that are int8 or int4 come as they are stored. The queries'
  // codes are [rows][code_stride], in the kernels' own order, and their scales [rows][chunks] of
  // kSumChunk channels; null where keys are of another type.
  bool int16 = false;
  const int16_t* q_codes = nullptr;
  const float* q_scales = nullptr;
  size_t code_stride = 0, chunks = 0;
};

// Codes of a row of queries in int16: a multiple of kStepsPad. Those beyond a row's end are 0, and
// kernels read as much of the keys: a panel must have bytes behind it for kStepsPad steps.
inline constexpr size_t kStepsPad = 16;
constexpr size_t CodesOfRow(size_t dim) { return RoundUp(dim, kStepsPad); }

// What turns scores into weights once a row is complete: 2^((s - shift) * to_base2) * inverse.
struct RowTotal {
  const float* shift = nullptr;    // [rows]
  const float* inverse = nullptr;  // [rows]
};

struct AttentionKernels {
  // Takes one block of keys into the state of every row: of f32 unless IsStreamed, but for codes
  // with QueryRows::int16.
  void (*attend)(const QueryRows&, const KeyBlock&, const RowState&);
  // weights [rows][kKeyBlock] of the block, before dropout; 0 for hidden keys.
  void (*weights)(const QueryRows&, const KeyBlock&, const RowTotal&, float* weights);
  // n floats: total = total * f + part * g, the merge of two segments.
  void (*merge)(float* total, float f, const float* part, float g, size_t n);
  void (*scale)(float* row, float factor, size_t n);
  // lanes [rows][kSumLanes]: the sum of each row's into its first, by the contract's tree.
  void (*fold)(float* lanes, size_t rows);
  // out = acc * inverse, n floats.
  void (*finish)(const float* acc, float inverse, float* out, size_t n);
  // Masks of n <= kKeyBlock keys, masks[rows]: bits [rows][kVisibleWords] of what is not 0.
  void (*seen_bytes)(const uint8_t* const* masks, size_t rows, size_t n, uint64_t* bits);
  // The same of what is not -inf.
  void (*seen_floats)(const float* const* masks, size_t rows, size_t n, uint64_t* bits);
  float (*exp2)(float x);  // of one number, x <= 0 or NaN
  // q[dim] to CodesOfRow(dim) codes for keys of kInt8 or kInt4, and a scale for each kSumChunk.
  void (*quantize)(const float* q, size_t dim, DType keys, int16_t* codes, float* scales);
};

template <>
const AttentionKernels& KernelsOf<AttentionKernels>(int64_t target);

}  // namespace heed::inline v1
