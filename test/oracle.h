// Golden attention cases: safetensors files whose metadata says what to compute, with inputs and
// float64 results in them. test/data/index.md is the format.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "heed/heed.hpp"
#include "test/cases/attention_case.h"
#include "tools/checkpoint/safetensors.h"

namespace heed::oracle {

// What the metadata of one case asks for, the log-sum-exp always. Its data are in the file.
struct Case : test::AttentionCase {
  std::string op;
  std::optional<RopeOptions> rope;  // unset: none
  DType input_dtype = DType::kF32;  // of q, k, v, x and weights: the numbers have that type
  bool check_rows = false;          // only rows with check = 1 are compared
  std::vector<size_t> chunks;       // tokens per decode step; empty: everything at once
  bool fused_qkv = false;           // layers only, as are the next four
  bool qkv_bias = false;
  bool out_bias = false;
  size_t d_in = 0;
  size_t d_out = 0;
  double atol = 0;
  double rtol = 0;
  double lse_atol = 0;
  double lse_rtol = 0;

  bool is_layer() const { return op == "attention_layer" || op == "layer_decode"; }
};

// Errors: any key or value that this program does not know, or a missing one, so that nothing which
// was asked for is left out unnoticed.
Result<Case> parse_case(const std::map<std::string, std::string>& metadata);

// f32 results by name ("out", "lse", "context"), row-major.
struct Tensor {
  std::vector<size_t> shape;
  std::vector<float> values;
};
using Tensors = std::map<std::string, Tensor>;

// Reads tensors of a case, checks their shapes and remembers which were asked for.
class Inputs {
 public:
  explicit Inputs(const tools::Safetensors& file) : file_(file) {}

  // The pointers stay valid as long as this object. A missing tensor or another shape makes
  // status() not ok, and the view that comes back absent.
  TensorView f32(const std::string& name, const std::vector<size_t>& shape);
  // In `input_dtype`. A number that the type does not have makes status() not ok.
  TensorView operand(const std::string& name, const std::vector<size_t>& shape);
  DType input_dtype = DType::kF32;

  TensorView i32(const std::string& name, const std::vector<size_t>& shape);  // also of BOOL
  TensorView u8(const std::string& name, const std::vector<size_t>& shape);   // of BOOL

  bool has(const std::string& name) const { return file_.find(name) != nullptr; }
  size_t size(const std::string& name, size_t dim) const;  // 0 where there is none

  const Status& status() const { return status_; }
  // A tensor that nobody asked for.
  std::optional<std::string> unused() const;

 private:
  bool check(const std::string& name, const std::vector<size_t>& shape);

  const tools::Safetensors& file_;
  std::map<std::string, std::vector<float>> floats_;
  std::map<std::string, std::vector<uint16_t>> halves_;
  std::map<std::string, std::vector<int32_t>> ints_;
  std::map<std::string, std::vector<uint8_t>> bytes_;
  std::set<std::string> used_;
  Status status_;
};

// Computes the case through heed's public functions.
Result<Tensors> compute(const Case& c, Inputs& inputs, Context& context);

enum class Verdict { kPassed, kFailed };
struct Outcome {
  Verdict verdict = Verdict::kFailed;
  std::string text;  // errors against tolerances
};

// Parses, computes and compares one case.
Outcome judge(const tools::Safetensors& file, Context& context);

}  // namespace heed::oracle
