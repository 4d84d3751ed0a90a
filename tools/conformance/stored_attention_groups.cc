// Attention over numbers that are stored in fewer bits than they are computed in.
#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "heed/attention_state.hpp"
#include "heed/numerics.hpp"
#include "heed/quantize.hpp"
#include "tools/conformance/attention_problem.h"
#include "tools/conformance/groups.h"

namespace heed::bits {
namespace {

// Channels beside the panels of 16 and the groups of 32.
size_t DrawHeadDim(Run& run) { return run.OneOf<size_t>({1, 8, 16, 17, 31, 32, 33, 48, 64, 65}); }

AttentionShape StoredShape(Run& run) {
  AttentionShape shape = SmallShape(run);
  shape.head_dim = DrawHeadDim(run);
  shape.v_head_dim = DrawHeadDim(run);
  return shape;
}

// Whole streams of tokens, one of them through a ring.
template <class SetTypes>
void AttendStreams(Run& run, SetTypes set_types) {
  for (size_t i = 0; i < 3; ++i) {
    const bool ring = i == 2;
    AttentionShape shape = StreamShape(run, ring ? 330 : run.Between(100, 150));
    shape.batch = 1;
    shape.head_dim = std::max(DrawHeadDim(run), shape.v_head_dim);
    AttentionProblem p(run, shape);
    set_types(p);
    p.AddTypes();
    p.options.causal = true;
    if (ring) {
      p.options.window = run.Between(1, 60);
      p.options.sink_tokens = run.Between(1, 10);
    }
    KvCacheConfig config = p.CacheConfig();
    if (ring) config.capacity = p.options.window + 39;
    config.window = p.options.window;
    config.sink_tokens = p.options.sink_tokens;
    p.AttendStream(config, 40);
  }
}

// One row, or many, over keys appended in pieces, then whole streams.
template <class SetTypes>
void AttendCaches(Run& run, size_t count, SetTypes set_types) {
  for (size_t i = 0; i < count; ++i) {
    AttentionShape shape = StoredShape(run);
    if (i % 2 == 0) shape.q_len = 1;
    if (i % 12 == 10) shape.kv_len = kSegmentKeys + run.Below(200);
    AttentionProblem p(run, shape);
    set_types(p);
    if (run.OneIn(3)) p.AddTypes();
    if (i % 4 != 3) p.AddCausal();
    if (run.OneIn(3)) p.AddWindow();
    if (run.OneIn(3)) p.AddKvLens();
    p.AttendCached();
  }
  AttendStreams(run, set_types);
}

FloatTensor DrawTensor(Run& run, const std::vector<size_t>& shape) {
  const DType dtype = run.OneOf(kFloatTypes);
  const Layout layout = run.AnyLayout();
  return run.Stored(dtype, run.Normal(shape), layout);
}

// Keys or values of int8 or int4, [batch, kv_len, heads, dim], and their scales.
struct QuantizedHeads {
  QuantizedHeads(Run& run, const std::vector<size_t>& shape)
      : dtype(run.OneIn(2) ? DType::kInt8 : DType::kInt4),
        codes(shape),
        scales(dtype == DType::kInt8 ? DType::kF32 : DType::kF16,
               {shape[0], shape[1], shape[2], Groups(shape[3])}),
        rows({shape[0], shape[1], shape[2], (shape[3] + 1) / 2}) {
    const Tensor<float> x = run.Normal(shape);
    const size_t group = dtype == DType::kInt8 ? 0 : 32;
    run.Expect(quantize(x.view(), dtype, group, codes.mutable_view(), scales.mutable_view(), {},
                        run.context)
                   .status());
    const size_t dim = shape[3], bytes = rows.shape()[3];
    for (size_t i = 0; i < codes.size(); ++i) {
      const unsigned nibble = static_cast<unsigned>(codes[i]) & 15u;
      uint8_t& byte = rows[i / dim * bytes + i % dim / 2];
      byte = static_cast<uint8_t>(i % dim % 2 == 0 ? nibble : byte | nibble << 4);
    }
  }

