// The bit contract in numbers. Every output element of heed is one fixed chain of IEEE operations;
// these constants are part of that chain, so the same inputs give the same bits for any number of
// threads, batch, chunking of the sequence and instruction set of a family (see family()). A change
// to any of them, or to a chain, is a new kNumericsVersion. docs/numerics.md writes the chains out,
// and test/spec is the same as a program.
//
// A NaN is a NaN: its sign and payload are not part of the contract.
#pragma once

#include <cstddef>
#include <cstdint>

namespace heed::inline v1 {

inline constexpr int32_t kNumericsVersion = 2;

// matmul and q.k sum in chunks of this many products: a chunk is one chain of fma from 0 in
// ascending order, and the chunks are added in ascending order. 256 keeps a chunk of a 16-column
// panel in L1.
inline constexpr size_t kSumChunk = 256;

// Attention takes keys in blocks that begin at multiples of this absolute key index; the running
// maximum moves once per block. 24 rows of scores of a block are 12 KB.
inline constexpr size_t kKeyBlock = 128;

// Blocks are grouped in segments that begin at multiples of this; each yields (max, sum, output)
// and segments are merged in ascending order. Decode spreads the segments of one row over threads.
inline constexpr size_t kSegmentKeys = 1024;

// Row sums of softmax: key j is added to lane j % 16, and lane i takes lane i + 8, then + 4, + 2,
// + 1.
inline constexpr size_t kSumLanes = 16;

// What a call with int8 or int4 operands is computed in.
enum class Compute : uint8_t {
  // The numbers that the elements stand for, in f32.
  kF32,
  // Their codes, times the other operand rounded to int16, in exact sums of integers: other results
  // than kF32's, off by a 65000th of the largest magnitude that shares a scale. MatmulOptions and
  // AttentionOptions have the operations.
  kInt16,
};

}  // namespace heed::inline v1
