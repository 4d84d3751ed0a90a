#include "src/matmul/packed_matrix.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>
#include <type_traits>

#include "src/base/check.h"
#include "src/base/half.h"
#include "src/base/memory.h"
#include "src/base/parallel.h"
#include "src/base/quantize.h"
#include "src/base/rows.h"
#include "src/kernels/layout.h"

namespace heed::inline v1 {
namespace {

// Of a task. Rows of whole pages, since each may lie in pages of its own.
constexpr size_t kPackColumns = 1024, kPackRows = 256;
// What is not stored as f32 is first packed as f32, so many columns of kPackRows at a time, which
// stay in L2. Groups, of kLeastGroup or more, do not cross kPackRows.
constexpr size_t kWideColumns = 128;
constexpr double kPackCost = 16;  // of an element, in multiply-adds

constexpr size_t InDim(WeightLayout layout) { return layout == WeightLayout::kInOut ? 0 : 1; }

// Panels of f32, from some column (a multiple of kPanel) and row on.
struct FloatPanels {
  float* data;
  size_t stride;  // between panels

  float* panel(size_t column) const { return data + column / kPanel * stride; }
};

// Columns [first, first + columns) of b, its rows [row, row + rows), which are those from `to` on
// of the panels: several matrices side by side need not be multiples of 16 wide.
struct Part {
  size_t first, columns, to;
  size_t row, rows;
};

void PackElements(const TensorView& b, WeightLayout layout, const Part& part,
                  const FloatPanels& panels) {
  const ptrdiff_t in_stride = b.strides[InDim(layout)], out_stride = b.strides[1 - InDim(layout)];
  const float* from =
      static_cast<const float*>(b.data) + static_cast<ptrdiff_t>(part.row) * in_stride;
  for (size_t done = 0; done < part.columns;) {  // up to the end of a panel at a time
    const size_t lane = (part.to + done) % kPanel,
                 width = std::min(kPanel - lane, part.columns - done);
    float* panel = panels.panel(part.to + done) + lane;
    const float* source = from + static_cast<ptrdiff_t>(part.first + done) * out_stride;
    for (size_t k = 0; k < part.rows; ++k) {
      for (size_t i = 0; i < width; ++i) {
        panel[k * kPanel + i] =
            source[static_cast<ptrdiff_t>(k) * in_stride + static_cast<ptrdiff_t>(i) * out_stride];
      }
    }
    done += width;
  }
}

// Whole panels of floats are what PackKernels copies; it pads the last with zeros, where the next
// matrix may begin.
void PackFloats(const TensorView& b, WeightLayout layout, const Part& part,
                const FloatPanels& panels, const PackKernels& kernels) {
  const size_t lead = std::min(part.columns, RoundUp(part.to, kPanel) - part.to);
  PackElements(b, layout, {part.first, lead, part.to, part.row, part.rows}, panels);
  if (lead == part.columns) return;
  PanelCopy copy;
  copy.depth_stride = b.strides[InDim(layout)];
  copy.column_stride = b.strides[1 - InDim(layout)];
  copy.source = static_cast<const float*>(b.data) +
                static_cast<ptrdiff_t>(part.row) * copy.depth_stride +
                static_cast<ptrdiff_t>(part.first + lead) * copy.column_stride;
  copy.depth = part.rows;
  copy.columns = part.columns - lead;
  copy.panels = panels.panel(part.to + lead);
  copy.panel_stride = panels.stride;
  // So few rows at a time that their pages stay known.
  const size_t step = copy.column_stride == 1 ? 16 : part.rows;
  for (size_t row = 0; row < part.rows; row += step) {
    kernels.panels(copy.Part(row, std::min(step, part.rows - row)));
  }
}

// 16-bit numbers are widened in runs that lie side by side, a piece at a time, and then packed as
// floats.
void PackHalves(const TensorView& b, WeightLayout layout, const Part& part,
                const FloatPanels& panels, const Context::Impl& context) {
  constexpr size_t kRunsAtOnce = kPanel;
  float wide[kRunsAtOnce * kPackRows];
  const size_t in_dim = InDim(layout);
  const bool along_rows = b.strides[1 - in_dim] == 1;
  const size_t most_rows = along_rows ? kRunsAtOnce : kPackRows;
  const size_t most_columns = along_rows ? kPackRows : kRunsAtOnce;
  const RowReader read(*context.widen, b.dtype, along_rows ? 1 : b.strides[in_dim]);
  const auto* from = static_cast<const uint16_t*>(b.data);
  for (size_t row = 0; row < part.rows; row += most_rows) {
    const size_t rows = std::min(most_rows, part.rows - row);
    for (size_t column = 0, columns; column < part.columns; column += columns) {
      columns = std::min(most_columns - (part.to + column) % kPanel, part.columns - column);
      const size_t runs = along_rows ? rows : columns, length = along_rows ? columns : rows;
      const uint16_t* first = from + static_cast<ptrdiff_t>(part.row + row) * b.strides[in_dim] +
                              static_cast<ptrdiff_t>(part.first + column) * b.strides[1 - in_dim];
      const ptrdiff_t step = b.strides[along_rows ? in_dim : 1 - in_dim];
      for (size_t i = 0; i < runs; ++i) {
        read(first + static_cast<ptrdiff_t>(i) * step, length, wide + i * length);
      }
      const TensorView piece(wide, {runs, length});
      const WeightLayout of_piece = along_rows ? WeightLayout::kInOut : WeightLayout::kOutIn;
      PackFloats(piece, of_piece, {0, columns, part.to + column, 0, rows},
                 {panels.data + row * kPanel, panels.stride}, *context.pack);
    }
  }
}

void PackPart(const TensorView& b, WeightLayout layout, const Part& part, const FloatPanels& panels,
              const Context::Impl& context) {
  if (b.dtype == DType::kF32) return PackFloats(b, layout, part, panels, *context.pack);
  PackHalves(b, layout, part, panels, context);
}

// Matrices side by side.
struct Source {
  const TensorView* b;
  size_t count;
  WeightLayout layout;
  size_t out;  // columns in all
  const Context::Impl& context;

