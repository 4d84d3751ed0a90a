#include "heed/quantize.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

#include "src/base/check.h"
#include "src/base/context.h"
#include "src/base/half.h"
#include "src/base/heads_view.h"
#include "src/base/parallel.h"
#include "src/kernels/layout.h"
#include "src/kernels/panels.h"
#include "src/matmul/packed_matrix.h"

namespace heed::inline v1 {
namespace {

// Rows of a task. Where rows lie side by side, as the columns of a matrix do, a cache line of them
// is read at a time.
constexpr size_t kTaskRows = 16;
constexpr double kElementCost = 16;  // in multiply-adds

size_t RowsOf(const TensorView& view) {
  size_t rows = 1;
  for (size_t i = 0; i + 1 < view.rank; ++i) rows *= view.shape[i];
  return rows;
}

// Rows [first, first + count) of x as f32, to[count][n].
template <class T>
void LoadElements(const TensorView& x, size_t first, size_t count, float* to) {
  const size_t n = x.shape[x.rank - 1];
  const ptrdiff_t step = x.strides[x.rank - 1];
  const T* from[kTaskRows];
  for (size_t r = 0; r < count; ++r)
    from[r] = static_cast<const T*>(x.data) + RowOffset(x, first + r);
  if (step == 1) {
    for (size_t r = 0; r < count; ++r) {
      for (size_t i = 0; i < n; ++i) to[r * n + i] = ToFloat(from[r][i]);
    }
    return;
  }
  for (size_t i = 0; i < n; ++i) {
    for (size_t r = 0; r < count; ++r) {
      to[r * n + i] = ToFloat(from[r][static_cast<ptrdiff_t>(i) * step]);
    }
  }
}

void LoadRows(const TensorView& x, size_t first, size_t count, float* to) {
  switch (x.dtype) {
    case DType::kF16:
      return LoadElements<f16>(x, first, count, to);
    case DType::kBF16:
      return LoadElements<bf16>(x, first, count, to);
    default:
      return LoadElements<float>(x, first, count, to);
  }
}

// Codes of int4 as attention() takes them. `n` of them fill CeilDiv(n, 2) bytes.
void StorePackedRow(const int8_t* codes, size_t n, const MutableTensorView& view, size_t index) {
  uint8_t* to = static_cast<uint8_t*>(view.mutable_data()) + RowOffset(view, index);
  for (size_t i = 0; i < n; i += 2, to += view.strides[view.rank - 1]) {
    const int upper = i + 1 < n ? codes[i + 1] : 0;
    *to = static_cast<uint8_t>((codes[i] & 15) | (upper & 15) << 4);
  }
}

// A row of n elements to row `index` of a view of the same type.
template <class T>
void StoreRow(const T* from, const MutableTensorView& view, size_t index) {
  T* to = static_cast<T*>(view.mutable_data()) + RowOffset(view, index);
  const size_t n = view.shape[view.rank - 1];
  const ptrdiff_t step = view.strides[view.rank - 1];
  for (size_t i = 0; i < n; ++i) to[static_cast<ptrdiff_t>(i) * step] = from[i];
}

size_t Groups(size_t n, size_t group) { return n == 0 ? 0 : group == 0 ? 1 : CeilDiv(n, group); }

// y[i] = code * scale; the addition makes -0 of a negative scale +0.
template <class T>
void ReadCodes(const int8_t* codes, const T* scales, size_t n, size_t group, float* y) {
  for (size_t i = 0; i < n; ++scales) {
    const float scale = ToFloat(*scales);
    for (const size_t end = std::min(n, i + group); i < end; ++i) {
      y[i] = static_cast<float>(codes[i]) * scale + 0.0f;
    }
  }
}

// Sums over one row, from its first element on; those of rows are added likewise.
struct ErrorSums {
  double error = 0.0, given = 0.0;  // of squares
  double largest = 0.0;             // NaN, if there is one

