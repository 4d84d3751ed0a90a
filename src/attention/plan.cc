#include "src/attention/plan.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "src/attention/options.h"
#include "src/attention/source.h"
#include "src/attention/workspace.h"
#include "src/base/check.h"
#include "src/base/float_environment.h"
#include "src/base/math.h"

namespace heed::inline v1 {
namespace {

// Rows of a task. The more, the less often keys are copied into panels; a row's queries and output
// are touched once per block, so they may stream from the outer caches (1.5 MB).
constexpr size_t kTaskFloats = 393216;
constexpr size_t kMaxTaskRows = 1024;
// Several threads get about this many tasks each, because causal tasks are uneven. With 8 the
// copying of keys, once per task, costs more than evenness gains (heed-bench --simulate-cores 64
// and 192).
constexpr size_t kTasksPerThread = 4;
// So few rows leave threads idle unless the keys are split as well.
constexpr size_t kSplitRows = 32;
// A window is worth splitting when it spans several segments. Below, no memory is taken for the
// segments of the whole stream.
constexpr size_t kSplitWindow = 4 * kSegmentKeys;

uint32_t FormsOf(const KeySource& source, const AttentionOptions& options) {
  uint32_t forms = 0;
  if (!options.cu_seqlens_q.absent()) forms |= kPacked;
  if (source.cache != nullptr) forms |= kCache;
  if (source.cache != nullptr && source.cache->config().window != 0) forms |= kRing;
  if (source.paged != nullptr) forms |= kPages;
  if (source.total_keys != SIZE_MAX) forms |= kPartOfKeys;
  return forms;
}

// Every view of a call, by what the call does with it.
class CallViews {
 public:
  CallViews(const AttentionPlan& plan, const TensorView& q, std::span<const NamedView> outputs) {
    static_assert(sizeof(PagedKv) == 6 * sizeof(TensorView));
    inputs_[num_inputs_++] = {"q", &q};
    const PagedKv* paged = plan.source.paged;
    inputs_[num_inputs_++] = {"k", paged != nullptr ? &paged->k : &plan.source.k};
    inputs_[num_inputs_++] = {"v", paged != nullptr ? &paged->v : &plan.source.v};
    if (paged != nullptr) {
      inputs_[num_inputs_++] = {"block_table", &paged->block_table};
      inputs_[num_inputs_++] = {"seq_lens", &paged->seq_lens};
      inputs_[num_inputs_++] = {"k_scales", &paged->k_scales};
      inputs_[num_inputs_++] = {"v_scales", &paged->v_scales};
    }
    for (const NamedView& output : outputs) outputs_[num_outputs_++] = output;
    for (const OptionView& row : kOptionViews) {
      const NamedView view = {row.name, &row.of(plan.options)};
      if (view.view->absent()) continue;
      (row.use == Use::kInput ? inputs_[num_inputs_++] : outputs_[num_outputs_++]) = view;
    }
  }

  Status CheckOverlaps() const {
    return CheckNoOverlaps({outputs_, num_outputs_}, {inputs_, num_inputs_});
  }

  bool WritesNothing() const {
    return std::all_of(outputs_, outputs_ + num_outputs_,
                       [](const NamedView& output) { return output.view->num_elements() == 0; });
  }

 private:
  NamedView inputs_[7 + std::size(kOptionViews)];
  NamedView outputs_[3 + std::size(kOptionViews)];  // the most is the three of an AttentionState
  size_t num_inputs_ = 0, num_outputs_ = 0;
};

Status CheckSizes(const AttentionPlan& plan) {
  const struct {
    const char* name;
    size_t size;
  } sizes[] = {{"batch", plan.batch},
               {"q_len", plan.q.len},
               {"num_heads", plan.q.heads},
               {"head_dim", plan.q.dim},
               {"v_head_dim", plan.v.dim},
               {"num_kv_heads", plan.k.heads},
               {plan.source.paged != nullptr ? "block_size" : "kv_len", plan.k.len},
               {plan.source.paged != nullptr ? "num_blocks" : "batch", plan.k.batch}};
  for (const auto& [name, size] : sizes) HEED_RETURN_IF_ERROR(CheckSize(name, size));
  return Status();
}

Status CheckDims(const TensorView& out, const AttentionPlan& plan) {
  if (plan.q.dim == 0 || plan.k.dim == 0) {
    return Status::Error(StatusCode::kInvalidArgument, "%s: head_dim is 0, must be at least 1",
                         plan.q.dim == 0 ? "q" : "k");
  }
  if (plan.k.dim != plan.q.dim) {
    return Status::Error(StatusCode::kInvalidArgument, "q: head_dim is %zu, must be that of k, %zu",
                         plan.q.dim, plan.k.dim);
  }
  if (plan.k.heads == 0) {
    return Status::Error(StatusCode::kInvalidArgument, "num_kv_heads: is 0, must be at least 1");
  }
  if (plan.q.heads == 0 || plan.q.heads % plan.k.heads != 0) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "num_heads: is %zu, must be a positive multiple of num_kv_heads, %zu",
                         plan.q.heads, plan.k.heads);
  }
  const char* name = plan.part() ? "state.acc" : "out";
  HEED_RETURN_IF_ERROR(CheckHeads(name, out, plan.q.batch, plan.q.heads));
  if (plan.out.len != plan.q.len || plan.out.dim != plan.v.dim) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "%s: shape is %s, must have q_len %zu and v_head_dim %zu", name,
                         ShapeText(out).text, plan.q.len, plan.v.dim);
  }
  return Status();
}