  // Columns [begin, end) and rows [row, row + rows), padded with zeros.
  void ToPanels(size_t begin, size_t end, size_t row, size_t rows,
                const FloatPanels& panels) const {
    for (size_t to = std::max(begin, out / kPanel * kPanel); to < end; to += kPanel) {
      SetZero(panels.panel(to - begin), rows * kPanel);
    }
    size_t first = 0;  // column of matrix i
    for (size_t i = 0; i < count; ++i) {
      const size_t last = first + b[i].shape[1 - InDim(layout)];
      const size_t from = std::max(begin, first), to = std::min(end, last);
      if (from < to) {
        PackPart(b[i], layout, {from - first, to - from, from - begin, row, rows}, panels, context);
      }
      first = last;
    }
  }
};

Status NoMatrix() { return Status::Error(StatusCode::kInvalidArgument, "b: no matrix is given"); }

constexpr size_t kNone = SIZE_MAX;

// The first column that anything is wrong with, of those that tasks report.
class FirstBad {
 public:
  void Report(size_t column) {
    size_t before = column_.load(std::memory_order_relaxed);
    while (column < before && !column_.compare_exchange_weak(before, column)) {
    }
  }
  size_t column() const { return column_.load(); }

 private:
  std::atomic<size_t> column_ = kNone;
};

}  // namespace

bool PackedLayout::Fits() const {
  const size_t factors[] = {in, out + kColumnPad,
                            HasScales(dtype) ? 2 * sizeof(float) : sizeof(float)};
  size_t product = 0;
  return out <= PTRDIFF_MAX / 8 && Product(factors, 3, &product) &&
         product <= PTRDIFF_MAX - kAlignment;
}

bool HasGroup(DType dtype, size_t group) {
  if (!HasScales(dtype)) return group == 0;
  return (group == 0 && dtype == DType::kInt8) || group == 16 || group == 32 || group == 64 ||
         group == 128;
}

Status CheckLayout(WeightLayout layout) {
  if (layout == WeightLayout::kInOut || layout == WeightLayout::kOutIn) return Status();
  return Status::Error(StatusCode::kInvalidArgument, "layout: %d does not exist",
                       static_cast<int>(layout));
}

Status CheckPackOptions(const PackOptions& options) {
  if (StoredIndex(options.dtype) == kStoredTypes) {
    return Status::Error(StatusCode::kUnsupported,
                         "dtype: is %s, must be f32, f16, bf16, int8 or int4",
                         name_of(options.dtype));
  }
  HEED_RETURN_IF_ERROR(CheckBuilt("dtype", options.dtype));
  if (!HasGroup(options.dtype, options.group)) {
    return Status::Error(StatusCode::kInvalidArgument, "group: is %zu, must be %s for %s",
                         options.group,
                         options.dtype == DType::kInt8   ? "0, 16, 32, 64 or 128"
                         : options.dtype == DType::kInt4 ? "16, 32, 64 or 128"
                                                         : "0",
                         name_of(options.dtype));
  }
  return Status();
}

Status PackedMatrix::Impl::AddWidth(const char* name, size_t i, size_t of_in, size_t of_out) {
  if (i == 0) in = of_in;
  if (of_in != in) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "%s: matrix %zu has %zu inputs, must have %zu as the first", name, i,
                         of_in, in);
  }
  if (__builtin_add_overflow(out, of_out, &out)) {
    return Status::Error(StatusCode::kInvalidArgument, "%s: too many columns in all", name);
  }
  return Status();
}

