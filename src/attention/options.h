// The views of AttentionOptions, as one table: checks of shapes, overlaps and of what can't be used
// together go through it, and so do tests. attention.hpp has it in words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>

#include "heed/attention.hpp"
#include "heed/status.hpp"
#include "heed/tensor.hpp"

namespace heed::inline v1 {

struct AttentionPlan;

// What a call computes on, as far as options depend on it. One call may be several.
enum Form : uint32_t {
  kPacked = 1,       // cu_seqlens_q is given
  kCache = 2,        // against a KvCache
  kRing = 4,         // which is a ring
  kPages = 8,        // against a PagedKv
  kPartOfKeys = 16,  // attention_partial()
};

enum class Use : uint8_t {
  kInput,
  kOutput,
  kRowOutput,  // its last dimension has unit stride
};

// The size of a dimension. kRows: of all sequences together when they are packed.
enum class Extent : uint8_t {
  kNone,
  kOffsets,  // batch + 1
  kHeads,
  kOneOrHeads,
  kQueries,
  kRows,
  kKeys,
  kChosenHeads,    // as many as weights_heads names; absent: kHeads
  kChosenQueries,  // likewise
  kAsCodes,        // scales, which are checked with the codes that they belong to
  kAny,
};

// Whether the batch stands before the other dimensions.
enum class Lead : uint8_t { kNone, kBatch, kMaybeBatch, kBatchUnlessPacked };

struct OptionView {
  const char* name;
  const TensorView& (*of)(const AttentionOptions& options);
  Use use;
  DType dtype;
  DType other_dtype;  // also taken
  Lead lead;
  Extent extents[3];        // up to the first kNone
  uint32_t refused_by = 0;  // Forms
};

template <auto member>
const TensorView& Option(const AttentionOptions& options) {
  return options.*member;
}
inline const TensorView& DropoutMask(const AttentionOptions& options) {
  return options.dropout.mask;
}

// clang-format off
inline constexpr OptionView kOptionViews[] = {
    {"alibi_slopes", Option<&AttentionOptions::alibi_slopes>, Use::kInput,
     DType::kF32, DType::kF32, Lead::kNone, {Extent::kHeads}, 0},
    {"sinks", Option<&AttentionOptions::sinks>, Use::kInput,
     DType::kF32, DType::kF32, Lead::kNone, {Extent::kHeads}, kPartOfKeys},
    {"prefix_lens", Option<&AttentionOptions::prefix_lens>, Use::kInput,
     DType::kI32, DType::kI32, Lead::kBatch, {}, kRing},
    {"kv_lens", Option<&AttentionOptions::kv_lens>, Use::kInput,
     DType::kI32, DType::kI32, Lead::kBatch, {}, kPacked | kRing | kPages},
    {"key_mask", Option<&AttentionOptions::key_mask>, Use::kInput,
     DType::kU8, DType::kU8, Lead::kBatch, {Extent::kKeys}, kPacked | kRing},
    {"mask", Option<&AttentionOptions::mask>, Use::kInput,
     DType::kF32, DType::kU8, Lead::kMaybeBatch,
     {Extent::kOneOrHeads, Extent::kQueries, Extent::kKeys}, kPacked | kRing},
    {"tree_mask", Option<&AttentionOptions::tree_mask>, Use::kInput,
     DType::kU8, DType::kU8, Lead::kMaybeBatch, {Extent::kQueries, Extent::kQueries}, kPacked},
    {"cu_seqlens_q", Option<&AttentionOptions::cu_seqlens_q>, Use::kInput,
     DType::kI32, DType::kI32, Lead::kNone, {Extent::kOffsets}, kCache | kPartOfKeys},
    {"cu_seqlens_k", Option<&AttentionOptions::cu_seqlens_k>, Use::kInput,
     DType::kI32, DType::kI32, Lead::kNone, {Extent::kOffsets}, kCache | kPages | kPartOfKeys},
    {"dropout.mask", DropoutMask, Use::kInput,
     DType::kF32, DType::kF32, Lead::kBatch,
     {Extent::kHeads, Extent::kQueries, Extent::kKeys}, kPacked | kRing},
    {"lse", Option<&AttentionOptions::lse>, Use::kOutput,
     DType::kF32, DType::kF32, Lead::kBatchUnlessPacked, {Extent::kHeads, Extent::kRows},
     kPartOfKeys},
    {"weights", Option<&AttentionOptions::weights>, Use::kRowOutput,
     DType::kF32, DType::kF32, Lead::kBatch,
     {Extent::kChosenHeads, Extent::kChosenQueries, Extent::kKeys},
     kPacked | kRing | kPartOfKeys},
    {"weights_heads", Option<&AttentionOptions::weights_heads>, Use::kInput,
     DType::kI32, DType::kI32, Lead::kNone, {Extent::kAny}, kPacked | kRing | kPartOfKeys},
    {"weights_queries", Option<&AttentionOptions::weights_queries>, Use::kInput,
     DType::kI32, DType::kI32, Lead::kNone, {Extent::kAny}, kPacked | kRing | kPartOfKeys},
    {"key_scores", Option<&AttentionOptions::key_scores>, Use::kRowOutput,
     DType::kF32, DType::kF32, Lead::kBatch, {Extent::kHeads, Extent::kKeys},
     kPacked | kRing | kPartOfKeys},
    {"k_scales", Option<&AttentionOptions::k_scales>, Use::kInput,
     DType::kF32, DType::kF16, Lead::kNone, {Extent::kAsCodes}, kCache | kPages},
    {"v_scales", Option<&AttentionOptions::v_scales>, Use::kInput,
     DType::kF32, DType::kF16, Lead::kNone, {Extent::kAsCodes}, kCache | kPages},
};
// clang-format on

// Lengths and lists, which a plan copies; all others are read while the call runs.
constexpr bool IsList(const OptionView& row) { return row.dtype == DType::kI32; }

// A view that is added to AttentionOptions needs a row: with it the struct is too large for this.
inline constexpr size_t kBytesOfOtherOptions =
    sizeof(AttentionOptions::scale) + sizeof(AttentionOptions::logits_soft_cap) +
    sizeof(AttentionOptions::causal) + sizeof(AttentionOptions::causal_alignment) +
    sizeof(AttentionOptions::window) + sizeof(AttentionOptions::sink_tokens) +
    sizeof(AttentionOptions::compute) + sizeof(DropoutOptions::probability) +
    sizeof(DropoutOptions::seed);
static_assert(sizeof(MutableTensorView) == sizeof(TensorView));
static_assert(sizeof(AttentionOptions) <
              (std::size(kOptionViews) + 1) * sizeof(TensorView) + kBytesOfOtherOptions);

// Of PlanAttention, in this order. First what can't be used together, whatever the shapes.
Status CheckForms(uint32_t forms, const AttentionOptions& options);
// Settings that are no views, and the shapes of lists, before they are read.
Status CheckSettings(const AttentionPlan& plan);
// All other views, and lengths against them.
Status CheckViews(const AttentionPlan& plan);

// What is computed in integers must be stored in them: keys as k or values as v.
Status CheckAttentionCompute(const char* name, Compute compute, DType k, DType v);

}  // namespace heed::inline v1