void CutIntoTasks(size_t num_threads, AttentionPlan* plan) {
  const size_t rows = plan->q_len * plan->group;
  plan->acc_stride = RoundUp(plan->out.dim, kColumnPad);
  size_t row_block = std::min(kTaskFloats / (plan->q.dim + 2 * plan->acc_stride), kMaxTaskRows);
  if (num_threads > 1) {
    const size_t heads = std::max<size_t>(1, plan->batch * plan->k.heads);
    row_block = std::min(row_block, CeilDiv(rows, CeilDiv(num_threads * kTasksPerThread, heads)));
  }
  plan->row_block = std::min(RoundUp(std::max<size_t>(row_block, 1), kScoreRows), rows);
  plan->row_blocks = rows == 0 ? 0 : CeilDiv(rows, plan->row_block);
  plan->segments = CeilDiv(plan->part() ? plan->k.len : plan->kv_len, kSegmentKeys);
  const size_t window = plan->options.window;
  plan->split = rows <= kSplitRows && plan->segments > 1 && (window == 0 || window > kSplitWindow);
}

ScoreUnits UnitsOf(const AttentionPlan& plan) {
  const AttentionOptions& o = plan.options;
  const double scale =
      o.scale ? double{*o.scale} : 1.0 / std::sqrt(static_cast<double>(plan.q.dim));
  return o.logits_soft_cap > 0.0f ? ScoreUnits::OfCapped(scale, o.logits_soft_cap)
                                  : ScoreUnits::Of(scale);
}

double OperandBytes(const AttentionPlan& plan) {
  return plan.keys.Bytes(plan.kv_len) + plan.q.bytes() + plan.out.bytes();
}

// So that nothing can read them twice.
void ForgetLists(AttentionOptions* options) {
  for (const OptionView& row : kOptionViews) {
    if (IsList(row)) const_cast<TensorView&>(row.of(*options)).data = nullptr;
  }
}

// A window that holds every key from any query is none.
void DropIdleWindow(AttentionPlan* plan) {
  if (plan->options.window < plan->q_len || plan->options.window - plan->q_len < plan->kv_len) {
    return;
  }
  plan->options.window = plan->options.sink_tokens = 0;
}

}  // namespace

Status CheckSize(const char* name, size_t size) {
  if (size <= size_t{INT32_MAX}) return Status();
  return Status::Error(StatusCode::kUnsupported, "%s: is %zu, must be below 2^31", name, size);
}

double AttentionFlops(const AttentionPlan& plan) {
  const size_t window = plan.options.window;
  const size_t seen = window > 0 ? std::min(window, plan.kv_len) : plan.kv_len;
  const double pairs = static_cast<double>(plan.q.batch * plan.q.heads) *
                       static_cast<double>(plan.q.len) * static_cast<double>(seen);
  return 2.0 * pairs * static_cast<double>(plan.q.dim + plan.out.dim);
}

Status PlanAttention(const TensorView& q, const KeySource& source, const MutableTensorView& out,
                     std::span<const NamedView> outputs, const AttentionOptions& options,
                     Context::Impl& context, AttentionPlan* plan) {
  plan->source = source;
  plan->pack = &*context.pack;
  plan->options = options;
  HEED_RETURN_IF_ERROR(CheckForms(FormsOf(source, options), options));
  HEED_RETURN_IF_ERROR(CheckFloatInput("q", q, 3, 4));
  HEED_RETURN_IF_ERROR(CheckFloatRowOutput(plan->part() ? "state.acc" : "out", out, 3, 4));
  plan->out = AsHeads(out);
  plan->write_out = RowWriterOf(*context.widen, out.dtype);
  HEED_RETURN_IF_ERROR(PlanQueries(q, plan));
  plan->read_q = RowReader(*context.widen, plan->q.dtype, plan->q.dim_stride);
  HEED_RETURN_IF_ERROR(PlanKeys(context, source, plan));
  HEED_RETURN_IF_ERROR(CheckDims(out, *plan));
  HEED_RETURN_IF_ERROR(CheckSizes(*plan));
  HEED_RETURN_IF_ERROR(CheckSettings(*plan));
  const CallViews views(*plan, q, outputs);
  plan->writes_nothing = views.WritesNothing();
  if (!plan->writes_nothing) HEED_RETURN_IF_ERROR(ReadLengths(context, plan));
  HEED_RETURN_IF_ERROR(CheckViews(*plan));
  HEED_RETURN_IF_ERROR(views.CheckOverlaps());
  ForgetLists(&plan->options);
  DropIdleWindow(plan);
  plan->group = plan->q.heads / plan->k.heads;
  plan->units = UnitsOf(*plan);
  CutIntoTasks(context.num_threads, plan);
  plan->prefetch = OperandBytes(*plan) > static_cast<double>(context.l2_bytes);
  if (!plan->writes_nothing) PlanMemory(context, plan);
  return Status();
}

Status alibi_slopes(const MutableTensorView& slopes) {
  const FloatEnvironment environment;
  HEED_RETURN_IF_ERROR(CheckOutput("slopes", slopes, DType::kF32, 1, 1));
  const size_t num_heads = slopes.shape[0];
  if (num_heads == 0) return Status();
  const size_t n = std::bit_floor(num_heads);
  for (size_t h = 0; h < num_heads; ++h) {
    const size_t halves = h < n ? 2 * (h + 1) : 2 * (h - n) + 1;
    MutableAt<float>(slopes, h) =
        static_cast<float>(Pow(2.0, -4.0 * static_cast<double>(halves) / static_cast<double>(n)));
  }
  return Status();
}

}  // namespace heed::inline v1
