// The room of products: weights are packed (packed_matrix.h), products cut into blocks (blocks.h),
// those of a few rows read b as fast as memory gives it (few_rows.h). Those that are computed in
// integers are blocks too (int16.h).
//
// Here is a product in two steps, for operations that it is a part of.
#pragma once

#include <cstddef>
#include <cstdint>

#include "heed/matmul.hpp"
#include "src/base/arena.h"
#include "src/base/context.h"
#include "src/kernels/panels.h"

namespace heed::inline v1 {

// c[m, n] = a[m, k] b (+ bias), shapes checked.
struct Product2d {
  const float* a;
  ptrdiff_t a_row, a_k;
  float* c;
  ptrdiff_t c_row;
  const float* bias;
  size_t m, n, k;
};

inline double Flops(const Product2d& p) {
  return 2.0 * static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k);
}

// A matrix of any float type; without data: there is none.
struct MatrixView {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  ptrdiff_t row_stride = 0, column_stride = 0;  // in elements

  const char* at(size_t i, size_t j) const {
    return static_cast<const char*>(data) + Bytes(static_cast<ptrdiff_t>(i) * row_stride +
                                                  static_cast<ptrdiff_t>(j) * column_stride);
  }
  void MoveBy(ptrdiff_t elements) { data = static_cast<const char*>(data) + Bytes(elements); }

 private:
  ptrdiff_t Bytes(ptrdiff_t elements) const {
    return elements * static_cast<ptrdiff_t>(size_of(dtype));
  }
};

// The operands of a product of which some are not f32. Pieces of it are.
struct Conversion {
  MatrixView a, b, c, bias;      // b: one that has to be widened and packed
  size_t rows = 0, columns = 0;  // of a piece
};

enum class ProductOrder : uint8_t {
  kNothing,    // c is empty
  kBias,       // a product over no k
  kFewRows,    // few_rows.h
  kBlocks,     // blocks of c, for which tasks pack what they need
  kConverted,  // converted.h
};

// How a product is cut into tasks depends on the context's threads and caches; no bit of c does.
struct MatmulPlan {
  Product2d p = {};       // of kConverted no pointers
  Panels packed = {};     // b, of all of k; absent: b is `plain`
  MatrixView plain = {};  // as it is given: f32, but for kFewRows and what is converted
  Conversion conversion = {};
  Compute compute = Compute::kF32;
  ProductOrder order = ProductOrder::kNothing;
  size_t rows = 0, columns = 0;  // of a task
  size_t unit_columns = 0;       // of kBlocks: of b that is multiplied at a time, at most
  size_t depth = 0;              // of the rows that a task of kBlocks packs at a time
  bool keeps_panels = false;     // all of a task's columns, which a worker's next may need too
  size_t workers = 1;            // threads at most
  size_t shared_floats = 0;      // of kFewRows: packed rows of a
  size_t worker_floats = 0;
  size_t bytes = 0;  // of memory that the run takes

  // To other matrices of the same shape, so many elements further.
  void MoveBy(ptrdiff_t a_elements, ptrdiff_t c_elements);
};

// Whether a product with a packed matrix of the type can be computed so; `name` is the option's.
Status CheckCompute(const char* name, Compute compute, DType dtype);

// Checks everything and fills `plan`.
Status PlanMatmul(const TensorView& a, const PackedMatrix& b, const MutableTensorView& c,
                  const MatmulOptions& options, const Context::Impl& context, MatmulPlan* plan);
Status PlanMatmul(const TensorView& a, const TensorView& b, const MutableTensorView& c,
                  const MatmulOptions& options, const Context::Impl& context, MatmulPlan* plan);

// Of operands in f32, after the checks: fills the plan from `order` on.
void PlanTasks(const Context::Impl& context, MatmulPlan* plan);

// What matmul() does after PlanMatmul, in an arena of at least plan.bytes.
Status RunMatmul(const MatmulPlan& plan, Arena arena, const Context::Impl& context);

}  // namespace heed::inline v1