  void Include(double stored, double x) {
    const double e = std::fabs(stored - x);
    error += e * e;
    given += x * x;
    largest = e > largest || std::isnan(e) ? e : largest;
  }
  void Include(const ErrorSums& row) {
    error += row.error;
    given += row.given;
    largest = row.largest > largest || std::isnan(row.largest) ? row.largest : largest;
  }
  QuantizationError Of(double count) const {
    if (error == 0.0) return {};
    return {static_cast<float>(std::sqrt(error / count)), static_cast<float>(largest),
            static_cast<float>(std::sqrt(error / given))};
  }
};

// How rows are stored, and what a worker needs for one.
struct Store {
  DType dtype;
  size_t n, group;  // at least 1
};
struct RowMemory {
  float* x;       // [kTaskRows][n]
  float* stored;  // [n]
  void* bits;     // [n] of 16 or 8 bits
  float* scales;  // [groups], or of f16
};

// One row as it is stored: its codes and scales, or its 16-bit numbers, and those as f32.
void StoreRowAs(const Store& store, const Context::Impl& context, const float* x,
                const RowMemory& memory) {
  auto* codes = static_cast<int8_t*>(memory.bits);
  auto* halves = reinterpret_cast<f16*>(memory.scales);
  switch (store.dtype) {
    case DType::kInt8:
      context.quantize->int8_row(x, store.n, store.group, memory.scales, codes);
      return ReadCodes(codes, memory.scales, store.n, store.group, memory.stored);
    case DType::kInt4:
      context.quantize->int4_row(x, store.n, store.group, halves, codes);
      return ReadCodes(codes, halves, store.n, store.group, memory.stored);
    case DType::kF16:
    case DType::kBF16:
      context.widen->narrow[StoredIndex(store.dtype)](x, store.n, memory.bits);
      return context.widen->row[StoredIndex(store.dtype)](memory.bits, store.n, memory.stored);
    default:
      std::memcpy(memory.stored, x, store.n * sizeof(float));
  }
}

void WriteError(const MutableTensorView& view, size_t row, float value) {
  if (view.absent()) return;
  ptrdiff_t offset = 0;
  for (size_t i = view.rank; i-- > 0; row /= view.shape[i]) {
    offset += static_cast<ptrdiff_t>(row % view.shape[i]) * view.strides[i];
  }
  static_cast<float*>(view.mutable_data())[offset] = value;
}

// Stores every row of x, hands it to write(row, memory), and returns the error of all.
template <class F>
Result<QuantizationError> ForEachRow(const TensorView& x, DType dtype, size_t group,
                                     const RowErrors& errors, Context::Impl& context, F write) {
  const size_t n = x.shape[x.rank - 1], rows = RowsOf(x), tasks = CeilDiv(rows, kTaskRows);
  const Store store = {dtype, n, group == 0 ? std::max<size_t>(n, 1) : group};
  const double work = static_cast<double>(rows) * static_cast<double>(n) * kElementCost;
  const size_t workers = WorkersFor(context, tasks, work);
  const auto take = [&](Arena* arena, ErrorSums** sums) {
    *sums = arena->Take<ErrorSums>(rows);
    RowMemory memory;
    memory.x = arena->Take<float>(workers, kTaskRows, n);
    memory.stored = arena->Take<float>(workers, n);
    memory.bits = arena->Take<uint16_t>(workers, n);
    memory.scales = arena->Take<float>(workers, Groups(n, group));
    return memory;
  };
  ErrorSums* sums = nullptr;
  Arena counted, arena;
  take(&counted, &sums);
  HEED_RETURN_IF_ERROR(context.Reserve(counted.used(), &arena));
  const RowMemory all = take(&arena, &sums);
  const Status status = ForEachTask(context, tasks, workers, [&](size_t task, size_t worker) {
    const RowMemory memory = {all.x + worker * kTaskRows * n, all.stored + worker * n,
                              static_cast<uint16_t*>(all.bits) + worker * n,
                              all.scales + worker * Groups(n, group)};
    const size_t first = task * kTaskRows, count = std::min(kTaskRows, rows - first);
    LoadRows(x, first, count, memory.x);
    for (size_t r = 0; r < count; ++r) {
      const float* of_row = memory.x + r * n;
      StoreRowAs(store, context, of_row, memory);
      ErrorSums row;
      for (size_t i = 0; i < n; ++i) {
        row.Include(static_cast<double>(memory.stored[i]), static_cast<double>(of_row[i]));
      }
      sums[first + r] = row;
      const QuantizationError error = row.Of(static_cast<double>(n));
      WriteError(errors.rms, first + r, error.rms);
      WriteError(errors.largest, first + r, error.largest);
      WriteError(errors.relative, first + r, error.relative);
      write(first + r, memory);
    }
  });
  HEED_RETURN_IF_ERROR(status);
  ErrorSums sum;
  for (size_t row = 0; row < rows; ++row) sum.Include(sums[row]);
  return sum.Of(static_cast<double>(rows) * static_cast<double>(n));
}

// [...], x's shape without the last dimension.
Status CheckRowErrors(const char* name, const MutableTensorView& view, const TensorView& x) {
  if (view.absent()) return Status();
  HEED_RETURN_IF_ERROR(CheckOutput(name, view, DType::kF32, 0, kMaxRank));
  if (view.rank != x.rank - 1 || !std::equal(view.shape, view.shape + view.rank, x.shape)) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "%s: shape is %s, must be that of the rows of %s", name,
                         ShapeText(view).text, ShapeText(x).text);
  }
  return Status();
}

Status CheckErrors(const RowErrors& errors, const TensorView& x) {
  HEED_RETURN_IF_ERROR(CheckRowErrors("rms", errors.rms, x));
  HEED_RETURN_IF_ERROR(CheckRowErrors("largest", errors.largest, x));
  return CheckRowErrors("relative", errors.relative, x);
}

