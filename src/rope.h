// Pieces of RoPE that the layer uses too.
#pragma once

#include <cstddef>
#include <cstdint>

#include "heed/rope.hpp"

namespace heed {

Status CheckRope(const RopeOptions& options, size_t head_dim, size_t* rope_dim);
Status CheckPositions(const TensorView& positions, size_t batch, size_t len);
int32_t PositionAt(const TensorView& positions, size_t batch, size_t i);

// theta^(-2t / rope_dim) for t < rope_dim / 2.
void RopeFrequencies(double theta, size_t rope_dim, double* frequencies);

// Cosine and sine of position * frequency, rounded from double.
void RopeAngles(int32_t position, const double* frequencies, size_t pairs, float* cos, float* sin);

}  // namespace heed
