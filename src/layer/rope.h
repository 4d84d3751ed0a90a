// Pieces of RoPE that the layer uses too.
#pragma once

#include <cstddef>
#include <cstdint>

#include "heed/rope.hpp"

namespace heed {

Status CheckRope(const RopeOptions& options, size_t head_dim, size_t* rope_dim);
Status CheckPositions(const TensorView& positions, size_t batch, size_t len);
int32_t PositionAt(const TensorView& positions, size_t batch, size_t i);

// The frequencies of t < rope_dim / 2, scaled. Returns what multiplies the cosines and sines.
double RopeFrequencies(const RopeOptions& options, size_t rope_dim, double* frequencies);

Status CheckRopeScaling(const RopeOptions& options);

}  // namespace heed
