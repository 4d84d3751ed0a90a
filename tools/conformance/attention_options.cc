// Options of an attention problem, drawn.
#include <algorithm>
#include <limits>

#include "tools/conformance/attention_problem.h"

namespace heed::bits {
namespace {

ptrdiff_t Step(size_t n) { return static_cast<ptrdiff_t>(n); }

// Every other head, every third query.
Tensor<int32_t> Every(size_t nth, size_t n) {
  Tensor<int32_t> chosen({(n + nth - 1) / nth});
  for (size_t i = 0; i < chosen.size(); ++i) chosen[i] = static_cast<int32_t>(i * nth);
  return chosen;
}

}  // namespace

AttentionShape SmallShape(Run& run) {
  AttentionShape shape;
  const bool long_keys = run.OneIn(4);
  shape.batch = run.Between(1, 2);
  shape.q_len = run.Between(1, run.OneIn(2) ? 4 : 20);
  shape.kv_len = long_keys ? run.Between(100, 300) : run.Between(1, 40);
  shape.num_kv_heads = run.Between(1, 2);
  shape.group = run.Between(1, 3);
  shape.head_dim = run.Between(1, 24);
  shape.v_head_dim = run.Between(1, 36);
  return shape;
}

AttentionShape StreamShape(Run& run, size_t tokens) {
  AttentionShape shape;
  shape.batch = run.Between(1, 2);
  shape.q_len = shape.kv_len = tokens;
  shape.num_kv_heads = run.Between(1, 2);
  shape.group = run.Between(1, 2);
  shape.head_dim = run.Between(1, 12);
  shape.v_head_dim = run.Between(1, 20);
  return shape;
}

AttentionProblem::AttentionProblem(Run& run, const AttentionShape& s, Layout layout)
    : shape(s),
      q(run.Normal({s.batch, s.q_len, s.heads(), s.head_dim}, layout)),
      k(run.Normal({s.batch, s.kv_len, s.num_kv_heads, s.head_dim}, layout)),
      v(run.Normal({s.batch, s.kv_len, s.num_kv_heads, s.v_head_dim}, layout)),
      run_(run) {}

bool AttentionProblem::causal_at_the_end() const {
  return options.causal && options.causal_alignment == CausalAlignment::kBottomRight;
}

Tensor<int32_t> AttentionProblem::DrawOffsets(size_t total, size_t pieces) {
  std::vector<int32_t> offsets = {0, static_cast<int32_t>(total)};
  while (offsets.size() <= pieces) {
    offsets.push_back(static_cast<int32_t>(run_.Between(0, total)));
  }
  std::sort(offsets.begin(), offsets.end());
  Tensor<int32_t> tensor({offsets.size()});
  tensor.Assign(offsets);
  return tensor;
}

void AttentionProblem::AddPackedBatch() {
  const size_t pieces = run_.Between(1, 4);
  cu_q_ = DrawOffsets(shape.q_len, pieces);
  cu_k_ = DrawOffsets(shape.kv_len, pieces);
  options.cu_seqlens_q = cu_q_.view();
  options.cu_seqlens_k = cu_k_.view();
}

void AttentionProblem::AddCausal() {
  options.causal = true;
  if (run_.OneIn(4)) options.causal_alignment = CausalAlignment::kTopLeft;
}

void AttentionProblem::AddWindow() {
  if (!options.causal) return;
  options.window = run_.Between(1, shape.kv_len + 4);
  if (run_.OneIn(2)) options.sink_tokens = run_.Between(1, 9);
}

void AttentionProblem::AddPrefix() {
  if (!options.causal) return;
  prefix_lens_ = Tensor<int32_t>({sequences()});
  for (size_t b = 0; b < sequences(); ++b) {
    prefix_lens_[b] = static_cast<int32_t>(run_.Below(shape.kv_len + 3));
  }
  options.prefix_lens = prefix_lens_.view();
}

// The first sequence is the longest, and each has the keys of its queries, for a tree mask.
void AttentionProblem::AddKvLens() {
  if (packed()) return;
  kv_lens_ = Tensor<int32_t>({shape.batch});
  const size_t least = std::min(shape.q_len, shape.kv_len);
  for (size_t b = 0; b < shape.batch; ++b) {
    const size_t length = run_.Between(least, shape.kv_len);
    kv_lens_[b] = static_cast<int32_t>(b == 0 ? shape.kv_len : length);
  }
  options.kv_lens = kv_lens_.view();
}

void AttentionProblem::AddKeyMask() {
  if (packed()) return;
  key_mask_ = run_.Mask(shape.batch * shape.kv_len, 4);
  options.key_mask = TensorView(key_mask_.data(), {shape.batch, shape.kv_len});
}

void AttentionProblem::AddMask(DType dtype) {
  if (packed()) return;
  // Of each of them, or shared.
  const size_t batch = run_.OneIn(3) ? shape.batch : 1;
  const size_t heads = run_.OneIn(2) ? shape.heads() : 1;
  const size_t rows = run_.OneIn(2) ? shape.q_len : 1;
  const size_t n = batch * heads * rows * shape.kv_len;
  mask_ = run_.Mask(n, 4);
  if (dtype == DType::kF32) additive_ = run_.Normal({n});
  for (size_t i = 0; i < additive_.size(); ++i) {
    if (mask_[i] == 0) additive_[i] = -std::numeric_limits<float>::infinity();
  }
  const void* data = dtype == DType::kU8 ? mask_.data() : additive_.view().data;
  const size_t sizes[] = {shape.batch, heads, shape.q_len, shape.kv_len};
  const ptrdiff_t steps[] = {batch == 1 ? 0 : Step(heads * rows * shape.kv_len),
                             Step(rows * shape.kv_len), rows == 1 ? 0 : Step(shape.kv_len), 1};
  const size_t left_out = batch == 1 && run_.OneIn(2) ? 1 : 0;  // the batch
  options.mask =
      TensorView(data, dtype, sizes + left_out, 4 - left_out, steps + left_out, 4 - left_out);
}

void AttentionProblem::AddTreeMask() {
  if (packed() || !causal_at_the_end() || shape.q_len > shape.kv_len) return;
  const bool of_each = run_.OneIn(3);
  tree_mask_ = run_.Mask((of_each ? shape.batch : 1) * shape.q_len * shape.q_len, 3);
  options.tree_mask = of_each
                          ? TensorView(tree_mask_.data(), {shape.batch, shape.q_len, shape.q_len})
                          : TensorView(tree_mask_.data(), {shape.q_len, shape.q_len});
}

void AttentionProblem::AddScale() { options.scale = 0.25f * run_.Normal(); }

void AttentionProblem::AddSoftCap() {
  options.logits_soft_cap = run_.OneOf({0.5f, 2.0f, 30.0f, 50.0f});
}

void AttentionProblem::AddAlibi(float slope) {
  alibi_ = run_.Normal({shape.heads()}, Layout::kContiguous, slope);
  options.alibi_slopes = alibi_.view();
}

void AttentionProblem::AddSinks() {
  sinks_ = run_.Normal({shape.heads()}, Layout::kContiguous, 3.0f);
  options.sinks = sinks_.view();
}

void AttentionProblem::AddDropout() {
  if (!packed() && run_.OneIn(3)) {
    multipliers_ = run_.Normal({shape.batch, shape.heads(), shape.q_len, shape.kv_len});
    options.dropout.mask = multipliers_.view();
    return;
  }
  options.dropout.probability = run_.OneOf({0.1f, 0.3f, 0.75f});
  options.dropout.seed = uint64_t{run_.Bits()} << 20;
}

void AttentionProblem::AddWeights() {
  if (packed()) return;
  size_t heads = shape.heads(), queries = shape.q_len;
  if (run_.OneIn(3)) {
    chosen_heads_ = Every(2, heads);
    chosen_queries_ = Every(3, queries);
    heads = chosen_heads_.size(), queries = chosen_queries_.size();
    options.weights_heads = chosen_heads_.view();
    options.weights_queries = chosen_queries_.view();
  }
  weights_ = Tensor<float>({shape.batch, heads, queries, shape.kv_len});
  options.weights = weights_.mutable_view();
}

void AttentionProblem::AddKeyScores() {
  if (packed()) return;
  key_scores_ = Tensor<float>({shape.batch, shape.heads(), shape.kv_len});
  options.key_scores = key_scores_.mutable_view();
}

void AttentionProblem::AddTypes() {
  const auto stored = [&](const Tensor<float>& values) {
    const DType dtype = run_.OneOf(kFloatTypes);
    const Layout layout = run_.AnyLayout();
    return run_.Stored(dtype, values, layout);
  };
  stored_q_ = stored(q);
  stored_k_ = stored(k);
  stored_v_ = stored(v);
  out_dtype_ = run_.OneOf(kFloatTypes);
}

}  // namespace heed::bits