// Of in x out, which are set.
Status PackedMatrix::Impl::SetOptions(const PackOptions& options) {
  dtype = options.dtype;
  group = options.group;
  if (!Fits()) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "b: [%zu, %zu] exceeds the address space once packed", in, out);
  }
  return Status();
}

uint8_t* PackedMatrix::Impl::LayOut(Arena* arena) const {
  (void)arena->Take<Impl>();
  return arena->Take<uint8_t>(data == nullptr ? bytes() : 0);
}

Result<PackedMatrix> PackedMatrix::Impl::Make(const Impl& described, const Memory& memory) {
  Arena counted;
  described.LayOut(&counted);
  void* at = memory.data;
  const bool on_heap = IsHeap(memory);
  if (on_heap) {
    at = Allocate(counted.used());
    if (at == nullptr) return OutOfMemory("packed matrix", counted.used());
  } else {
    HEED_RETURN_IF_ERROR(CheckMemory(memory, counted.used()));
  }
  PackedMatrix matrix;
  matrix.impl_.reset(new (at) Impl(described));
  Impl& impl = *matrix.impl_;
  impl.on_heap = on_heap;
  Arena arena(at);
  uint8_t* data = impl.LayOut(&arena);
  if (impl.data == nullptr) {
    impl.data = impl.own = data;
    std::fill(data + impl.num_panels() * impl.panel_bytes(), impl.mutable_scales(), uint8_t{0});
  }
  return matrix;
}

// Rows [row, row + rows) of a panel, `row` even.
void PackedMatrix::Impl::StoreCodes(size_t panel, size_t row, size_t rows,
                                    const int8_t* codes) const {
  uint8_t* to = CodesAt(panel, row);
  if (dtype == DType::kInt8) {
    std::memcpy(to, codes, rows * kPanel);
    return;
  }
  for (size_t k = 0; k < rows; k += 2, to += kPanel, codes += 2 * kPanel) {
    for (size_t c = 0; c < kPanel; ++c) {
      const int upper = k + 1 < rows ? codes[kPanel + c] : 0;
      to[c] = static_cast<uint8_t>((codes[c] & 15) | (upper & 15) << 4);
    }
  }
}

