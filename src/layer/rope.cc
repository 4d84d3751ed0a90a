#include "heed/rope.hpp"

#include <algorithm>
#include <cmath>

#include "src/base/check.h"
#include "src/base/context.h"
#include "src/base/float_environment.h"
#include "src/base/math.h"
#include "src/base/parallel.h"
#include "src/layer/rope.h"

namespace heed {
namespace {

// Cosine and sine of position * frequency, times `factor`, rounded from double.
void RopeAngles(int32_t position, const double* frequencies, double factor, size_t pairs,
                float* cos, float* sin) {
  for (size_t t = 0; t < pairs; ++t) {
    double s = 0, c = 0;
    SinCos(static_cast<double>(position) * frequencies[t], &s, &c);
    sin[t] = static_cast<float>(s * factor);
    cos[t] = static_cast<float>(c * factor);
  }
}

Status CheckPositionsShape(const TensorView& positions, size_t batch, size_t len) {
  HEED_RETURN_IF_ERROR(CheckInput("positions", positions, DType::kI32, 1, 2));
  const bool shared = positions.rank == 1;
  if (positions.shape[positions.rank - 1] != len || (!shared && positions.shape[0] != batch)) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "positions: shape is %s, must be [%zu] or [%zu, %zu]",
                         ShapeText(positions).text, len, batch, len);
  }
  return Status();
}

}  // namespace

Status CheckPositions(const TensorView& positions, size_t batch, size_t len) {
  HEED_RETURN_IF_ERROR(CheckPositionsShape(positions, batch, len));
  const bool shared = positions.rank == 1;
  for (size_t b = 0; b < (shared ? 1 : batch); ++b) {
    for (size_t i = 0; i < len; ++i) {
      if (PositionAt(positions, b, i) < 0) {
        return Status::Error(StatusCode::kInvalidArgument,
                             "positions: %d at [%zu, %zu] is negative", PositionAt(positions, b, i),
                             b, i);
      }
    }
  }
  return Status();
}

int32_t PositionAt(const TensorView& positions, size_t batch, size_t i) {
  const auto* data = static_cast<const int32_t*>(positions.data);
  ptrdiff_t offset = static_cast<ptrdiff_t>(i) * positions.strides[positions.rank - 1];
  if (positions.rank == 2) offset += static_cast<ptrdiff_t>(batch) * positions.strides[0];
  return data[offset];
}

Status CheckRope(const RopeOptions& options, size_t head_dim, size_t* rope_dim) {
  *rope_dim = options.rope_dim == 0 ? head_dim : options.rope_dim;
  if (*rope_dim > head_dim || *rope_dim % 2 != 0) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "rope_dim: is %zu, must be even and at most head_dim, %zu", *rope_dim,
                         head_dim);
  }
  if (!std::isfinite(options.theta) || options.theta < 1.0 || options.theta > 1e30) {
    return Status::Error(StatusCode::kInvalidArgument, "theta: is %g, must be in [1, 1e30]",
                         options.theta);
  }
  return CheckRopeScaling(options);
}

Status rope(const TensorView& x, const TensorView& positions, const MutableTensorView& y,
            const RopeOptions& options, Context& context) {
  const FloatEnvironment environment;
  HEED_RETURN_IF_ERROR(CheckContext(context));
  HEED_RETURN_IF_ERROR(CheckInput("x", x, DType::kF32, 3, 4));
  HEED_RETURN_IF_ERROR(CheckRowOutput("y", y, 3, 4));
  if (x.rank != y.rank || !std::equal(x.shape, x.shape + x.rank, y.shape)) {
    return Status::Error(StatusCode::kInvalidArgument, "y: shape is %s, must be that of x, %s",
                         ShapeText(y).text, ShapeText(x).text);
  }
  const size_t first = x.rank - 3;  // of seq, heads, head_dim
  const size_t batch = first == 1 ? x.shape[0] : 1, len = x.shape[first],
               heads = x.shape[first + 1], head_dim = x.shape[first + 2];
  if (head_dim > 1 && x.strides[first + 2] != 1) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "x: stride of the last dimension is %td, must be 1", x.strides[first + 2]);
  }
  if (!SameView(x, y)) HEED_RETURN_IF_ERROR(CheckNoOverlap("y", y, "x", x));
  size_t rope_dim = 0;
  HEED_RETURN_IF_ERROR(CheckRope(options, head_dim, &rope_dim));
  // Positions of no element are not read: with strides of 0 there may be any number of them.
  if (x.num_elements() == 0) return CheckPositionsShape(positions, batch, len);
  HEED_RETURN_IF_ERROR(CheckPositions(positions, batch, len));
  HEED_RETURN_IF_ERROR(CheckNoOverlap("y", y, "positions", positions));

  Context::Impl& impl = *context.impl();
  const size_t pairs = rope_dim / 2, tokens = batch * len;
  constexpr double kFlopsPerAngle = 100;
  const size_t workers = WorkersFor(impl, tokens,
                                    static_cast<double>(tokens) * static_cast<double>(pairs) *
                                        (kFlopsPerAngle + 6.0 * static_cast<double>(heads)));
  // Frequencies in double, then a cosine and a sine per worker and pair.
  const size_t floats = 2 * pairs + workers * 2 * pairs;
  float* workspace = impl.Reserve(Buffer::kRope, floats);
  if (workspace == nullptr) return OutOfMemory("workspace", floats, sizeof(float));
  auto* frequencies = reinterpret_cast<double*>(workspace);
  const double factor = RopeFrequencies(options, rope_dim, frequencies);
  const auto rotate = options.interleaved ? impl.rope->interleaved : impl.rope->half;
  return ForEachTask(impl, tokens, workers, [&](size_t token, size_t worker) {
    float* cos = workspace + 2 * pairs + worker * 2 * pairs;
    float* sin = cos + pairs;
    const size_t b = token / len, i = token % len;
    RopeAngles(PositionAt(positions, b, i), frequencies, factor, pairs, cos, sin);
    const auto offset = [&](const TensorView& view) {
      return (first == 1 ? static_cast<ptrdiff_t>(b) * view.strides[0] : 0) +
             static_cast<ptrdiff_t>(i) * view.strides[first];
    };
    for (size_t h = 0; h < heads; ++h) {
      const float* from = static_cast<const float*>(x.data) + offset(x) +
                          static_cast<ptrdiff_t>(h) * x.strides[first + 1];
      float* to = static_cast<float*>(y.mutable_data()) + offset(y) +
                  static_cast<ptrdiff_t>(h) * y.strides[first + 1];
      rotate(from, cos, sin, pairs, to);
      if (from != to) std::copy(from + rope_dim, from + head_dim, to + rope_dim);
    }
  });
}

}  // namespace heed
