// A small valid call of each entry point with every view it takes, for tests that go over them all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "heed/heed.hpp"
#include "src/attention/options.h"

namespace heed::test {

// A view that a call is given: where it stands among the arguments, and what lies in its memory.
struct CallView {
  std::string name;  // as errors have it
  TensorView* view;
  bool output;
  std::string may_be;  // the input that this output may be itself
  std::vector<char> contents;
};

// Views point into the call itself.
struct Call {
  explicit Call(const char* entry_point) : entry(entry_point) {}
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  void Add(const char* name, TensorView& view, DType dtype, const std::vector<size_t>& sizes,
           bool output, const char* may_be = "");
  void AddIn(const char* name, TensorView& view, const std::vector<size_t>& sizes) {
    Add(name, view, DType::kF32, sizes, false);
  }
  void AddOut(const char* name, MutableTensorView& view, const std::vector<size_t>& sizes,
              const char* may_be = "") {
    Add(name, view, DType::kF32, sizes, true, may_be);
  }
  // Gives an i32 input its values.
  void Fill(const char* name, const std::vector<int32_t>& values);

  const char* entry;
  std::vector<CallView> views;
  std::function<Status(Context&)> run;

  TensorView q, k, v;
  MutableTensorView out, lse;
  AttentionOptions options;
  PagedKv paged;
  AttentionState state, other;
  ForwardOptions forward;
  std::optional<KvCache> cache;
  std::optional<PagedKvCache> paged_cache;
  std::optional<MultiHeadAttention> layer;
};

// An attention call of these forms, with the options for which `wanted` is true. Batch 2, heads 4/2.
std::unique_ptr<Call> AttentionCall(uint32_t forms,
                                    const std::function<bool(const OptionView&)>& wanted);
inline std::string TextOf(uint32_t forms) {
  std::string text = "attention";
  if ((forms & kPacked) != 0) text += ", packed";
  if ((forms & kRing) != 0) {
    text += ", ring";
  } else if ((forms & kCache) != 0) {
    text += ", cache";
  }
  if ((forms & kPages) != 0) text += ", pages";
  if ((forms & kPartOfKeys) != 0) text += ", part";
  return text;
}

// What a call can be.
inline constexpr uint32_t kAllForms[] = {0,      kPacked,          kCache,     kCache | kRing,
                                         kPages, kPages | kPacked, kPartOfKeys};

// Every entry point that writes to memory of the caller: attention in all forms with every option
// that they take, and the others.
std::vector<std::unique_ptr<Call>> AllCalls();

}  // namespace heed::test
