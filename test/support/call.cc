#include "test/support/call.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

#include "tools/conformance/tensor.h"

namespace heed::test {
namespace {

constexpr size_t kBatch = 2, kHeads = 4, kKvHeads = 2, kDim = 8, kQueries = 2, kKeys = 5;
constexpr size_t kBlockSize = 2, kBlocks = 7;
constexpr size_t kPackedRows = 4, kPackedKeys = 9;  // of all sequences

KvCache CacheOf(bool ring) {
  KvCacheConfig config;
  config.batch = kBatch;
  config.num_kv_heads = kKvHeads;
  config.head_dim = kDim;
  config.capacity = 128;
  if (ring) config.window = 3, config.sink_tokens = 1;
  Result<KvCache> cache = KvCache::create(config);
  REQUIRE(cache.ok());
  Random random(1);
  const Tensor<float> tokens = Normal({kBatch, kKeys, kKvHeads, kDim}, random);
  Context context;
  REQUIRE(cache->append(tokens.view(), tokens.view(), context).ok());
  return std::move(*cache);
}

size_t SizeOf(Extent extent, uint32_t forms) {
  const bool packed = (forms & kPacked) != 0;
  switch (extent) {
    case Extent::kOffsets:
      return kBatch + 1;
    case Extent::kHeads:
    case Extent::kOneOrHeads:
      return kHeads;
    case Extent::kQueries:
      return kQueries;
    case Extent::kRows:
      return packed ? kPackedRows : kQueries;
    case Extent::kKeys:
      return kKeys;
    case Extent::kChosenHeads:
    case Extent::kChosenQueries:
    case Extent::kAny:
      return 2;
    case Extent::kAsCodes:
    case Extent::kNone:
      break;
  }
  return 0;
}

std::vector<size_t> ShapeOf(const OptionView& row, uint32_t forms, const AttentionOptions& o) {
  std::vector<size_t> shape;
  const bool packed = (forms & kPacked) != 0;
  if (row.extents[0] == Extent::kAsCodes) {
    return packed ? std::vector<size_t>{kPackedKeys, kKvHeads}
                  : std::vector<size_t>{kBatch, kKeys, kKvHeads};
  }
  if (row.lead != Lead::kNone && !(row.lead == Lead::kBatchUnlessPacked && packed)) {
    shape.push_back(kBatch);
  }
  for (Extent extent : row.extents) {
    if (extent == Extent::kNone) break;
    size_t size = SizeOf(extent, forms);
    if (extent == Extent::kChosenHeads && o.weights_heads.absent()) size = kHeads;
    if (extent == Extent::kChosenQueries && o.weights_queries.absent()) size = kQueries;
    shape.push_back(size);
  }
  return shape;
}

void AddOptions(uint32_t forms, const std::function<bool(const OptionView&)>& wanted, Call* call) {
  AttentionOptions& o = call->options;
  o.causal = true;
  o.window = 3;
  // The shape of weights depends on what is chosen.
  for (bool lists : {true, false}) {
    for (const OptionView& row : kOptionViews) {
      if ((row.dtype == DType::kI32) != lists || !wanted(row)) continue;
      call->Add(row.name, const_cast<TensorView&>(row.of(o)), row.dtype, ShapeOf(row, forms, o),
                row.use != Use::kInput);
    }
  }
  call->Fill("prefix_lens", {1, 2});
  call->Fill("kv_lens", {5, 4});
  call->Fill("cu_seqlens_q", {0, 2, 4});
  call->Fill("cu_seqlens_k", {0, 5, 9});
  call->Fill("weights_heads", {0, 2});
  call->Fill("weights_queries", {0, 1});
}

std::unique_ptr<Call> PartCall(std::unique_ptr<Call> call) {
  Call& c = *call;
  c.AddOut("state.max", c.state.max, {1, kBatch, kHeads, kQueries});
  c.AddOut("state.sum", c.state.sum, {1, kBatch, kHeads, kQueries});
  c.AddOut("state.acc", c.state.acc, {1, kBatch, kQueries, kHeads, kDim});
  c.run = [&c](Context& context) {
    return attention_partial(c.q, c.k, c.v, 0, kKeys, c.state, c.options, context);
  };
  return call;
}

std::unique_ptr<Call> MergeParts() {
  auto call = std::make_unique<Call>("merge_attention of parts");
  Call& c = *call;
  c.AddOut("out", c.out, {kBatch, kQueries, kHeads, kDim});
  c.AddOut("lse", c.lse, {kBatch, kHeads, kQueries});
  c.AddIn("sinks", c.q, {kHeads});
  c.AddIn("state.max", c.state.max, {2, kBatch, kHeads, kQueries});
  c.AddIn("state.sum", c.state.sum, {2, kBatch, kHeads, kQueries});
  c.AddIn("state.acc", c.state.acc, {2, kBatch, kQueries, kHeads, kDim});
  c.AddIn("state.max", c.other.max, {1, kBatch, kHeads, kQueries});
  c.AddIn("state.sum", c.other.sum, {1, kBatch, kHeads, kQueries});
  c.AddIn("state.acc", c.other.acc, {1, kBatch, kQueries, kHeads, kDim});
  c.run = [&c](Context& context) {
    const AttentionState parts[] = {c.state, c.other};
    return merge_attention(parts, 2, c.q, c.out, c.lse, context);
  };
  return call;
}

std::unique_ptr<Call> MergeTwo(bool first) {
  auto call = std::make_unique<Call>("merge_attention of two");
  Call& c = *call;
  c.AddOut("out", c.out, {kBatch, kQueries, kHeads, kDim}, first ? "out_a" : "out_b");
  c.AddOut("lse", c.lse, {kBatch, kHeads, kQueries}, first ? "lse_a" : "lse_b");
  c.AddIn("out_a", c.q, {kBatch, kQueries, kHeads, kDim});
  c.AddIn("lse_a", c.k, {kBatch, kHeads, kQueries});
  // Given the other way around, so that "may be itself" of each side is seen.
  c.AddIn("out_b", c.v, {kBatch, kQueries, kHeads, kDim});
  c.AddIn("lse_b", c.paged.k, {kBatch, kHeads, kQueries});
  for (CallView& view : c.views) {  // the other side may be the result too: not asked here
    if (view.output) continue;
    const bool own =
        view.name == (first ? "out_a" : "out_b") || view.name == (first ? "lse_a" : "lse_b");
    if (!own) view.may_be = view.name.substr(0, 3);
  }
  c.run = [&c](Context& context) {
    return merge_attention(c.q, c.k, c.v, c.paged.k, c.out, c.lse, context);
  };
  return call;
}

std::unique_ptr<Call> Rope() {
  auto call = std::make_unique<Call>("rope");
  Call& c = *call;
  c.AddOut("y", c.out, {kBatch, kQueries, kHeads, kDim}, "x");
  c.AddIn("x", c.q, {kBatch, kQueries, kHeads, kDim});
  c.Add("positions", c.k, DType::kI32, {kBatch, kQueries}, false);
  c.run = [&c](Context& context) { return rope(c.q, c.k, c.out, RopeOptions{}, context); };
  return call;
}

std::unique_ptr<Call> Softmax() {
  auto call = std::make_unique<Call>("softmax");
  Call& c = *call;
  c.AddOut("y", c.out, {3, 5}, "x");
  c.AddIn("x", c.q, {3, 5});
  c.run = [&c](Context& context) { return softmax(c.q, c.out, SoftmaxOptions{}, context); };
  return call;
}

// Appending copies from k and v to the cache's pool.
std::unique_ptr<Call> Forward(bool project) {
  auto call = std::make_unique<Call>(project ? "forward" : "forward without out");
  Call& c = *call;
  constexpr size_t kWidth = 6, kSeq = 3, kJoined = kHeads * kDim;
  MultiHeadAttentionConfig config;
  config.d_in = kWidth;
  config.num_heads = kHeads;
  config.num_kv_heads = kKvHeads;
  config.head_dim = kDim;
  config.rope = RopeOptions{};
  MultiHeadAttentionWeights weights;
  Random random(2);
  const Tensor<float> qkv = Normal({(kHeads + 2 * kKvHeads) * kDim, kWidth}, random);
  const Tensor<float> out = Normal({kWidth, kJoined}, random);
  weights.qkv.weight = qkv.view();
  if (project) weights.out.weight = out.view();
  Context packing;
  Result<MultiHeadAttention> layer = MultiHeadAttention::create(config, weights, packing);
  REQUIRE(layer.ok());
  c.layer.emplace(std::move(*layer));
  c.AddOut("y", c.out, {kBatch, kSeq, project ? kWidth : kJoined});
  c.AddOut("context", c.forward.context, {kBatch, kSeq, kJoined});
  c.AddOut("lse", c.forward.lse, {kBatch, kHeads, kSeq});
  c.AddOut("weights", c.forward.weights, {kBatch, kHeads, kSeq, kSeq});
  c.AddIn("x", c.q, {kBatch, kSeq, kWidth});
  c.Add("positions", c.forward.positions, DType::kI32, {kBatch, kSeq}, false);
  c.Add("kv_lens", c.forward.kv_lens, DType::kI32, {kBatch}, false);
  c.Fill("kv_lens", {3, 2});
  c.Add("key_mask", c.forward.key_mask, DType::kU8, {kBatch, kSeq}, false);
  c.AddIn("dropout.mask", c.forward.dropout.mask, {kBatch, kHeads, kSeq, kSeq});
  c.run = [&c](Context& context) { return c.layer->forward(c.q, c.out, c.forward, context); };
  return call;
}

}  // namespace

void Call::Add(const char* name, TensorView& view, DType dtype, const std::vector<size_t>& sizes,
               bool output, const char* may_be) {
  view = TensorView(nullptr, dtype, sizes.data(), sizes.size());
  const size_t count = view.num_elements();
  CallView added = {name, &view, output, may_be, std::vector<char>(count * size_of(dtype), 1)};
  if (dtype == DType::kF32) {
    for (size_t i = 0; i < count; ++i) {
      const float value = output ? -99.0f : static_cast<float>(i % 7 + 1) / 8;
      std::memcpy(added.contents.data() + i * sizeof(float), &value, sizeof(float));
    }
  } else if (dtype == DType::kI32) {
    std::fill(added.contents.begin(), added.contents.end(), char{0});
  }
  views.push_back(std::move(added));
}

void Call::Fill(const char* name, const std::vector<int32_t>& values) {
  for (CallView& view : views) {
    if (view.name != name) continue;
    REQUIRE(view.contents.size() == values.size() * sizeof(int32_t));
    std::memcpy(view.contents.data(), values.data(), view.contents.size());
  }
}

std::unique_ptr<Call> AttentionCall(uint32_t forms,
                                    const std::function<bool(const OptionView&)>& wanted) {
  auto call = std::make_unique<Call>("");
  Call& c = *call;
  const bool packed = (forms & kPacked) != 0;
  const auto with_batch = [&](size_t rows, size_t packed_rows, size_t heads) {
    return packed ? std::vector<size_t>{packed_rows, heads, kDim}
                  : std::vector<size_t>{kBatch, rows, heads, kDim};
  };
  c.AddIn("q", c.q, with_batch(kQueries, kPackedRows, kHeads));
  if ((forms & kPages) != 0) {
    c.AddIn("k", c.paged.k, {kBlocks, kBlockSize, kKvHeads, kDim});
    c.AddIn("v", c.paged.v, {kBlocks, kBlockSize, kKvHeads, kDim});
    c.Add("block_table", c.paged.block_table, DType::kI32, {kBatch, 3}, false);
    c.Add("seq_lens", c.paged.seq_lens, DType::kI32, {kBatch}, false);
    c.Fill("block_table", {6, 2, 3, 1, 5, -1});
    c.Fill("seq_lens", {5, 4});
  } else if ((forms & kCache) != 0) {
    c.cache.emplace(CacheOf((forms & kRing) != 0));
  } else {
    // Codes where their scales are given.
    const auto dtype_of = [&](const char* scales) {
      const auto of_name = [&](const OptionView& row) {
        return std::strcmp(row.name, scales) == 0;
      };
      const OptionView* row =
          std::find_if(std::begin(kOptionViews), std::end(kOptionViews), of_name);
      return wanted(*row) ? DType::kInt8 : DType::kF32;
    };
    c.Add("k", c.k, dtype_of("k_scales"), with_batch(kKeys, kPackedKeys, kKvHeads), false);
    c.Add("v", c.v, dtype_of("v_scales"), with_batch(kKeys, kPackedKeys, kKvHeads), false);
  }
  AddOptions(forms, wanted, &c);
  if ((forms & kPartOfKeys) != 0) return PartCall(std::move(call));
  c.AddOut("out", c.out, with_batch(kQueries, kPackedRows, kHeads));
  c.run = [&c, forms](Context& context) {
    if ((forms & kPages) != 0) return attention(c.q, c.paged, c.out, c.options, context);
    if ((forms & kCache) != 0) return attention(c.q, *c.cache, c.out, c.options, context);
    return attention(c.q, c.k, c.v, c.out, c.options, context);
  };
  return call;
}

std::vector<std::unique_ptr<Call>> AllCalls() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> texts;
    for (uint32_t forms : kAllForms) texts.push_back(TextOf(forms));
    return texts;
  }();
  std::vector<std::unique_ptr<Call>> calls;
  for (uint32_t forms : kAllForms) {
    calls.push_back(AttentionCall(forms, [&](const OptionView& row) {
      const bool is_packed = (forms & kPacked) != 0;
      if (!is_packed && std::strncmp(row.name, "cu_seqlens", 10) == 0) return false;
      return (row.refused_by & forms) == 0;
    }));
    calls.back()->entry = names[calls.size() - 1].c_str();
  }
  calls.push_back(MergeParts());
  calls.push_back(MergeTwo(true));
  calls.push_back(MergeTwo(false));
  calls.push_back(Rope());
  calls.push_back(Softmax());
  calls.push_back(Forward(true));
  calls.push_back(Forward(false));
  return calls;
}

}  // namespace heed::test