void PackedMatrix::Impl::StoreScales(size_t panel, size_t row, const float* values) const {
  const size_t at = scale_index(panel, row);
  if (scale_dtype() == DType::kF32) {
    std::memcpy(mutable_scales() + at * sizeof(float), values, kPanel * sizeof(float));
    return;
  }
  f16 halves[kPanel];
  for (size_t c = 0; c < kPanel; ++c) halves[c] = ToF16(values[c]);
  std::memcpy(mutable_scales() + at * sizeof(f16), halves, sizeof(halves));
}

// Panels of f32 to codes and scales.
class PackedMatrix::Impl::Quantizer {
 public:
  Quantizer(const Impl& to, const QuantizeKernels& kernels, FirstBad* bad)
      : to_(to), kernels_(kernels), bad_(bad) {}

  // All groups that begin in rows [row, row + rows) of a panel, which end there too.
  void Groups(const float* wide, size_t panel, size_t row, size_t rows) const {
    uint8_t* scales =
        to_.mutable_scales() + to_.scale_index(panel, row) * size_of(to_.scale_dtype());
    const PanelQuantize work = {wide, rows, to_.group, scales, kPanel, to_.CodesAt(panel, row)};
    (to_.dtype == DType::kInt8 ? kernels_.int8_panel : kernels_.int4_panel)(work);
    const size_t count = CeilDiv(rows, to_.group) * kPanel;
    for (size_t i = 0; i < count; ++i) {
      const bool nan = to_.dtype == DType::kInt8
                           ? std::isnan(reinterpret_cast<const float*>(scales)[i])
                           : std::isnan(ToFloat(reinterpret_cast<const f16*>(scales)[i]));
      if (nan) bad_->Report(panel * kPanel + i % kPanel);
    }
  }

  // Where a column has one scale, its largest magnitudes (QuantizeKernels) to scales.
  void Scales(size_t panel, const int32_t* largest, float* scales) const {
    for (size_t c = 0; c < kPanel; ++c) {
      constexpr int32_t kInfinity = 0x7F800000;
      const float magnitude = largest[c] < kInfinity ? std::bit_cast<float>(largest[c])
                                                     : std::numeric_limits<float>::quiet_NaN();
      scales[c] = Int8Scale(magnitude);
      if (std::isnan(scales[c])) bad_->Report(panel * kPanel + c);
    }
    to_.StoreScales(panel, 0, scales);
  }

 private:
  const Impl& to_;
  const QuantizeKernels& kernels_;
  FirstBad* bad_;
};

Status PackedMatrix::Impl::Describe(const TensorView* b, size_t count, WeightLayout layout,
                                    const PackOptions& options) {
  HEED_RETURN_IF_ERROR(CheckPackOptions(options));
  if (b == nullptr || count == 0) return NoMatrix();
  for (size_t i = 0; i < count; ++i) {
    HEED_RETURN_IF_ERROR(CheckFloatInput("b", b[i], 2, 2));
    const size_t* sizes = b[i].shape;
    HEED_RETURN_IF_ERROR(AddWidth("b", i, sizes[InDim(layout)], sizes[1 - InDim(layout)]));
  }
  return SetOptions(options);
}

PackedMatrix::Impl::Tasks PackedMatrix::Impl::TasksFor(const Context::Impl& context) const {
  const bool wide = dtype == DType::kF32, whole = HasScales(dtype) && group == 0;
  Tasks tasks;
  tasks.width = wide ? kPackColumns : kWideColumns;
  tasks.height = whole ? in : std::min(in, kPackRows);
  const size_t padded = num_panels() * kPanel;
  tasks.stripes = CeilDiv(padded, tasks.width);
  tasks.count = tasks.stripes * CeilDiv(in, tasks.height);
  const double work = static_cast<double>(in) * static_cast<double>(padded) * kPackCost;
  tasks.workers = WorkersFor(context, tasks.count, work);
  tasks.scratch_floats = wide ? 0 : kWideColumns * kPackRows;
  return tasks;
}

