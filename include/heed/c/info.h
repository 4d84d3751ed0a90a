// What this build of heed is, what it found on this machine, and the bit contract in numbers.
#pragma once

#include "heed/c/status.h"
#include "heed/version.h"  // IWYU pragma: export

#ifdef __cplusplus
extern "C" {
#endif

// Of the library that the program runs with, "0.1.0"; HEED_VERSION is that of the headers which it
// was compiled with.
HEED_API const char* heed_version(void);

// Two families of instruction sets, each with one answer to every problem: with fused multiply-add
// (AVX2 and up, NEON, SVE, RVV, ...) and without (SSE2 to SSE4, baseline WASM, scalar), where a
// product is rounded before it is added.
typedef int32_t heed_family;
enum { HEED_FAMILY_FMA = 0, HEED_FAMILY_MULTIPLY_ADD = 1 };
HEED_API const char* heed_family_name(heed_family family);  // "fma", "multiply-add"

// Instruction sets by name, best first. Both return the number of names and write at most `max` of
// them, none where `names` is null.
HEED_API size_t heed_compiled_targets(const char** names, size_t max);   // in this binary
HEED_API size_t heed_supported_targets(const char** names, size_t max);  // and on this CPU

// The family of a target by name; null: of the one that is used by default. Unknown names:
// HEED_FAMILY_MULTIPLY_ADD.
HEED_API heed_family heed_family_of(const char* target);

// Every output element of heed is one fixed chain of IEEE operations; these constants are part of
// that chain, so the same inputs give the same bits for any number of threads, batch, chunking of
// the sequence and instruction set of a family. A change to any of them, or to a chain, is a new
// numerics version. docs/numerics.md writes the chains out, and test/spec is the same as a program.
//
// A NaN is a NaN: its sign and payload are not part of the contract.
enum {
  HEED_NUMERICS_VERSION = 2,

  // heed_matmul and q.k sum in chunks of this many products: a chunk is one chain of fma from 0 in
  // ascending order, and the chunks are added in ascending order. 256 keeps a chunk of a 16-column
  // panel in L1.
  HEED_SUM_CHUNK = 256,

  // Attention takes keys in blocks that begin at multiples of this absolute key index; the running
  // maximum moves once per block. 24 rows of scores of a block are 12 KB.
  HEED_KEY_BLOCK = 128,

  // Blocks are grouped in segments that begin at multiples of this; each yields (max, sum, output)
  // and segments are merged in ascending order. Decode spreads the segments of one row over
  // threads.
  HEED_SEGMENT_KEYS = 1024,

  // Row sums of softmax: key j is added to lane j % 16, and lane i takes lane i + 8, then + 4, + 2,
  // + 1.
  HEED_SUM_LANES = 16,
};

// What a call with int8 or int4 operands is computed in.
typedef int32_t heed_compute;
enum {
  // The numbers that the elements stand for, in f32.
  HEED_COMPUTE_F32 = 0,
  // Their codes, times the other operand rounded to int16, in exact sums of integers: other results
  // than in f32, off by a 65000th of the largest magnitude that shares a scale. heed_matmul_options
  // and heed_attention_options have the operations.
  HEED_COMPUTE_INT16 = 1,
};

// HEED_NUMERICS_VERSION of the library that the program runs with.
HEED_API int32_t heed_numerics_version(void);

#ifdef __cplusplus
}
#endif
