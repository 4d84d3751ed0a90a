// A whole attention layer in float64 by its definition: plain loops and libm.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "heed/rope.hpp"
#include "test/spec/layer.h"

namespace heed::test {

// y [batch, seq, d_out] of x [batch, seq, d_in] at positions [batch, seq].
std::vector<double> LayerReference(const spec::Layer& layer, const std::vector<float>& x,
                                   size_t batch, size_t seq, const std::vector<int32_t>& positions);

// Radians per position of pair t.
double RopeFrequency(const RopeOptions& options, size_t rope_dim, size_t t);

// What multiplies cosine and sine.
double RopeFactor(const RopeScaling& scaling);

}  // namespace heed::test
