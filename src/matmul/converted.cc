#include "src/matmul/converted.h"

#include <algorithm>

#include "src/base/check.h"
#include "src/base/memory.h"
#include "src/base/parallel.h"
#include "src/base/rows.h"

namespace heed::inline v1 {
namespace {

// Of a piece's a and c together, and of its b: 16 MB.
constexpr size_t kPieceFloats = size_t{4} << 20;
// Every piece of the rows reads all of b, so it has so many at least.
constexpr size_t kMinPieceRows = 384;
constexpr size_t kUnitColumns = 64;  // pieces of columns are multiples of these
constexpr size_t kRowsAtOnce = 16;   // of b, widened before they go into panels
constexpr double kElementCost = 4;   // of a conversion, in multiply-adds

bool Widens(const MatrixView& of) { return of.dtype != DType::kF32; }

size_t StagingFloats(size_t columns) { return std::max(kRowsAtOnce * columns, kPanel * kSumChunk); }

// A piece's memory, laid out in an arena.
struct PieceMemory {
  float *bias, *a, *c, *b;  // null where the caller's is used
  float* staging;           // [workers], of b

  PieceMemory(const MatmulPlan& plan, size_t workers, Arena* arena) {
    const Conversion& v = plan.conversion;
    const Product2d& p = plan.p;
    bias = arena->TakeIf<float>(Widens(v.bias), p.n);
    a = arena->TakeIf<float>(Widens(v.a), v.rows, p.k);
    c = arena->TakeIf<float>(Widens(v.c), v.rows, v.columns);
    b = arena->TakeIf<float>(Widens(v.b), RoundUp(v.columns, kColumnPad), p.k);
    staging = arena->TakeIf<float>(Widens(v.b), workers, StagingFloats(v.columns));
  }
};

size_t PackTasks(const MatmulPlan& plan) { return CeilDiv(plan.p.k, kSumChunk); }

// The product of a's rows [row, row + rows) and b's columns [column, column + columns), all f32.
MatmulPlan PieceOf(const MatmulPlan& plan, const PieceMemory& memory, size_t row, size_t rows,
                   size_t column, size_t columns) {
  const Conversion& v = plan.conversion;
  MatmulPlan piece;
  piece.p = plan.p;
  piece.p.m = rows;
  piece.p.n = columns;
  piece.packed = plan.packed;
  piece.compute = plan.compute;
  piece.plain = plan.plain;
  const auto at = [](const MatrixView& of, size_t i, size_t j) {
    return static_cast<const float*>(of.data) + static_cast<ptrdiff_t>(i) * of.row_stride +
           static_cast<ptrdiff_t>(j) * of.column_stride;
  };
  if (Widens(v.a)) {
    piece.p.a = memory.a;
    piece.p.a_row = static_cast<ptrdiff_t>(plan.p.k);
    piece.p.a_k = 1;
  } else {
    piece.p.a = at(v.a, row, 0);
  }
  if (Widens(v.c)) {
    piece.p.c = memory.c;
    piece.p.c_row = static_cast<ptrdiff_t>(columns);
  } else {
    piece.p.c = const_cast<float*>(at(v.c, row, column));
  }
  if (v.bias.data != nullptr) {
    piece.p.bias = Widens(v.bias) ? memory.bias + column : at(v.bias, 0, column);
  }
  if (Widens(v.b)) {
    piece.packed = {};
    piece.packed.data = memory.b;
  }
  return piece;
}

// visit(row, rows, column, columns) for all pieces; those of the same columns follow one another.
template <class Visit>
Status ForEachPiece(const MatmulPlan& plan, const Visit& visit) {
  const Conversion& v = plan.conversion;
  for (size_t column = 0; column < plan.p.n; column += v.columns) {
    const size_t columns = std::min(v.columns, plan.p.n - column);
    for (size_t row = 0; row < plan.p.m; row += v.rows) {
      const Status status = visit(row, std::min(v.rows, plan.p.m - row), column, columns);
      if (!status.ok()) return status;
    }
  }
  return Status();
}

// Columns [column, column + columns) of b into panels, a chunk of the depth a task.
Status PackColumns(const MatmulPlan& plan, const PieceMemory& memory, size_t column, size_t columns,
                   const Context::Impl& context) {
  const Conversion& v = plan.conversion;
  const size_t depth = plan.p.k, tasks = PackTasks(plan);
  const bool along_rows = v.b.column_stride == 1;
  const RowReader read(*context.widen, v.b.dtype, along_rows ? 1 : v.b.row_stride);
  const double work = kElementCost * static_cast<double>(depth) * static_cast<double>(columns);
  return ForEachTask(
      context, tasks, WorkersFor(context, tasks, work), [&](size_t task, size_t worker) {
        const size_t begin = task * kSumChunk, end = std::min(depth, begin + kSumChunk);
        float* staging = memory.staging + worker * StagingFloats(v.columns);
        PanelCopy copy;
        copy.source = staging;
        copy.panel_stride = depth * kPanel;
        for (size_t k = begin; along_rows && k < end; k += kRowsAtOnce) {
          const size_t rows = std::min(kRowsAtOnce, end - k);
          for (size_t i = 0; i < rows; ++i) {
            read(v.b.at(k + i, column), columns, staging + i * columns);
          }
          copy.depth_stride = static_cast<ptrdiff_t>(columns);
          copy.column_stride = 1;
          copy.depth = rows;
          copy.columns = columns;
          copy.panels = memory.b + k * kPanel;
          context.pack->panels(copy);
        }
        for (size_t j = 0; !along_rows && j < columns; j += kPanel) {
          const size_t some = std::min(kPanel, columns - j);
          for (size_t i = 0; i < some; ++i) {
            read(v.b.at(begin, column + j + i), end - begin, staging + i * (end - begin));
          }
          copy.depth_stride = 1;
          copy.column_stride = static_cast<ptrdiff_t>(end - begin);
          copy.depth = end - begin;
          copy.columns = some;
          copy.panels = memory.b + j * depth + begin * kPanel;
          context.pack->panels(copy);
        }
        // What makes whole tiles of the last columns.
        for (size_t j = RoundUp(columns, kPanel); j < RoundUp(columns, kColumnPad); j += kPanel) {
          SetZero(memory.b + j * depth + begin * kPanel, (end - begin) * kPanel);
        }
      });
}

Status ForEachRow(const Context::Impl& context, size_t rows, size_t elements, const auto& visit) {
  const double work = kElementCost * static_cast<double>(rows) * static_cast<double>(elements);
  return ForEachTask(context, rows, WorkersFor(context, rows, work),
                     [&](size_t row, size_t) { visit(row); });
}

}  // namespace

void PlanConverted(const Context::Impl& context, MatmulPlan* plan) {
  const Product2d& p = plan->p;
  Conversion& v = plan->conversion;
  plan->order = ProductOrder::kConverted;
  const size_t depth = std::max<size_t>(p.k, 1);
  v.columns = p.n;
  if (Widens(v.b)) {
    // Panels of few rows are read once, and so stay in L2 until then.
    const size_t near = context.l2_bytes / 2 / sizeof(float);
    const size_t most = p.m < kTileRows ? near * context.num_threads : kPieceFloats;
    const size_t least = kUnitColumns * context.num_threads;
    v.columns = std::min(p.n, std::max(least, most / depth / kUnitColumns * kUnitColumns));
  }
  const size_t row = (Widens(v.a) ? p.k : 0) + (Widens(v.c) ? v.columns : 0);
  v.rows = std::min(p.m, std::max(kMinPieceRows, kPieceFloats / std::max<size_t>(row, 1)));
  Arena arena;
  const PieceMemory memory(*plan, context.num_threads, &arena);
  size_t most = 0;
  for (const size_t rows : {v.rows, p.m % v.rows}) {
    for (const size_t columns : {v.columns, p.n % v.columns}) {
      if (rows == 0 || columns == 0) continue;
      MatmulPlan piece = PieceOf(*plan, memory, 0, rows, 0, columns);
      if (Widens(v.b)) piece.packed.data = plan;  // not absent
      PlanTasks(context, &piece);
      most = std::max(most, piece.bytes);
    }
  }
  if (__builtin_add_overflow(arena.used(), most, &plan->bytes)) plan->bytes = SIZE_MAX;
}

Status RunConverted(const MatmulPlan& plan, Arena arena, const Context::Impl& context) {
  const Conversion& v = plan.conversion;
  const Product2d& p = plan.p;
  const PieceMemory memory(plan, context.num_threads, &arena);
  if (memory.bias != nullptr) {
    HEED_RETURN_IF_ERROR(Once(context, [&] {
      RowReader(*context.widen, v.bias.dtype, 1)(v.bias.data, p.n, memory.bias);
    }));
  }
  const RowReader read_a(*context.widen, v.a.dtype, v.a.column_stride);
  const RowWriter write_c = RowWriterOf(*context.widen, v.c.dtype);
  return ForEachPiece(plan, [&](size_t row, size_t rows, size_t column, size_t columns) {
    if (memory.b != nullptr && row == 0) {
      HEED_RETURN_IF_ERROR(PackColumns(plan, memory, column, columns, context));
    }
    if (memory.a != nullptr && p.k > 0) {
      HEED_RETURN_IF_ERROR(ForEachRow(context, rows, p.k, [&](size_t i) {
        read_a(v.a.at(row + i, 0), p.k, memory.a + i * p.k);
      }));
    }
    MatmulPlan piece = PieceOf(plan, memory, row, rows, column, columns);
    PlanTasks(context, &piece);
    HEED_RETURN_IF_ERROR(RunMatmul(piece, arena, context));
    if (memory.c == nullptr) return Status();
    return ForEachRow(context, rows, columns, [&](size_t i) {
      write_c(memory.c + i * columns, columns, const_cast<char*>(v.c.at(row + i, column)));
    });
  });
}

}  // namespace heed::inline v1
