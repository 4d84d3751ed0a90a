// The room of kernels: arithmetic that is compiled once per instruction set, in NAME.cc and
// NAME-inl.h, with its tables of functions in NAME.h. Kernels know pointers and sizes, and
// neither threads nor memory.
//
// Here is how packed operands lie in memory, for the code that packs them and the kernels that
// read them. docs/layouts.md has the layouts of other types than f32, and why they are as they
// are.
#pragma once

#include <cstddef>

#include "heed/numerics.hpp"

namespace heed::inline v1 {

// The right operand of a product (weights, keys, values) lies in panels of 16 columns,
// [columns / 16][depth][16]: one to four vectors wide on every target, so that a packed matrix or
// cache does not depend on the target.
inline constexpr size_t kPanel = 16;

// The left operand (rows of x, queries) lies in tiles of up to 6 rows, [rows / 6][depth][6]; the
// last ones are as narrow as their rows.
inline constexpr size_t kTileRows = 6;

// Rows of the tallest register tile, which takes two of those tiles together.
inline constexpr size_t kMaxRegisterRows = 12;

// Packed buffers are padded to what the widest register tile (two vectors of 16 lanes) may touch.
inline constexpr size_t kColumnPad = 32;

inline constexpr size_t kLineFloats = 16;  // of a cache line
inline constexpr size_t kLineBytes = kLineFloats * sizeof(float);

constexpr size_t RoundUp(size_t n, size_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}
constexpr size_t CeilDiv(size_t n, size_t divisor) { return n / divisor + (n % divisor != 0); }

}  // namespace heed::inline v1