  size_t Groups(size_t dim) const { return dtype == DType::kInt8 ? 1 : (dim + 31) / 32; }

  TensorView view() const {
    if (dtype == DType::kInt8) return codes.view();
    return TensorView(rows.view().data, DType::kInt4, rows.view().shape, 4);
  }
  TensorView scales_view() const {
    const TensorView all = scales.view();
    return TensorView(all.data, all.dtype, all.shape, dtype == DType::kInt8 ? 3 : 4);
  }

  DType dtype;
  Tensor<int8_t> codes;
  FloatTensor scales;
  Tensor<uint8_t> rows;  // two codes of int4 a byte
};

// Attention over tensors, keys and values of int8 or int4.
class QuantizedProblem {
 public:
  QuantizedProblem(Run& run, const AttentionShape& s)
      : run_(run),
        q_dtype_(run.OneOf(kFloatTypes)),
        out_dtype_(run.OneOf(kFloatTypes)),
        q_(run.Stored(q_dtype_, run.Normal({s.batch, s.q_len, s.heads(), s.head_dim}))),
        k_(run, {s.batch, s.kv_len, s.num_kv_heads, s.head_dim}),
        v_(run, {s.batch, s.kv_len, s.num_kv_heads, s.v_head_dim}),
        out_(out_dtype_, {s.batch, s.q_len, s.heads(), s.v_head_dim}),
        lse_({s.batch, s.heads(), s.q_len}) {}

  // With keys or values of another type in the place of its own, where they are given.
  void Attend(AttentionOptions options, const FloatTensor* other_k = nullptr,
              const FloatTensor* other_v = nullptr) {
    if (other_k == nullptr) options.k_scales = k_.scales_view();
    if (other_v == nullptr) options.v_scales = v_.scales_view();
    options.lse = lse_.mutable_view();
    run_.Expect(attention(q_.view(), other_k == nullptr ? k_.view() : other_k->view(),
                          other_v == nullptr ? v_.view() : other_v->view(), out_.mutable_view(),
                          options, run_.context));
    run_.Add(out_);
    run_.Add(lse_);
  }

