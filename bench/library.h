// A library that can do the work: heed, or a rival. What a user of it does once (packing weights,
// filling a cache, creating primitives) happens when a Run is made; what is done each time happens
// in the Run.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/problem.h"
#include "heed/heed.hpp"

namespace heed::bench {

using Run = std::function<Status()>;

// c = a b, all row-major and contiguous.
struct MatmulArgs {
  MatmulShape shape;
  const float* a = nullptr;
  const float* b = nullptr;
  float* c = nullptr;
  bool pack = false;  // b may be put in the library's own order beforehand
};

// y = softmax of each row of x.
struct SoftmaxArgs {
  size_t rows = 0, cols = 0;
  const float* x = nullptr;
  float* y = nullptr;
};

// head_dim contiguous floats for each token and head.
struct Heads {
  const float* data = nullptr;
  size_t token_stride = 0, head_stride = 0;  // in elements
};

struct AttentionArgs {
  AttentionShape shape;
  Heads q, k, v;
  float* out = nullptr;  // [q_len, num_heads, head_dim], contiguous
  bool cache = false;    // k and v may be put in the library's own order beforehand
};

// y = attention layer of x, weights [in, out] with the columns of q, k and v side by side; no
// biases.
struct LayerArgs {
  LayerShape shape;
  const float* x = nullptr;       // [seq, width]
  const float* w_qkv = nullptr;   // [width, 3 * width]
  const float* w_out = nullptr;   // [width, width]
  const float* k_past = nullptr;  // [num_heads, past, head_dim]
  const float* v_past = nullptr;
  float* y = nullptr;  // [seq, width]
};

enum class Operation { kMatmul, kPackedMatmul, kSoftmax, kAttention };

class Library {
 public:
  virtual ~Library() = default;
  virtual const char* name() const = 0;
  virtual bool has(Operation operation) const = 0;

  // Puts the library's thread setting in force. Call before making and before timing a Run.
  virtual void use_threads() const = 0;

  // The Run holds what it needs of the library's own; the buffers stay the caller's. Only for
  // operations that it has. May also throw what the library throws.
  virtual Result<Run> matmul(const MatmulArgs& args) const = 0;
  virtual Result<Run> softmax(const SoftmaxArgs& args) const = 0;
  virtual Result<Run> attention(const AttentionArgs& args) const = 0;

  // What it holds of its own for what it has run, where it says; else 0.
  virtual size_t workspace_bytes() const { return 0; }

  // By default made of the library's own packed matmul and attention.
  virtual Result<Run> layer(const LayerArgs& args) const;
};

// `target` null: the best one.
std::shared_ptr<const Library> make_heed(size_t threads, const char* target);
std::shared_ptr<const Library> make_heed(std::shared_ptr<Context> context);

// heed's matmul and softmax around the whole matrix of scores.
std::shared_ptr<const Library> make_unfused(size_t threads, const char* target);

#if defined(HEED_BENCH_ONEDNN)
std::string onednn_version();
std::shared_ptr<const Library> make_onednn(size_t threads);
#endif

#if defined(HEED_BENCH_OPENBLAS)
std::string openblas_version();
// `target`: of heed's softmax, which stands between the products.
std::shared_ptr<const Library> make_openblas(size_t threads, const char* target);
#endif

// heed first, then the unfused baseline and the rivals that were found.
std::vector<std::shared_ptr<const Library>> make_libraries(size_t threads, const char* target);

}  // namespace heed::bench
