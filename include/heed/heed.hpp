// heed: attention for CPUs. Matrix product, softmax and attention, computed in f32, on tensors of
// f32, f16 and bf16 in the caller's memory, with the same bits for any number of threads, any
// batch, any chunking of a sequence and any CPU of a family.
//
// heed/heed.h, for C, is the manual: these headers have the same functions, options, defaults and
// order of fields as C++ types, and say what C's name is where it is not plain. What differs:
//
//   A function returns a Status, or a Result that holds a value or a Status.
//   Handles are classes that can be moved.
//   What may be absent is an absent view, an empty std::optional or a default-constructed struct,
//   where C has a null pointer or a flag; several functions of C may be one that is overloaded.
//
//   status.hpp                errors as values
//   tensor.hpp                views of the caller's memory
//   context.hpp               threads, instruction set, workspace
//   matmul.hpp softmax.hpp rope.hpp attention.hpp convert.hpp   operations
//   attention_state.hpp       parts of attention, merged
//   kv_cache.hpp              past keys and values, all or the last ones
//   paged_kv_cache.hpp        those of many sequences, in blocks of one pool
//   multi_head_attention.hpp  a whole layer
//   region.hpp                calls whose tasks the host runs itself
//   quantize.hpp              8- and 4-bit numbers, and what storing a matrix so costs
//   gguf.hpp                  quantized blocks of GGUF files, packed
//   hadamard.hpp              queries and keys rotated, so that fewer bits hold them
//   numerics.hpp              the constants of the bit contract
//   info.hpp                  version, instruction sets
#pragma once

#include "heed/attention.hpp"             // IWYU pragma: export
#include "heed/attention_state.hpp"       // IWYU pragma: export
#include "heed/context.hpp"               // IWYU pragma: export
#include "heed/convert.hpp"               // IWYU pragma: export
#include "heed/gguf.hpp"                  // IWYU pragma: export
#include "heed/hadamard.hpp"              // IWYU pragma: export
#include "heed/info.hpp"                  // IWYU pragma: export
#include "heed/kv_cache.hpp"              // IWYU pragma: export
#include "heed/matmul.hpp"                // IWYU pragma: export
#include "heed/multi_head_attention.hpp"  // IWYU pragma: export
#include "heed/numerics.hpp"              // IWYU pragma: export
#include "heed/paged_kv_cache.hpp"        // IWYU pragma: export
#include "heed/quantize.hpp"              // IWYU pragma: export
#include "heed/region.hpp"                // IWYU pragma: export
#include "heed/rope.hpp"                  // IWYU pragma: export
#include "heed/softmax.hpp"               // IWYU pragma: export
#include "heed/status.hpp"                // IWYU pragma: export
#include "heed/tensor.hpp"                // IWYU pragma: export
