// Attention with each option alone, and with options mixed.
#include "tools/conformance/attention_problem.h"
#include "tools/conformance/groups.h"

namespace heed::bits {
namespace {

// `count` problems, most of them causal, each with what `add` adds.
template <class Add>
void AttendMany(Run& run, size_t count, Add add) {
  for (size_t i = 0; i < count; ++i) {
    AttentionProblem problem(run);
    if (i % 4 != 0) problem.AddCausal();
    add(problem);
    problem.Attend();
  }
}

}  // namespace

// Every head_dim and v_head_dim up to 256.
void HeadDims(Run& run) {
  for (size_t dim = 1; dim <= 256; ++dim) {
    AttentionShape shape;
    shape.q_len = dim % 5 + 1;
    shape.kv_len = 19;
    shape.head_dim = dim;
    shape.v_head_dim = 257 - dim;
    AttentionProblem(run, shape).Attend();
  }
}

void GroupedHeads(Run& run) {
  for (size_t group = 1; group <= 17; ++group) {
    for (const size_t q_len : {size_t{1}, size_t{2}, size_t{9}}) {
      AttentionShape shape;
      shape.q_len = q_len;
      shape.kv_len = run.Between(1, 60);
      shape.num_kv_heads = run.Between(1, 2);
      shape.group = group;
      shape.head_dim = shape.v_head_dim = 8;
      AttentionProblem problem(run, shape);
      problem.options.causal = true;
      problem.Attend();
    }
  }
}

void AnyStrides(Run& run) {
  for (size_t i = 0; i < 60; ++i) {
    const AttentionShape shape = SmallShape(run);
    AttentionProblem(run, shape, run.AnyLayout()).Attend();
  }
}

void Causal(Run& run) {
  AttendMany(run, 80, [](AttentionProblem& p) { p.AddCausal(); });
}

void Window(Run& run) {
  AttendMany(run, 80, [](AttentionProblem& p) {
    p.options.causal = true;
    p.AddWindow();
  });
}

void Prefix(Run& run) {
  AttendMany(run, 60, [](AttentionProblem& p) {
    p.options.causal = true;
    p.AddPrefix();
  });
}

void KvLens(Run& run) {
  AttendMany(run, 60, [](AttentionProblem& p) { p.AddKvLens(); });
}

void KeyMask(Run& run) {
  AttendMany(run, 60, [](AttentionProblem& p) { p.AddKeyMask(); });
}

void BooleanMask(Run& run) {
  AttendMany(run, 60, [](AttentionProblem& p) { p.AddMask(DType::kU8); });
}

void AdditiveMask(Run& run) {
  AttendMany(run, 60, [](AttentionProblem& p) { p.AddMask(DType::kF32); });
}

void TreeMask(Run& run) {
  AttendMany(run, 60, [](AttentionProblem& p) {
    p.options.causal = true;
    p.AddTreeMask();
  });
}

void ScaleAndSoftCap(Run& run) {
  AttendMany(run, 60, [](AttentionProblem& p) {
    p.AddScale();
    p.AddSoftCap();
  });
}

void Alibi(Run& run) {
  AttendMany(run, 60, [](AttentionProblem& p) { p.AddAlibi(); });
  for (size_t heads = 1; heads <= 40; ++heads) {
    Tensor<float> slopes({heads});
    run.Expect(alibi_slopes(slopes.mutable_view()));
    run.Add(slopes);
  }
}

void Sinks(Run& run) {
  AttendMany(run, 60, [](AttentionProblem& p) { p.AddSinks(); });
}

void Dropout(Run& run) {
  AttendMany(run, 60, [](AttentionProblem& p) { p.AddDropout(); });
  for (size_t i = 0; i < 8; ++i) {
    const Layout layout = run.AnyLayout();
    Tensor<float> mask({2, 3, run.Between(1, 20), run.Between(1, 60)}, layout);
    run.Expect(dropout_mask(0.4f, run.Bits(), mask.mutable_view()));
    run.Add(mask);
  }
}

void WeightsAndKeyScores(Run& run) {
  AttendMany(run, 60, [](AttentionProblem& p) {
    p.AddWeights();
    p.AddKeyScores();
  });
}

// Any options that go together, over keys in tensors, packed, cached and paged.
void Mixtures(Run& run) {
  enum Source { kTensors, kPacked, kCached, kPaged };
  for (size_t i = 0; i < 450; ++i) {
    const Source source = run.OneOf({kTensors, kPacked, kCached, kPaged});
    AttentionShape shape = SmallShape(run);
    if (source == kPacked) shape.batch = 1;
    AttentionProblem p(run, shape, run.AnyLayout());
    if (source == kPacked) p.AddPackedBatch();
    if (!run.OneIn(4)) p.AddCausal();
    if (run.OneIn(2)) p.AddWindow();
    if (run.OneIn(5)) p.AddPrefix();
    if (run.OneIn(3)) p.AddKvLens();
    if (run.OneIn(5)) p.AddKeyMask();
    if (run.OneIn(4)) p.AddMask(run.OneIn(2) ? DType::kU8 : DType::kF32);
    if (run.OneIn(4)) p.AddTreeMask();
    if (run.OneIn(3)) p.AddScale();
    if (run.OneIn(3)) p.AddSoftCap();
    if (run.OneIn(3)) p.AddAlibi();
    if (run.OneIn(3)) p.AddSinks();
    if (run.OneIn(6)) p.AddDropout();
    if (run.OneIn(4)) p.AddWeights();
    if (run.OneIn(4)) p.AddKeyScores();
    if (source == kCached) {
      p.AttendCached();
    } else if (source == kPaged) {
      p.AttendPaged();
    } else {
      p.Attend();
    }
  }
}

}  // namespace heed::bits