 private:
  Run& run_;
  DType q_dtype_, out_dtype_;
  FloatTensor q_;
  QuantizedHeads k_, v_;
  FloatTensor out_;
  Tensor<float> lse_;
};

// What the keys contribute, the output that is made of it, and the output of other keys merged in.
void AttendPartAndMerge(Run& run) {
  const AttentionShape s = StoredShape(run);
  const std::vector<size_t> shape = {s.batch, s.q_len, s.heads(), s.v_head_dim};
  const std::vector<size_t> rows = {s.batch, s.heads(), s.q_len};
  const FloatTensor q = DrawTensor(run, {s.batch, s.q_len, s.heads(), s.head_dim});
  const FloatTensor k = DrawTensor(run, {s.batch, s.kv_len, s.num_kv_heads, s.head_dim});
  const FloatTensor v = DrawTensor(run, {s.batch, s.kv_len, s.num_kv_heads, s.v_head_dim});
  Tensor<float> max({1, s.batch, s.heads(), s.q_len}), sum(max.shape());
  Tensor<float> acc({1, s.batch, s.q_len, s.heads(), s.v_head_dim});
  const AttentionState part = {max.mutable_view(), sum.mutable_view(), acc.mutable_view()};
  run.Expect(attention_partial(q.view(), k.view(), v.view(), 0, s.kv_len, part, {}, run.context));
  run.Add(max);
  run.Add(sum);
  run.Add(acc);

  FloatTensor out(run.OneOf(kFloatTypes), shape), merged(run.OneOf(kFloatTypes), shape);
  Tensor<float> lse(rows), merged_lse(rows);
  run.Expect(merge_attention(&part, 1, {}, out.mutable_view(), lse.mutable_view(), run.context));
  const FloatTensor other = DrawTensor(run, shape);
  const Tensor<float> other_lse = run.Normal(rows, Layout::kContiguous, 3.0f);
  run.Expect(merge_attention(out.view(), lse.view(), other.view(), other_lse.view(),
                             merged.mutable_view(), merged_lse.mutable_view(), run.context));
  run.Add(out);
  run.Add(merged);
  run.Add(merged_lse);
}

// For Compute::kInt16: one row or many, more than a tile's, and channels of more than one sum.
AttentionShape Int16Shape(Run& run, size_t i) {
  AttentionShape shape = StoredShape(run);
  if (i % 2 == 0) shape.q_len = 1;
  if (run.OneIn(3)) shape.group = run.Between(4, 9);
  if (run.OneIn(8)) shape.head_dim = run.Between(kSumChunk + 1, kSumChunk + 50);
  if (i % 12 == 10) shape.kv_len = kSegmentKeys + run.Below(200);
  return shape;
}

// Int16, with types of which one at least is of integers.
void SetInt16(Run& run, AttentionProblem& p) {
  p.options.compute = Compute::kInt16;
  p.k_cache_dtype = run.OneOf({DType::kInt8, DType::kInt4});
  p.v_cache_dtype = run.OneOf(kAllStored);
  if (run.OneIn(2)) std::swap(p.k_cache_dtype, p.v_cache_dtype);
}

// Every kind of option, as weights and their codes are made of all of them.
void AddOptions(Run& run, AttentionProblem& p, size_t i) {
  if (i % 4 != 3) p.AddCausal();
  if (run.OneIn(3)) p.AddWindow();
  if (run.OneIn(4)) p.AddPrefix();
  if (run.OneIn(3)) p.AddKvLens();
  if (run.OneIn(4)) p.AddKeyMask();
  if (run.OneIn(4)) p.AddMask(run.OneIn(2) ? DType::kU8 : DType::kF32);
  if (run.OneIn(5)) p.AddTreeMask();
  if (run.OneIn(3)) p.AddScale();
  if (run.OneIn(4)) p.AddSoftCap();
  if (run.OneIn(4)) p.AddAlibi();
  if (run.OneIn(4)) p.AddSinks();
  if (run.OneIn(5)) p.AddDropout();
}

}  // namespace

void Tensors16Bit(Run& run) {
  for (size_t i = 0; i < 42; ++i) {
    AttentionShape shape = StoredShape(run);
    if (i % 3 == 0) shape.q_len = 1;
    if (i % 6 == 5) shape.batch = 1;
    AttentionProblem p(run, shape);
    if (i % 6 == 5) p.AddPackedBatch();
    if (i % 4 != 0) p.AddCausal();
    if (run.OneIn(3)) p.AddWindow();
    if (run.OneIn(3)) p.AddKvLens();
    if (run.OneIn(3)) p.AddKeyMask();
    p.AddTypes();
    p.Attend();
  }
  for (size_t i = 0; i < 10; ++i) AttendPartAndMerge(run);
}

void TensorsQuantized(Run& run) {
  for (size_t i = 0; i < 40; ++i) {
    AttentionShape shape = StoredShape(run);
    if (i % 2 == 0) shape.q_len = 1;
    if (i % 20 == 19) shape.kv_len = kSegmentKeys + run.Below(200);
    QuantizedProblem p(run, shape);
    AttentionOptions options;
    options.causal = run.OneIn(2);
    if (options.causal && run.OneIn(2)) options.window = run.Between(1, 20);
    p.Attend(options);
  }
}

// Each with a type of its own.
void Cache16Bit(Run& run) {
  AttendCaches(run, 24, [&](AttentionProblem& p) {
    p.k_cache_dtype = run.OneOf({DType::kF16, DType::kBF16});
    p.v_cache_dtype = run.OneOf(kFloatTypes);
    if (run.OneIn(2)) std::swap(p.k_cache_dtype, p.v_cache_dtype);
  });
}

void CacheQuantized(Run& run) {
  AttendCaches(run, 36, [&](AttentionProblem& p) {
    p.k_cache_dtype = run.OneOf(kAllStored);
    p.v_cache_dtype = run.OneOf({DType::kInt8, DType::kInt4});
    if (run.OneIn(2)) std::swap(p.k_cache_dtype, p.v_cache_dtype);
  });
}

void ValuesInKeys(Run& run) {
  const auto set_types = [&](AttentionProblem& p) {
    p.k_cache_dtype = run.OneOf(kAllStored);
    p.values_in_keys = true;
    p.shape.v_head_dim = std::min(p.shape.head_dim, p.shape.v_head_dim);
  };
  AttendCaches(run, 24, set_types);
  for (size_t i = 0; i < 6; ++i) {  // many query heads to a key head, as latent attention has them
    AttentionShape shape = StoredShape(run);
    shape.num_kv_heads = 1;
    shape.group = run.Between(6, 13);
    shape.q_len = run.Between(1, 2);
    AttentionProblem p(run, shape);
    set_types(p);
    p.AddCausal();
    p.AttendCached();
  }
}

void PagesStored(Run& run) {
  for (size_t i = 0; i < 40; ++i) {
    AttentionShape shape = StoredShape(run);
    if (i % 2 == 0) shape.q_len = 1;
    AttentionProblem p(run, shape);
    p.k_cache_dtype = run.OneOf(kAllStored);
    p.v_cache_dtype = run.OneOf(kAllStored);
    if (run.OneIn(3)) p.AddTypes();
    if (i % 4 != 3) p.AddCausal();
    if (run.OneIn(3)) p.AddWindow();
    if (run.OneIn(3)) p.AddKvLens();
    p.AttendPaged();
  }
}

void Int16Tensors(Run& run) {
  for (size_t i = 0; i < 36; ++i) {
    const AttentionShape s = Int16Shape(run, i);
    AttentionProblem with(run, s);
    with.options.compute = Compute::kInt16;
    AddOptions(run, with, i);
    QuantizedProblem p(run, s);
    if (i % 3 != 2) {
      p.Attend(with.options);
    } else if (run.OneIn(2)) {
      const FloatTensor k = DrawTensor(run, {s.batch, s.kv_len, s.num_kv_heads, s.head_dim});
      p.Attend(with.options, &k);
    } else {
      const FloatTensor v = DrawTensor(run, {s.batch, s.kv_len, s.num_kv_heads, s.v_head_dim});
      p.Attend(with.options, nullptr, &v);
    }
  }
}

void Int16Cache(Run& run) {
  for (size_t i = 0; i < 36; ++i) {
    AttentionProblem p(run, Int16Shape(run, i));
    SetInt16(run, p);
    if (run.OneIn(3)) p.AddTypes();
    AddOptions(run, p, i);
    if (run.OneIn(4)) p.AddWeights();
    if (run.OneIn(4)) p.AddKeyScores();
    p.AttendCached();
  }
  AttendStreams(run, [&](AttentionProblem& p) { SetInt16(run, p); });
}

void Int16ValuesInKeys(Run& run) {
  for (size_t i = 0; i < 24; ++i) {
    AttentionShape shape = Int16Shape(run, i);
    shape.v_head_dim = std::min(shape.head_dim, shape.v_head_dim);
    AttentionProblem p(run, shape);
    SetInt16(run, p);
    p.k_cache_dtype = run.OneOf({DType::kInt8, DType::kInt4});
    p.values_in_keys = true;
    AddOptions(run, p, i);
    p.AttendCached();
  }
}

void Int16Pages(Run& run) {
  for (size_t i = 0; i < 36; ++i) {
    AttentionProblem p(run, Int16Shape(run, i));
    SetInt16(run, p);
    if (run.OneIn(3)) p.AddTypes();
    AddOptions(run, p, i);
    p.AttendPaged();
  }
}

}  // namespace heed::bits
