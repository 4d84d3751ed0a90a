// oneDNN's matrix product and softmax in f32, where heed is built with it. Both throw dnnl::error.
#pragma once

#include <cstddef>

namespace heed::tools {

// c [m, n] = alpha a [m, k] b, rows of a, b and c `lda`, `ldb` and `ldc` apart; b is [k, n], or
// [n, k] when it is to be transposed.
void onednn_gemm(bool transpose_b, size_t m, size_t n, size_t k, float alpha, const float* a,
                 size_t lda, const float* b, size_t ldb, float* c, size_t ldc);

// Of each row, in place.
void onednn_softmax(size_t rows, size_t columns, float* x);

}  // namespace heed::tools
