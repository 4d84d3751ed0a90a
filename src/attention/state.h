// From the segments of a row to its result: the arithmetic that one thread or many share.
#pragma once

#include <cstddef>

#include "src/kernels/attention.h"

namespace heed {

// What some keys contribute to one row. acc has as many floats as the caller says.
struct RowPartial {
  float* max;
  float* sum;
  float* acc;
};

// What no keys contribute, n floats of acc.
void ClearRow(const RowPartial& row, size_t n);

// total = total joined with a later segment. A segment whose sum is 0 saw nothing and changes
// nothing; the first that saw something is copied.
void TakeSegment(const AttentionKernels& kernels, size_t n, const RowPartial& part,
                 const RowPartial& total);

// The sink is one more segment with a single key, a score and no value.
void TakeSink(const AttentionKernels& kernels, size_t n, float sink, const RowPartial& total);

// Where all scores are -inf (or there are none), 0 stands in for the maximum, so that exp gives 0.
float ShiftOf(float max);
float InverseOf(float sum);  // 0 for 0
float LogSumExp(float max, float sum);

}  // namespace heed
