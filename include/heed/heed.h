// heed: attention for CPUs, from C11 (or C++11) and from any language that calls C. Matrix product,
// softmax and attention, computed in f32, on tensors of f32, f16 and bf16 in the caller's memory,
// with the same bits for any number of threads, any batch, any chunking of a sequence and any CPU
// of a family.
//
// These headers are the manual of the C and of the C++ interface (heed/heed.hpp), which has the
// same functions, options and defaults: heed_attention_options is heed::AttentionOptions, and
// HEED_DTYPE_BF16 is heed::DType::kBF16.
//
//   c/status.h                errors as values
//   c/tensor.h                the caller's memory described
//   c/context.h               threads, instruction set, workspace
//   c/attention.h             attention: every option, and what keys and values may lie in
//   c/attention_state.h       parts of attention, merged
//   c/kv_cache.h              past keys and values, all or the last ones
//   c/paged_kv_cache.h        those of many sequences, in blocks of one pool
//   c/matmul.h                matrix product, and matrices packed for it
//   c/gguf.h                  quantized blocks of GGUF files, packed
//   c/quantize.h              8- and 4-bit numbers, and what storing a matrix so costs
//   c/softmax.h c/rope.h c/hadamard.h c/convert.h   other operations
//   c/multi_head_attention.h  a whole layer
//   c/region.h                calls whose tasks the host runs itself
//   c/info.h                  version, instruction sets, the constants of the bit contract
//
// What holds for all of them:
//
// A function that can refuse its arguments returns a heed_status and says why in its last argument,
// which may be null. Nothing prints, aborts or throws, and a call that is refused has written
// nothing. A null pointer is refused by name, except where it is said to mean something.
//
// A struct of options begins with struct_size, so that it can grow: programs that were compiled
// with an older heed.h go on working with a newer library. heed_..._init sets it and all defaults:
//
//   heed_attention_options options;
//   heed_attention_options_init(&options, sizeof options);
//   options.causal = true;
//
// A call takes what the caller's struct has, and defaults for what was added since. Fields that the
// library does not know must be 0. A null pointer to options means the defaults; configs and
// weights may not be null. What a function writes to such a struct it writes as far as struct_size
// says, so that is set beforehand, too.
//
// Structs without a struct_size are final: heed_tensor, heed_error, heed_memory, heed_parallel_for,
// the names heed_region and heed_paged_sequence, and heed_quantized_view, heed_gguf_matrix and
// heed_attention_state, of which arrays are given.
//
// In such a struct, what may be absent is a pointer, null by default, or a number with a has_ flag
// before it. What a pointer points to is read during the call alone, where nothing else is said.
//
// Handles (heed_context, heed_kv_cache, ...) are made by a function that writes a pointer, null
// where it fails, and given back to the heed_..._destroy of their kind, which takes null too. What
// asks a handle for a number gives 0 for a null one.
#pragma once

#include "heed/c/attention.h"             // IWYU pragma: export
#include "heed/c/attention_state.h"       // IWYU pragma: export
#include "heed/c/context.h"               // IWYU pragma: export
#include "heed/c/convert.h"               // IWYU pragma: export
#include "heed/c/gguf.h"                  // IWYU pragma: export
#include "heed/c/hadamard.h"              // IWYU pragma: export
#include "heed/c/info.h"                  // IWYU pragma: export
#include "heed/c/kv_cache.h"              // IWYU pragma: export
#include "heed/c/matmul.h"                // IWYU pragma: export
#include "heed/c/multi_head_attention.h"  // IWYU pragma: export
#include "heed/c/paged_kv_cache.h"        // IWYU pragma: export
#include "heed/c/quantize.h"              // IWYU pragma: export
#include "heed/c/region.h"                // IWYU pragma: export
#include "heed/c/rope.h"                  // IWYU pragma: export
#include "heed/c/softmax.h"               // IWYU pragma: export
#include "heed/c/status.h"                // IWYU pragma: export
#include "heed/c/tensor.h"                // IWYU pragma: export
