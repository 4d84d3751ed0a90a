#include "src/attention/dropout.h"

#include "src/base/check.h"
#include "src/base/float_environment.h"

namespace heed::inline v1 {
namespace {

struct Words {
  uint32_t w[4];
};

// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11).
Words Philox(Words counter, uint64_t seed) {
  auto key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
  Words c = counter;
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53u} * c.w[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57u} * c.w[2];
    c = {{static_cast<uint32_t>(product1 >> 32) ^ c.w[1] ^ key0, static_cast<uint32_t>(product1),
          static_cast<uint32_t>(product0 >> 32) ^ c.w[3] ^ key1, static_cast<uint32_t>(product0)}};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return c;
}

}  // namespace

Status CheckDropoutProbability(float probability) {
  if (probability >= 0.0f && probability < 1.0f) return Status();
  return Status::Error(StatusCode::kInvalidArgument,
                       "dropout.probability: is %g, must be in [0, 1)",
                       static_cast<double>(probability));
}

void DropoutMultipliers(float probability, uint64_t seed, uint32_t batch, uint32_t head,
                        uint32_t query, size_t begin, size_t end, float* multiplier) {
  const auto threshold = static_cast<uint32_t>(static_cast<double>(probability) * 4294967296.0);
  const float kept = 1.0f / (1.0f - probability);
  Words words = {};
  for (size_t j = begin; j < end; ++j) {
    if (j == begin || j % 4 == 0) {
      words = Philox({{static_cast<uint32_t>(j / 4), query, head, batch}}, seed);
    }
    multiplier[j - begin] = words.w[j % 4] >= threshold ? kept : 0.0f;
  }
}

Status dropout_mask(float probability, uint64_t seed, const MutableTensorView& mask) {
  const FloatEnvironment environment;
  HEED_RETURN_IF_ERROR(CheckDropoutProbability(probability));
  HEED_RETURN_IF_ERROR(CheckOutput("mask", mask, DType::kF32, 4, 4));
  if (mask.num_elements() == 0) return Status();
  const size_t* shape = mask.shape;
  auto* data = static_cast<float*>(mask.mutable_data());
  for (size_t b = 0; b < shape[0]; ++b) {
    for (size_t h = 0; h < shape[1]; ++h) {
      for (size_t i = 0; i < shape[2]; ++i) {
        for (size_t j = 0; j < shape[3]; ++j) {
          float* to = data + static_cast<ptrdiff_t>(b) * mask.strides[0] +
                      static_cast<ptrdiff_t>(h) * mask.strides[1] +
                      static_cast<ptrdiff_t>(i) * mask.strides[2] +
                      static_cast<ptrdiff_t>(j) * mask.strides[3];
          const size_t query = shape[3] - shape[2] + i;
          DropoutMultipliers(probability, seed, static_cast<uint32_t>(b), static_cast<uint32_t>(h),
                             static_cast<uint32_t>(query), j, j + 1, to);
        }
      }
    }
  }
  return Status();
}

}  // namespace heed::inline v1
