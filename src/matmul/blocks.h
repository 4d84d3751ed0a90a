// Products cut into blocks that stay in the caches.
#pragma once

#include <cstddef>

#include "heed/matmul.hpp"
#include "src/base/context.h"

namespace heed {

// c[m, n] = a[m, k] b (+ bias), shapes checked.
struct Product2d {
  const float* a;
  ptrdiff_t a_row, a_k;
  float* c;
  ptrdiff_t c_row;
  const float* bias;
  size_t m, n, k;
};

inline double Flops(const Product2d& p) {
  return 2.0 * static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k);
}

// A matrix that is given as it is.
struct PlainMatrix {
  const float* data;
  ptrdiff_t k_stride, column_stride;

  const float* at(size_t k, size_t column) const {
    return data + static_cast<ptrdiff_t>(k) * k_stride +
           static_cast<ptrdiff_t>(column) * column_stride;
  }
};

// m, n and k at least 1. Errors: kOutOfMemory, before anything is written.
Status MultiplyBlocks(const Product2d& p, const PackedMatrix& b, Context::Impl& context);
Status MultiplyBlocks(const Product2d& p, const PlainMatrix& b, Context::Impl& context);

}  // namespace heed