Status CheckSameShape(const char* name, const TensorView& view, const char* like_name,
                      const TensorView& like) {
  if (view.rank == like.rank && std::equal(view.shape, view.shape + view.rank, like.shape)) {
    return Status();
  }
  return Status::Error(StatusCode::kInvalidArgument, "%s: shape is %s, must be that of %s, %s",
                       name, ShapeText(view).text, like_name, ShapeText(like).text);
}

// One code a byte, or two: like's shape, with n codes in the last dimension.
Status CheckCodes(const TensorView& codes, const char* like_name, const TensorView& like) {
  if (codes.dtype != DType::kInt4) return CheckSameShape("codes", codes, like_name, like);
  const size_t last = like.rank - 1, bytes = CeilDiv(like.shape[last], 2);
  if (codes.rank == like.rank && std::equal(like.shape, like.shape + last, codes.shape) &&
      codes.shape[last] == bytes) {
    return Status();
  }
  return Status::Error(StatusCode::kInvalidArgument,
                       "codes: shape is %s, must have %zu bytes of two codes in place of the last "
                       "of %s, %s",
                       ShapeText(codes).text, bytes, like_name, ShapeText(like).text);
}

Status CheckScales(const TensorView& scales, const TensorView& like, size_t group) {
  const size_t last = like.rank - 1, groups = Groups(like.shape[last], group);
  if (scales.rank == like.rank && std::equal(like.shape, like.shape + last, scales.shape) &&
      scales.shape[last] == groups) {
    return Status();
  }
  return Status::Error(StatusCode::kInvalidArgument,
                       "scales: shape is %s, must have %zu groups in place of the last of %s",
                       ShapeText(scales).text, groups, ShapeText(like).text);
}

}  // namespace

Result<QuantizationError> quantize(const TensorView& x, DType dtype, size_t group,
                                   const MutableTensorView& codes, const MutableTensorView& scales,
                                   const RowErrors& errors, Context& context) {
  const Call call(context);
  HEED_RETURN_IF_ERROR(call.status());
  HEED_RETURN_IF_ERROR(CheckFloatInput("x", x, 1, kMaxRank));
  if (!HasScales(dtype)) {
    return Status::Error(StatusCode::kUnsupported, "dtype: is %s, must be int8 or int4",
                         name_of(dtype));
  }
  HEED_RETURN_IF_ERROR(CheckBuilt("dtype", dtype));
  const bool two_a_byte = dtype == DType::kInt4 && codes.dtype == DType::kInt4;
  HEED_RETURN_IF_ERROR(
      CheckOutput("codes", codes, two_a_byte ? DType::kInt4 : DType::kInt8, 1, kMaxRank));
  HEED_RETURN_IF_ERROR(CheckCodes(codes, "x", x));
  const bool halves = dtype == DType::kInt4 && scales.dtype == DType::kF16;
  HEED_RETURN_IF_ERROR(
      CheckOutput("scales", scales, halves ? DType::kF16 : DType::kF32, 1, kMaxRank));
  HEED_RETURN_IF_ERROR(CheckScales(scales, x, group));
  HEED_RETURN_IF_ERROR(CheckErrors(errors, x));
  const NamedView outputs[] = {{"codes", &codes},
                               {"scales", &scales},
                               {"rms", &errors.rms},
                               {"largest", &errors.largest},
                               {"relative", &errors.relative}};
  const NamedView inputs[] = {{"x", &x}};
  HEED_RETURN_IF_ERROR(CheckNoOverlaps(outputs, inputs));
  Context::Impl& impl = *Context::Impl::Of(context);
  return ForEachRow(x, dtype, group, errors, impl, [&](size_t row, const RowMemory& memory) {
    const auto* of_row = static_cast<const int8_t*>(memory.bits);
    if (two_a_byte) {
      StorePackedRow(of_row, x.shape[x.rank - 1], codes, row);
    } else {
      StoreRow(of_row, codes, row);
    }
    const auto* of_int4 = reinterpret_cast<const f16*>(memory.scales);
    if (dtype == DType::kInt8) return StoreRow(memory.scales, scales, row);
    if (halves) return StoreRow(of_int4, scales, row);
    float* to = static_cast<float*>(scales.mutable_data()) + RowOffset(scales, row);
    for (size_t g = 0; g < scales.shape[scales.rank - 1]; ++g) {
      to[static_cast<ptrdiff_t>(g) * scales.strides[scales.rank - 1]] = ToFloat(of_int4[g]);
    }
  });
}