size_t PackedMatrix::Impl::WorkBytes(const TensorView*, const Context::Impl& context) const {
  if (in == 0 || out == 0) return 0;
  const Tasks tasks = TasksFor(context);
  Arena counted;
  counted.Take<float>(tasks.workers, tasks.scratch_floats);
  return counted.used();
}

Status PackedMatrix::Impl::Pack(const TensorView* b, size_t count, WeightLayout layout, Arena arena,
                                const Context::Impl& context) {
  if (in == 0 || out == 0) return Status();
  const Source source{b, count, layout, out, context};
  const bool wide = dtype == DType::kF32, whole = HasScales(dtype) && group == 0;
  const Tasks tasks = TasksFor(context);
  const size_t width = tasks.width, height = tasks.height, stripes = tasks.stripes;
  const size_t scratch_floats = tasks.scratch_floats, padded = num_panels() * kPanel;
  float* scratch = arena.Take<float>(tasks.workers, scratch_floats);
  // Of what is neither f32 nor quantized.
  const auto narrow =
      context.widen->narrow[StoredIndex(dtype == DType::kF16 ? DType::kF16 : DType::kBF16)];
  FirstBad bad;
  const QuantizeKernels& kernels = *context.quantize;
  const Quantizer quantizer(*this, kernels, &bad);
  auto run = [&](size_t task, size_t worker) {
    const size_t begin = task % stripes * width, end = std::min(padded, begin + width);
    const size_t row = task / stripes * height, rows = std::min(height, in - row);
    if (wide) {
      source.ToPanels(begin, end, row, rows,
                      {reinterpret_cast<float*>(own) + begin * in + row * kPanel, in * kPanel});
      return;
    }
    const FloatPanels panels{scratch + worker * scratch_floats, kPackRows * kPanel};
    // Calls f(panel, first row, rows, its elements) for all of the task's, as f32.
    const auto for_each_panel = [&](auto f) {
      for (size_t k = row; k < row + rows; k += kPackRows) {
        const size_t steps = std::min(kPackRows, row + rows - k);
        source.ToPanels(begin, end, k, steps, panels);
        for (size_t c = begin; c < end; c += kPanel) {
          f(c / kPanel, k, steps, panels.panel(c - begin));
        }
      }
    };
    if (!HasScales(dtype)) {
      for_each_panel([&](size_t panel, size_t k, size_t steps, const float* from) {
        narrow(from, steps * kPanel,
               mutable_data() + panel * panel_bytes() + k * BytesOfStep(dtype));
      });
    } else if (!whole) {
      for_each_panel([&](size_t panel, size_t k, size_t steps, const float* from) {
        quantizer.Groups(from, panel, k, steps);
      });
    } else {  // read twice
      int32_t largest[kWideColumns] = {};
      float scales[kWideColumns];
      const size_t first = begin / kPanel;
      for_each_panel([&](size_t panel, size_t, size_t steps, const float* from) {
        kernels.panel_magnitudes(from, steps, largest + (panel - first) * kPanel);
      });
      for (size_t c = 0; c < end - begin; c += kPanel) {
        quantizer.Scales(first + c / kPanel, largest + c, scales + c);
      }
      for_each_panel([&](size_t panel, size_t k, size_t steps, const float* from) {
        kernels.int8_panel_codes(from, steps, scales + (panel - first) * kPanel, CodesAt(panel, k));
      });
    }
  };
  HEED_RETURN_IF_ERROR(ForEachTask(context, tasks.count, tasks.workers, run));
  if (bad.column() == kNone) return Status();
  return Status::Error(StatusCode::kInvalidArgument,
                       "b: output %zu has elements that are NaN, infinite or too large, must be "
                       "numbers that %s can stand for",
                       bad.column(), name_of(dtype));
}

