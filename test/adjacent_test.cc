// Operands beside each other in one buffer, as in an arena of the caller's: those that only touch
// are taken, those that share a single byte are refused.
#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "heed/heed.hpp"

namespace heed::test {
namespace {

constexpr size_t kBytes = 512, kOut = 256;  // of the buffer, and where its output begins

struct Memory {
  alignas(64) std::array<std::byte, kBytes> bytes = {};
  std::byte* at(size_t offset) { return bytes.data() + offset; }
};

// Read only where a call is taken: one that is refused may be misaligned.
template <class T>
T* As(std::byte* at) {
  return reinterpret_cast<T*>(at);
}

const std::vector<float> kNumbers(64, 0.5f);
const std::vector<int32_t> kPositions = {1, 2, 3};

// A call with one output and one of its inputs in the buffer.
struct Operation {
  const char* name;
  size_t out_bytes, in_bytes;
  Status (*run)(std::byte* out, std::byte* in, Context& context);
};

const Operation kOperations[] = {
    {"softmax: y, x", 20, 20,
     [](std::byte* out, std::byte* in, Context& context) {
       return softmax(TensorView(As<float>(in), {5}), MutableTensorView(As<float>(out), {5}), {},
                      context);
     }},
    {"rope: y, x", 24, 24,
     [](std::byte* out, std::byte* in, Context& context) {
       return rope(TensorView(As<float>(in), {3, 1, 2}), TensorView(kPositions.data(), {3}),
                   MutableTensorView(As<float>(out), {3, 1, 2}), {}, context);
     }},
    {"rope: y, positions", 24, 12,
     [](std::byte* out, std::byte* in, Context& context) {
       return rope(TensorView(kNumbers.data(), {3, 1, 2}), TensorView(As<int32_t>(in), {3}),
                   MutableTensorView(As<float>(out), {3, 1, 2}), {}, context);
     }},
    {"matmul: c, a", 28, 12,
     [](std::byte* out, std::byte* in, Context& context) {
       return matmul(TensorView(As<float>(in), {1, 3}), TensorView(kNumbers.data(), {3, 7}),
                     MutableTensorView(As<float>(out), {1, 7}), {}, context);
     }},
    {"matmul: c, b", 28, 84,
     [](std::byte* out, std::byte* in, Context& context) {
       return matmul(TensorView(kNumbers.data(), {1, 3}), TensorView(As<float>(in), {3, 7}),
                     MutableTensorView(As<float>(out), {1, 7}), {}, context);
     }},
    {"matmul: c, bias", 28, 28,
     [](std::byte* out, std::byte* in, Context& context) {
       return matmul(TensorView(kNumbers.data(), {1, 3}), TensorView(kNumbers.data(), {3, 7}),
                     MutableTensorView(As<float>(out), {1, 7}), {TensorView(As<float>(in), {7})},
                     context);
     }},
    {"convert: f32 to, f16 from", 20, 10,
     [](std::byte* out, std::byte* in, Context& context) {
       return convert(TensorView(As<f16>(in), {5}), MutableTensorView(As<float>(out), {5}),
                      context);
     }},
    {"convert: bf16 to, f32 from", 10, 20,
     [](std::byte* out, std::byte* in, Context& context) {
       return convert(TensorView(As<float>(in), {5}), MutableTensorView(As<bf16>(out), {5}),
                      context);
     }},
    {"attention: out, key_mask", 16, 13,
     [](std::byte* out, std::byte* in, Context& context) {
       const TensorView keys(kNumbers.data(), {13, 1, 4});
       return attention(keys.slice(0, 0, 1), keys, keys,
                        MutableTensorView(As<float>(out), {1, 1, 4}),
                        {.key_mask = TensorView(As<uint8_t>(in), {1, 13})}, context);
     }},
};

TEST_CASE("operands may touch, and are refused when they share a byte") {
  Context context;
  for (const Operation& op : kOperations) {
    const size_t after = kOut + (op.out_bytes + 3) / 4 * 4;  // where a float can begin
    for (size_t in : {kOut - op.in_bytes, after}) {
      INFO(op.name << ", input at " << in);
      Memory memory;
      const Status status = op.run(memory.at(kOut), memory.at(in), context);
      CHECK(std::string(status.message()) == "");
    }
    for (size_t in : {kOut - op.in_bytes + 1, kOut + op.out_bytes - 1}) {
      INFO(op.name << ", input at " << in);
      Memory memory, before = memory;
      const Status status = op.run(memory.at(kOut), memory.at(in), context);
      CHECK(status.code() == StatusCode::kInvalidArgument);
      CHECK(std::string(status.message()).find("overlaps") != std::string::npos);
      CHECK(memory.bytes == before.bytes);
    }
  }
}

// Rows of out lie 40 bytes apart and are 16 long; rows of a mask of 5 bytes lie somewhere between.
struct Rows {
  size_t mask;  // its first byte, counted from the first of out
  ptrdiff_t row_stride, column_stride;
  bool taken;
};

constexpr Rows kRows[] = {
    {16, 40, 1, true},   {35, 40, 1, true},    // it ends where the next row of out begins
    {15, 40, 1, false},  {36, 40, 1, false},   // one byte more
    {16, 0, 1, true},    {35, 0, 1, true},     // one row of mask for all
    {15, 0, 1, false},   {36, 0, 1, false},    //
    {16, 80, 1, true},   {15, 80, 1, false},   // between every other row
    {16, 65, 1, false},                        // its second row is in the third of out
    {16, 30, 1, false},                        // its second row is in the second of out
    {17, 40, -1, false}, {42, 40, -1, false},  // columns that run backwards into a row of out
    {88, -40, 1, false},                       // rows that do
    {0, 40, 1, false},   {7, 40, 2, false},
};

TEST_CASE("rows of an input may lie between rows of an output, to the byte") {
  Context context;
  const TensorView q(kNumbers.data(), {3, 1, 1, 1}), keys(kNumbers.data(), {3, 5, 1, 1});
  const TensorView values(kNumbers.data(), {3, 5, 1, 4}, {0, 4, 4, 1});
  for (const Rows& rows : kRows) {
    INFO("mask at " << rows.mask << ", strides " << rows.row_stride << ", " << rows.column_stride);
    Memory memory, before = memory;
    AttentionOptions options;
    options.key_mask = TensorView(As<uint8_t>(memory.at(kOut + rows.mask)), {3, 5},
                                  {rows.row_stride, rows.column_stride});
    const Status status =
        attention(q, keys, values,
                  MutableTensorView(As<float>(memory.at(kOut)), {3, 1, 1, 4}, {10, 10, 10, 1}),
                  options, context);
    CHECK(std::string(status.message()).find("overlaps key_mask") ==
          (rows.taken ? std::string::npos : 5));
    CHECK(status.ok() == rows.taken);
    CHECK(memory.bytes == before.bytes);  // the mask hides all keys, so zeros were written
  }
}

}  // namespace
}  // namespace heed::test
