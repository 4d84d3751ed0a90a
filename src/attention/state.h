// From the segments of a row to its result: the arithmetic that one thread or many share.
#pragma once

#include <cstddef>

#include "heed/attention_state.hpp"
#include "src/base/heads_view.h"
#include "src/kernels/attention.h"

namespace heed::inline v1 {

// What some keys contribute to one row, with its maximum in base 2. acc has as many floats as the
// caller says.
struct RowPartial {
  float* max;
  float* sum;
  float* acc;
};

// Where the partial of a row and segment lies.
struct StateView {
  AttentionState views;

  RowPartial At(size_t segment, size_t b, size_t h, size_t i) const {
    return {&MutableAt<float>(views.max, segment, b, h, i),
            &MutableAt<float>(views.sum, segment, b, h, i),
            &MutableAt<float>(views.acc, segment, b, i, h)};
  }
};

// What no keys contribute, n floats of acc.
void ClearRow(const RowPartial& row, size_t n);

// total = total joined with a later segment. A segment whose sum is 0 saw nothing and changes
// nothing; the first that saw something is copied.
void TakeSegment(const AttentionKernels& kernels, size_t n, const RowPartial& part,
                 const RowPartial& total);

// The sink is one more segment with a single key, a score (a natural logarithm) and no value.
void TakeSink(const AttentionKernels& kernels, size_t n, float sink, const RowPartial& total);

// Where all scores are -inf (or there are none), 0 stands in for the maximum, so that 2^x gives
// 0.
float ShiftOf(float max);
float InverseOf(float sum);  // 0 for 0
// log(e^max * sum), `max` a natural logarithm.
float LogSumExp(double max, float sum);

}  // namespace heed::inline v1