namespace {

Status CheckQuantized(const QuantizedView& b, WeightLayout layout, const PackOptions& options) {
  HEED_RETURN_IF_ERROR(CheckInput("codes", b.codes, DType::kInt8, 2, 2));
  HEED_RETURN_IF_ERROR(CheckFloatInput("scales", b.scales, 2, 2));
  if (b.scales.dtype == DType::kBF16) {
    return Status::Error(StatusCode::kUnsupported, "scales: dtype is bf16, must be f32 or f16");
  }
  const size_t in = b.codes.shape[InDim(layout)], out = b.codes.shape[1 - InDim(layout)];
  const size_t groups = in == 0 ? 0 : options.group == 0 ? 1 : CeilDiv(in, options.group);
  if (b.scales.shape[InDim(layout)] != groups || b.scales.shape[1 - InDim(layout)] != out) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "scales: shape is %s, must have %zu outputs and %zu groups of them",
                         ShapeText(b.scales).text, out, groups);
  }
  return Status();
}

float ScaleOf(const TensorView& view, WeightLayout layout, size_t group, size_t column) {
  const ptrdiff_t at = static_cast<ptrdiff_t>(group) * view.strides[InDim(layout)] +
                       static_cast<ptrdiff_t>(column) * view.strides[1 - InDim(layout)];
  if (view.dtype == DType::kF16) return ToFloat(static_cast<const f16*>(view.data)[at]);
  return static_cast<const float*>(view.data)[at];
}

// Calls f(matrix, its column, lane) for columns [begin, end) of matrices side by side.
template <class F>
void ForEachColumn(const QuantizedView* b, size_t count, WeightLayout layout, size_t begin,
                   size_t end, F f) {
  size_t first = 0;  // column of matrix i
  for (size_t i = 0; i < count; ++i) {
    const size_t last = first + b[i].codes.shape[1 - InDim(layout)];
    for (size_t c = std::max(begin, first); c < std::min(end, last); ++c)
      f(i, c - first, c - begin);
    first = last;
  }
}

// Codes of a panel's columns, which are read row by row.
struct CodeColumns {
  size_t count = 0, done = 0;  // columns, and rows of them that were taken
  const int8_t* from[kPanel] = {};
  ptrdiff_t step[kPanel] = {};
  int8_t least[kPanel] = {}, most[kPanel] = {};

  void Add(size_t lane, const TensorView& codes, WeightLayout layout, size_t row, size_t column) {
    step[lane] = codes.strides[InDim(layout)];
    from[lane] = static_cast<const int8_t*>(codes.data) + static_cast<ptrdiff_t>(row) * step[lane] +
                 static_cast<ptrdiff_t>(column) * codes.strides[1 - InDim(layout)];
    count = lane + 1;
  }
  // The next `rows` rows, times a sign for each column.
  void Take(size_t rows, const int8_t* sign, int8_t* to) {
    // Copies, which stores of codes can't change.
    const int8_t* at[kPanel];
    int8_t signs[kPanel], low[kPanel], high[kPanel];
    std::copy_n(from, kPanel, at);
    std::copy_n(sign, kPanel, signs);
    std::copy_n(least, kPanel, low);
    std::copy_n(most, kPanel, high);
    bool side_by_side = count == kPanel;
    for (size_t c = 1; side_by_side && c < kPanel; ++c) {
      side_by_side = at[c] == at[0] + c && step[c] == step[0];
    }
    for (size_t k = done; k < done + rows; ++k, to += kPanel) {
      int8_t line[kPanel] = {};
      if (side_by_side) {
        std::memcpy(line, at[0] + static_cast<ptrdiff_t>(k) * step[0], kPanel);
      } else {
        for (size_t c = 0; c < count; ++c) line[c] = at[c][static_cast<ptrdiff_t>(k) * step[c]];
      }
      for (size_t c = 0; c < kPanel; ++c) {
        low[c] = std::min(low[c], line[c]);
        high[c] = std::max(high[c], line[c]);
        to[c] = static_cast<int8_t>(line[c] * signs[c]);
      }
    }
    done += rows;
    std::copy_n(low, kPanel, least);
    std::copy_n(high, kPanel, most);
  }
};

}  // namespace

