// Random weights of a layer in the types and memory layouts of checkpoints.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "heed/multi_head_attention.hpp"
#include "test/spec/layer.h"
#include "test/support/float16.h"
#include "test/support/layer.h"
#include "tools/conformance/random.h"
#include "tools/conformance/tensor.h"

namespace heed::test {

// Weights as a checkpoint stores them, kept alive until the layer has packed them.
class Stored {
 public:
  explicit Stored(const LayerForm& form) : form_(form) {}

  // A random map; `linear` gets the same numbers for the specification.
  LinearWeights Make(size_t in, size_t out, Random& random, spec::Linear* linear) {
    switch (form_.dtype) {
      case DType::kF16:
        return Make<f16>(in, out, random, linear);
      case DType::kBF16:
        return Make<bf16>(in, out, random, linear);
      default:
        return Make<float>(in, out, random, linear);
    }
  }

  // A random vector; `values` gets the same numbers. Absent unless `present`.
  TensorView Vector(bool present, size_t size, Random& random, std::vector<float>* values) {
    if (!present) return TensorView();
    switch (form_.dtype) {
      case DType::kF16:
        return MakeVector<f16>(size, random, values);
      case DType::kBF16:
        return MakeVector<bf16>(size, random, values);
      default:
        return MakeVector<float>(size, random, values);
    }
  }

 private:
  static float Wide(float x) { return x; }
  static float Wide(f16 x) { return Widen(x); }
  static float Wide(bf16 x) { return Widen(x); }

  static void Draw(float* x, Random& random, float scale) { *x = random.Normal() * scale; }
  // Any sign and mantissa, with exponents from 2^-7 to 1.
  static void Draw(f16* x, Random& random, float) {
    x->bits = static_cast<uint16_t>((random.Bits() & 0x83FF) | ((8 + random.Below(7)) << 10));
  }
  static void Draw(bf16* x, Random& random, float) {
    x->bits = static_cast<uint16_t>((random.Bits() & 0x807F) | ((120 + random.Below(7)) << 7));
  }

  template <class T>
  std::vector<Tensor<T>>& All() {
    if constexpr (sizeof(T) == 4) {
      return f32_;
    } else if constexpr (std::is_same_v<T, f16>) {
      return f16_;
    } else {
      return bf16_;
    }
  }

  template <class T>
  LinearWeights Make(size_t in, size_t out, Random& random, spec::Linear* linear) {
    const bool in_out = form_.layout == WeightLayout::kInOut;
    Tensor<T> weight(in_out ? std::vector<size_t>{in, out} : std::vector<size_t>{out, in},
                     form_.weight_layout);
    Tensor<T> bias({form_.bias ? out : 0}, form_.weight_layout);
    const float scale = 1.0f / std::sqrt(static_cast<float>(in));
    linear->in = in;
    linear->out = out;
    linear->weight.resize(in * out);
    for (size_t i = 0; i < in * out; ++i) {
      Draw(&weight[i], random, scale);
      linear->weight[in_out ? i : i % in * out + i / in] = Wide(weight[i]);
    }
    for (size_t i = 0; i < bias.size(); ++i) {
      Draw(&bias[i], random, 1.0f);
      linear->bias.push_back(Wide(bias[i]));
    }
    LinearWeights views;
    All<T>().push_back(std::move(weight));
    views.weight = All<T>().back().view();
    if (!form_.bias) return views;
    All<T>().push_back(std::move(bias));
    views.bias = All<T>().back().view();
    return views;
  }

  template <class T>
  TensorView MakeVector(size_t size, Random& random, std::vector<float>* values) {
    Tensor<T> vector({size}, form_.weight_layout);
    for (size_t i = 0; i < size; ++i) {
      Draw(&vector[i], random, 1.0f);
      values->push_back(Wide(vector[i]));
    }
    All<T>().push_back(std::move(vector));
    return All<T>().back().view();
  }

  const LayerForm& form_;
  std::vector<Tensor<float>> f32_;
  std::vector<Tensor<f16>> f16_;
  std::vector<Tensor<bf16>> bf16_;
};

}  // namespace heed::test
