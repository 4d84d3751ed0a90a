// Tensors: how callers hand their own memory to heed.
#pragma once

#include "heed/c/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// int8 and int4 are quantized elements: codes, whose scales lie beside them. Caches and packed
// matrices store them. Of tensors, those of keys and values (heed_attention) and of codes
// (heed_quantized_view) have them; an element of a tensor of int4 is a byte of two codes in two's
// complement, the first in the low nibble, so that n codes are (n + 1) / 2 of them.
//
// f16 (IEEE 754 binary16) and bf16 (the upper half of an f32) are storage formats of 16 bits. heed
// widens them to f32 exactly when it loads them.
//
// A build can be without some of f16, bf16, int8 and int4 (docs/building.md, `formats`). Keys,
// values and weights in such a type are refused with HEED_UNSUPPORTED, and nothing is
// written.
typedef int32_t heed_dtype;
enum {
  HEED_DTYPE_F32 = 0,
  HEED_DTYPE_F16 = 1,
  HEED_DTYPE_BF16 = 2,
  HEED_DTYPE_I32 = 3,
  HEED_DTYPE_U8 = 4,
  HEED_DTYPE_INT8 = 5,
  HEED_DTYPE_INT4 = 6,
};

HEED_API size_t heed_dtype_size(heed_dtype dtype);       // bytes of an element; 0: no such type
HEED_API const char* heed_dtype_name(heed_dtype dtype);  // "f32", "f16", "bf16", "i32", ...

enum { HEED_MAX_RANK = 5 };

// A tensor in the caller's memory, to be read or written: element (i, j, ...) is at data + i *
// strides[0] + j * strides[1] + ..., strides counted in elements; they may be 0 or negative. Data
// is aligned as its elements are. It owns nothing. An empty tensor (some size is 0) may have null
// data. One of all zeros is absent, as a null pointer to it is: optional arguments take it to mean
// "not given".
typedef struct heed_tensor {
  void* data;  // not written through where the tensor is an input
  heed_dtype dtype;
  size_t rank;  // at most HEED_MAX_RANK
  size_t shape[5];
  ptrdiff_t strides[5];
} heed_tensor;

// Fills a tensor. heed_tensor_contiguous makes it row-major and contiguous. Impossible arguments (a
// rank above HEED_MAX_RANK, null sizes or steps of a rank above 0) give it the rank SIZE_MAX, which
// every function refuses. A null tensor is left alone.
HEED_API void heed_tensor_contiguous(heed_tensor* tensor, const void* data, heed_dtype dtype,
                                     size_t rank, const size_t* sizes);
HEED_API void heed_tensor_strided(heed_tensor* tensor, const void* data, heed_dtype dtype,
                                  size_t rank, const size_t* sizes, const ptrdiff_t* steps);

// The product of the sizes, SIZE_MAX if it overflows; 1 for rank 0; 0 for a null pointer.
HEED_API size_t heed_tensor_num_elements(const heed_tensor* tensor);

// Changes a tensor in place: two dimensions exchanged, or [begin, end) of one dimension. What is
// not possible (a dimension that it lacks, an end before the begin, past the size or beyond the
// address space) gives it the rank SIZE_MAX.
HEED_API void heed_tensor_transpose(heed_tensor* tensor, size_t dim0, size_t dim1);
HEED_API void heed_tensor_slice(heed_tensor* tensor, size_t dim, size_t begin, size_t end);

#ifdef __cplusplus
}
#endif
