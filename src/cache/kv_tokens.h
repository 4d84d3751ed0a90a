// New keys and values on their way into a cache.
#pragma once

#include <cstddef>

#include "heed/status.hpp"
#include "heed/tensor.hpp"
#include "src/base/context.h"
#include "src/base/heads_view.h"
#include "src/base/rows.h"

namespace heed::inline v1 {

// In the caller's memory, whether or not batch was given. Of f32, f16 or bf16.
struct KvTokens {
  HeadsView keys, values;

  bool f32() const { return keys.dtype == DType::kF32 && values.dtype == DType::kF32; }
};

// Tokens as f32, one head of one token at a time.
class WidenedTokens {
 public:
  // Floats that hold a token's key and value.
  static size_t Floats(const KvTokens& tokens) { return tokens.keys.dim + tokens.values.dim; }

  WidenedTokens(const WidenKernels& kernels, const KvTokens& tokens)
      : tokens_(tokens),
        read_key_(kernels, tokens.keys.dtype, tokens.keys.dim_stride),
        read_value_(kernels, tokens.values.dtype, tokens.values.dim_stride) {}

  // In `floats`: a single token, which every sequence and head reads.
  KvTokens Read(size_t sequence, size_t i, size_t head, float* floats) const;
  // A row of f32 that lies side by side: the token's own, or a copy of it in `floats`.
  const float* Key(size_t sequence, size_t i, size_t head, float* floats) const {
    return Row(tokens_.keys, read_key_, sequence, i, head, floats);
  }
  const float* Value(size_t sequence, size_t i, size_t head, float* floats) const {
    return Row(tokens_.values, read_value_, sequence, i, head, floats);
  }

 private:
  static const float* Row(const HeadsView& of, const RowReader& reader, size_t sequence, size_t i,
                          size_t head, float* floats) {
    if (of.dtype == DType::kF32 && of.dim_stride == 1) return of.row(sequence, i, head);
    reader(of.at(sequence, i, head), of.dim, floats);
    return floats;
  }

  const KvTokens& tokens_;
  RowReader read_key_, read_value_;
};

// Checks k [batch, seq, num_kv_heads, head_dim] and v [batch, seq, num_kv_heads, v_head_dim]; batch
// may be left out when it is 1.
Status CheckKvTokens(const TensorView& k, const TensorView& v, size_t batch, size_t num_kv_heads,
                     size_t head_dim, size_t v_head_dim, KvTokens* tokens);

// What it is worth to copy them with several threads.
size_t WorkersForTokens(const Context::Impl& context, size_t num_tasks, const KvTokens& tokens);

}  // namespace heed::inline v1