Status PackedMatrix::Impl::Describe(const QuantizedView* b, size_t count, WeightLayout layout,
                                    const PackOptions& options) {
  HEED_RETURN_IF_ERROR(CheckPackOptions(options));
  if (!HasScales(options.dtype)) {
    return Status::Error(StatusCode::kUnsupported, "dtype: is %s, must be int8 or int4",
                         name_of(options.dtype));
  }
  if (b == nullptr || count == 0) return NoMatrix();
  for (size_t i = 0; i < count; ++i) {
    HEED_RETURN_IF_ERROR(CheckQuantized(b[i], layout, options));
    const size_t* sizes = b[i].codes.shape;
    HEED_RETURN_IF_ERROR(AddWidth("b", i, sizes[InDim(layout)], sizes[1 - InDim(layout)]));
  }
  return SetOptions(options);
}

Status PackedMatrix::Impl::Pack(const QuantizedView* b, size_t count, WeightLayout layout, Arena,
                                const Context::Impl& context) {
  if (in == 0 || out == 0) return Status();
  const int lowest = dtype == DType::kInt8 ? -127 : -8, highest = dtype == DType::kInt8 ? 127 : 7;
  const size_t tasks = num_panels();
  const double work = static_cast<double>(in) * static_cast<double>(tasks * kPanel) * kPackCost;
  FirstBad bad_codes, bad_scales;
  HEED_RETURN_IF_ERROR(
      ForEachTask(context, tasks, WorkersFor(context, tasks, work), [&](size_t panel, size_t) {
        const size_t begin = panel * kPanel, end = begin + kPanel;
        // What codes of a group of kPackRows are multiplied by, see below.
        int8_t signs[kPackRows / kLeastGroup][kPanel] = {};
        for (size_t row = 0; row < in; row += kPackRows) {
          const size_t rows = std::min(kPackRows, in - row);
          int8_t codes[kPackRows * kPanel] = {};
          for (size_t k = row; k < row + rows; k += group_steps()) {
            if (group == 0 && row > 0) break;
            float scales[kPanel] = {};
            int8_t* sign = signs[(k - row) / group_steps()];
            ForEachColumn(b, count, layout, begin, end, [&](size_t i, size_t column, size_t lane) {
              const float scale = ScaleOf(b[i].scales, layout, k / group_steps(), column);
              const bool exact = dtype == DType::kInt8 || ToFloat(ToF16(scale)) == scale;
              if (!(std::fabs(scale) <= std::numeric_limits<float>::max()) || !exact) {
                bad_scales.Report(begin + lane);
              }
              // Kernels multiply an int8 by its scale, so none is negative, and zeros are +0.
              sign[lane] = dtype == DType::kInt4 || scale > 0.0f ? 1 : scale < 0.0f ? -1 : 0;
              scales[lane] = dtype == DType::kInt4 ? scale : std::fabs(scale);
            });
            StoreScales(panel, k, scales);
          }
          CodeColumns columns;
          ForEachColumn(b, count, layout, begin, end, [&](size_t i, size_t column, size_t lane) {
            columns.Add(lane, b[i].codes, layout, row, column);
          });
          for (size_t k = 0; k < rows;) {
            const size_t steps = group == 0 ? rows : std::min(group, rows - k);
            columns.Take(steps, signs[group == 0 ? 0 : k / group], codes + k * kPanel);
            k += steps;
          }
          for (size_t lane = 0; lane < columns.count; ++lane) {
            if (columns.least[lane] < lowest || columns.most[lane] > highest) {
              bad_codes.Report(begin + lane);
            }
          }
          StoreCodes(panel, row, rows, codes);
        }
      }));
  if (bad_codes.column() != kNone) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "codes: one of output %zu is out of range, must be from %d to %d",
                         bad_codes.column(), lowest, highest);
  }
  if (bad_scales.column() != kNone) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "scales: one of output %zu is NaN, infinite%s, must be a finite %s",
                         bad_scales.column(), dtype == DType::kInt4 ? " or not an f16" : "",
                         name_of(scale_dtype()));
  }
  return Status();
}

