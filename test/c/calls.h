// Calls of heed's C interface, compiled as C: each computes what test/c/calls_test.cc computes
// through C++. Sizes are fixed, so that a call is its inputs and its results.
#pragma once

#include "heed/heed.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
  BATCH = 2,
  Q_LEN = 3,
  KV_LEN = 5,
  HEADS = 4,
  KV_HEADS = 2,
  DIM = 8,
  QUERIES = BATCH * Q_LEN * HEADS * DIM,   // elements of q and of out
  KEYS = BATCH * KV_LEN * KV_HEADS * DIM,  // of k and of v
  LSE = BATCH * HEADS * Q_LEN,
  LONG_LEN = 1100,  // keys of two segments
  IN = 64,
  OUT = 40,
  ROWS = 7,
};

// Numbers to compute with, and where a call of C finds its context.
typedef struct Inputs {
  float q[QUERIES], k[KEYS], v[KEYS];
  float mask[HEADS * Q_LEN * KV_LEN], slopes[HEADS], sinks[HEADS];
  int32_t prefix_lens[BATCH], kv_lens[BATCH];
  uint8_t key_mask[BATCH * KV_LEN], tree_mask[Q_LEN * Q_LEN];
  float long_k[LONG_LEN * KV_HEADS * DIM], long_v[LONG_LEN * KV_HEADS * DIM];
  float a[ROWS * IN], b[IN * OUT], bias[OUT];
  int8_t codes[IN * OUT];
  float scales[IN / 32 * OUT];
  uint8_t blocks[OUT * IN / 32 * 34];  // Q8_0
  int32_t positions[Q_LEN];
  heed_context* context;
  heed_error error;
} Inputs;

typedef struct AttentionResults {
  float out[QUERIES], lse[LSE], weights[LSE * KV_LEN], key_scores[BATCH * HEADS * KV_LEN];
} AttentionResults;

typedef struct LayerResults {
  float whole[Q_LEN * IN], region[Q_LEN * IN], tokens[Q_LEN * IN], lse[HEADS * Q_LEN];
  size_t length, bytes, d_out;
} LayerResults;

heed_status CallAttention(Inputs* in, AttentionResults* results);
heed_status CallTree(Inputs* in, float* out);
heed_status CallPacked(Inputs* in, float* out);  // cu_seqlens
heed_status CallQuantizedKeys(Inputs* in, float* out);
heed_status CallCache(Inputs* in, float* out);  // two appends, one truncated, a ring
heed_status CallPaged(Inputs* in, float* out);  // a sequence and its fork
heed_status CallParts(Inputs* in, float* out, float* lse);
heed_status CallMergeResults(Inputs* in, float* out, float* lse);
heed_status CallMasks(Inputs* in, float* slopes, float* dropped);
heed_status CallMatmul(Inputs* in, float* c);           // b transposed, with a bias
heed_status CallPackedMatrix(Inputs* in, float* c);     // int4, saved and mapped
heed_status CallQuantizedMatrix(Inputs* in, float* c);  // int8, in int16
heed_status CallGguf(Inputs* in, float* c, float* y);
heed_status CallSoftmax(Inputs* in, float* y);
heed_status CallRope(Inputs* in, float* y);
heed_status CallHadamard(Inputs* in, float* y);
heed_status CallConvert(Inputs* in, uint16_t* y);  // to bf16
heed_status CallQuantize(Inputs* in, int8_t* codes, float* scales, float* rms, float* y,
                         heed_quantization_error* totals);   // two
heed_status CallRegions(Inputs* in, float* out, float* c);   // attention, a packed product
heed_status CallInMemory(Inputs* in, float* out, float* c);  // the same, all in static memory
heed_status CallLayer(Inputs* in, LayerResults* results);

#ifdef __cplusplus
}
#endif