namespace {

int CodeAt(const int8_t* row, ptrdiff_t step, size_t i) {
  return row[static_cast<ptrdiff_t>(i) * step];
}
int PackedCodeAt(const int8_t* row, ptrdiff_t step, size_t i) {
  const int byte = static_cast<uint8_t>(row[static_cast<ptrdiff_t>(i / 2) * step]);
  return ((i % 2 == 0 ? byte & 15 : byte >> 4) ^ 8) - 8;
}

// One row of y; kCodeAt(row, step, i) is its code i.
template <class T, int (*kCodeAt)(const int8_t*, ptrdiff_t, size_t)>
void DequantizeRow(const TensorView& codes, const TensorView& scales, size_t group,
                   const MutableTensorView& y, size_t row) {
  const size_t last = y.rank - 1, n = y.shape[last];
  const auto* code = static_cast<const int8_t*>(codes.data) + RowOffset(codes, row);
  const T* scale = static_cast<const T*>(scales.data) + RowOffset(scales, row);
  float* to = static_cast<float*>(y.mutable_data()) + RowOffset(y, row);
  for (size_t i = 0; i < n; scale += scales.strides[last]) {
    const float by = ToFloat(*scale);
    for (const size_t end = group == 0 ? n : std::min(n, i + group); i < end; ++i) {
      to[static_cast<ptrdiff_t>(i) * y.strides[last]] =
          static_cast<float>(kCodeAt(code, codes.strides[last], i)) * by + 0.0f;
    }
  }
}

}  // namespace

Status dequantize(const TensorView& codes, const TensorView& scales, size_t group,
                  const MutableTensorView& y, Context& context) {
  const Call call(context);
  HEED_RETURN_IF_ERROR(call.status());
  const bool two_a_byte = codes.dtype == DType::kInt4, halves = scales.dtype == DType::kF16;
  HEED_RETURN_IF_ERROR(
      CheckInput("codes", codes, two_a_byte ? DType::kInt4 : DType::kInt8, 1, kMaxRank));
  // A byte each they may be int4's too.
  if (two_a_byte || !IsBuilt(DType::kInt4)) {
    HEED_RETURN_IF_ERROR(CheckBuilt("codes", codes.dtype));
  }
  HEED_RETURN_IF_ERROR(
      CheckInput("scales", scales, halves ? DType::kF16 : DType::kF32, 1, kMaxRank));
  HEED_RETURN_IF_ERROR(CheckOutput("y", y, DType::kF32, 1, kMaxRank));
  HEED_RETURN_IF_ERROR(CheckCodes(codes, "y", y));
  HEED_RETURN_IF_ERROR(CheckScales(scales, y, group));
  HEED_RETURN_IF_ERROR(CheckNoOverlap("y", y, "codes", codes));
  HEED_RETURN_IF_ERROR(CheckNoOverlap("y", y, "scales", scales));
  const size_t count = y.num_elements();
  if (count == 0) return Status();
  const Context::Impl& impl = *Context::Impl::Of(context);
  const size_t rows = RowsOf(y), tasks = CeilDiv(rows, kTaskRows);
  const double work = static_cast<double>(count) * kElementCost;
  constexpr decltype(&DequantizeRow<f16, CodeAt>) kRowsOf[2][2] = {
      {&DequantizeRow<float, CodeAt>, &DequantizeRow<f16, CodeAt>},
      {&DequantizeRow<float, PackedCodeAt>, &DequantizeRow<f16, PackedCodeAt>}};
  const auto of_row = kRowsOf[two_a_byte][halves];
  return ForEachTask(impl, tasks, WorkersFor(impl, tasks, work), [&](size_t task, size_t) {
    for (size_t row = task * kTaskRows; row < std::min(rows, (task + 1) * kTaskRows); ++row) {
      of_row(codes, scales, group, y, row);
    }
  });
}

Result<QuantizationError> storage_error(const TensorView& b, WeightLayout layout,
                                        const PackOptions& options, const RowErrors& channels,
                                        Context& context) {
  const Call call(context);
  HEED_RETURN_IF_ERROR(call.status());
  HEED_RETURN_IF_ERROR(CheckFloatInput("b", b, 2, 2));
  HEED_RETURN_IF_ERROR(CheckPackOptions(options));
  HEED_RETURN_IF_ERROR(CheckLayout(layout));
  const TensorView rows = layout == WeightLayout::kOutIn ? b : b.transpose(0, 1);
  HEED_RETURN_IF_ERROR(CheckErrors(channels, rows));
  const NamedView outputs[] = {
      {"rms", &channels.rms}, {"largest", &channels.largest}, {"relative", &channels.relative}};
  const NamedView inputs[] = {{"b", &b}};
  HEED_RETURN_IF_ERROR(CheckNoOverlaps(outputs, inputs));
  return ForEachRow(rows, options.dtype, options.group, channels, *Context::Impl::Of(context),
                    [](size_t, const RowMemory&) {});
}

}  // namespace heed::inline v1