namespace {

// What a matrix of 0 x 0 holds, so that none that was moved from is taken for one.
static_assert(std::is_trivially_destructible_v<PackedMatrix::Impl>);
constinit PackedMatrix::Impl nothing;

}  // namespace

PackedMatrix::~PackedMatrix() = default;
PackedMatrix::PackedMatrix(PackedMatrix&& other) noexcept = default;
PackedMatrix& PackedMatrix::operator=(PackedMatrix&& other) noexcept = default;

void PackedMatrix::Destroy::operator()(Impl* impl) const {
  if (impl != &nothing) Remove(impl);
}

PackedMatrix::PackedMatrix() : impl_(&nothing) {}

size_t PackedMatrix::in() const { return impl_ ? impl_->in : 0; }

size_t PackedMatrix::out() const { return impl_ ? impl_->out : 0; }

DType PackedMatrix::dtype() const { return impl_ ? impl_->dtype : DType::kF32; }

size_t PackedMatrix::group() const { return impl_ ? impl_->group : 0; }

size_t PackedMatrix::bytes() const { return impl_ ? impl_->bytes() : 0; }

Result<PackedMatrix> PackedMatrix::pack(const TensorView& b, WeightLayout layout,
                                        const PackOptions& options, Context& context) {
  return pack(&b, 1, layout, options, context);
}

Result<PackedMatrix> PackedMatrix::pack(const TensorView& b, WeightLayout layout,
                                        Context& context) {
  return pack(&b, 1, layout, PackOptions(), context);
}

Result<PackedMatrix> PackedMatrix::pack(const TensorView* b, size_t count, WeightLayout layout,
                                        Context& context) {
  return pack(b, count, layout, PackOptions(), context);
}

Result<PackedMatrix> PackedMatrix::pack(const TensorView* b, size_t count, WeightLayout layout,
                                        const PackOptions& options, Context& context) {
  return Impl::MakePacked(b, count, layout, options, {}, context);
}

Result<PackedMatrix> PackedMatrix::pack_quantized(const QuantizedView* b, size_t count,
                                                  WeightLayout layout, const PackOptions& options,
                                                  Context& context) {
  return Impl::MakePacked(b, count, layout, options, {}, context);
}

Result<PackedMatrix> PackedMatrix::pack(const TensorView* b, size_t count, WeightLayout layout,
                                        const PackOptions& options, const Memory& memory,
                                        Context& context) {
  return Impl::MakePacked(b, count, layout, options, memory, context);
}

Result<PackedMatrix> PackedMatrix::pack_quantized(const QuantizedView* b, size_t count,
                                                  WeightLayout layout, const PackOptions& options,
                                                  const Memory& memory, Context& context) {
  return Impl::MakePacked(b, count, layout, options, memory, context);
}

Result<size_t> PackedMatrix::memory_bytes(size_t in, size_t out, const PackOptions& options) {
  HEED_RETURN_IF_ERROR(CheckPackOptions(options));
  Impl impl;
  impl.in = in;
  impl.out = out;
  HEED_RETURN_IF_ERROR(impl.SetOptions(options));
  Arena counted;
  impl.LayOut(&counted);
  return counted.used();
}

}  // namespace heed::inline v1
