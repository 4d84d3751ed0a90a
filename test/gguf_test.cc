// GGUF blocks, against a slow reader that takes one element after the other from its bits.
#include "heed/gguf.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "src/base/half.h"
#include "test/support/compare.h"
#include "test/support/contexts.h"
#include "test/support/host_memory.h"
#include "test/support/placements.h"
#include "tools/conformance/tensor.h"

namespace heed::test {
namespace {

constexpr GgufType kTypes[] = {GgufType::kQ8_0, GgufType::kQ4_0, GgufType::kQ6_K, GgufType::kQ4_K};

size_t BlockElements(GgufType type) {
  return type == GgufType::kQ8_0 || type == GgufType::kQ4_0 ? 32 : 256;
}
size_t BlockBytes(GgufType type) {
  return type == GgufType::kQ8_0   ? 34
         : type == GgufType::kQ4_0 ? 18
         : type == GgufType::kQ6_K ? 210
                                   : 144;
}

// Bits [first, first + count) of a block, the lowest of byte 0 first.
int Bits(const uint8_t* block, size_t first, size_t count) {
  int bits = 0;
  for (size_t i = 0; i < count; ++i) {
    bits |= (block[(first + i) / 8] >> ((first + i) % 8) & 1) << i;
  }
  return bits;
}
int SignedByte(const uint8_t* block, size_t at) {
  const int byte = Bits(block, 8 * at, 8);
  return byte < 128 ? byte : byte - 256;
}
double Half(const uint8_t* block, size_t at) {
  return static_cast<double>(ToFloat(f16{static_cast<uint16_t>(Bits(block, 8 * at, 16))}));
}

// Element e of a block, exactly.
double Element(GgufType type, const uint8_t* block, size_t e) {
  switch (type) {
    case GgufType::kQ8_0:
      return Half(block, 0) * SignedByte(block, 2 + e);
    case GgufType::kQ4_0:
      return Half(block, 0) * (Bits(block, 8 * (2 + e % 16) + (e < 16 ? 0 : 4), 4) - 8);
    case GgufType::kQ6_K: {
      const size_t half = e / 128, in_half = e % 128, run = in_half / 32, i = in_half % 32;
      const size_t lower = half * 64 + i + (run % 2 == 1 ? 32 : 0);
      const size_t upper = 128 + half * 32 + i;
      const int q = Bits(block, 8 * lower + (run >= 2 ? 4 : 0), 4) +
                    16 * Bits(block, 8 * upper + 2 * run, 2) - 32;
      return Half(block, 208) * SignedByte(block, 192 + e / 16) * q;
    }
    default: {  // Q4_K
      const size_t group = e / 32;
      const int q = Bits(block, 8 * (16 + group / 2 * 32 + e % 32) + (group % 2 == 1 ? 4 : 0), 4);
      int scale, minimum;
      if (group < 4) {
        scale = Bits(block, 8 * (4 + group), 6);
        minimum = Bits(block, 8 * (8 + group), 6);
      } else {
        scale = Bits(block, 8 * (8 + group), 4) + 16 * Bits(block, 8 * group + 6, 2);
        minimum = Bits(block, 8 * (8 + group) + 4, 4) + 16 * Bits(block, 8 * (4 + group) + 6, 2);
      }
      return Half(block, 0) * scale * q - Half(block, 2) * minimum;
    }
  }
}

// Any bytes, with scales that are finite, among them subnormal and negative ones.
struct Matrix {
  std::vector<uint8_t> bytes;
  GgufMatrix view;

  Matrix(GgufType type, size_t out, size_t in, uint32_t seed)
      : bytes(out * (in / BlockElements(type)) * BlockBytes(type)) {
    for (uint8_t& byte : bytes) {
      seed = seed * 1664525u + 1013904223u;
      byte = static_cast<uint8_t>(seed >> 24);
      if (type == GgufType::kQ8_0 && byte == 128) byte = 129;  // no code of a PackedMatrix
    }
    const size_t halves[2] = {type == GgufType::kQ6_K ? 208u : 0u,
                              type == GgufType::kQ4_K ? 2u : 0u};
    for (size_t block = 0; block < bytes.size(); block += BlockBytes(type)) {
      for (size_t i = 0; i < (type == GgufType::kQ4_K ? 2u : 1u); ++i) {
        uint8_t& high = bytes[block + halves[i] + 1];
        if ((high & 0x7C) == 0x7C) high = static_cast<uint8_t>(high & ~0x40);
      }
    }
    view = {bytes.data(), bytes.size(), type, out, in};
  }

  std::vector<float> Elements() const {
    std::vector<float> elements;
    const size_t per_block = BlockElements(view.type);
    for (size_t i = 0; i < view.out * view.in; ++i) {
      const uint8_t* block = bytes.data() + i / per_block * BlockBytes(view.type);
      elements.push_back(static_cast<float>(Element(view.type, block, i % per_block)) + 0.0f);
    }
    return elements;
  }
};

TEST_CASE("blocks of GGUF are read as they are, exactly but for the difference of Q4_K") {
  for (const GgufType type : kTypes) {
    for (const Layout layout : kAllLayouts) {
      const Matrix matrix(type, 5, 512, static_cast<uint32_t>(type));
      for (Runner& runner : Runners()) {
        INFO(runner.name << ", type " << static_cast<int>(type));
        Tensor<float> y({5, 512}, layout);
        RequireOk(dequantize_gguf(matrix.view, y.mutable_view(), *runner.context));
        CHECK(Difference(y.Dense(), matrix.Elements()) == "");
        CHECK(y.GapsIntact());
      }
    }
  }
}

TEST_CASE("no product of a GGUF block needs more than the 24 bits of an f32") {
  for (const GgufType type : {GgufType::kQ8_0, GgufType::kQ4_0, GgufType::kQ6_K}) {
    const Matrix matrix(type, 40, 512, 77);
    for (size_t i = 0; i < 40 * 512; ++i) {
      const size_t per_block = BlockElements(type);
      const uint8_t* block = matrix.bytes.data() + i / per_block * BlockBytes(type);
      const double exact = Element(type, block, i % per_block);
      REQUIRE(static_cast<double>(static_cast<float>(exact)) == exact);
    }
  }
}

// All elements of a packed matrix, [out, in]: its products with the rows of a unit matrix.
std::vector<float> ElementsOf(const PackedMatrix& packed, Context& context) {
  const size_t in = packed.in(), out = packed.out();
  Tensor<float> unit({in, in}), product({in, out});
  unit.Assign(std::vector<float>(in * in, 0.0f));
  for (size_t i = 0; i < in; ++i) unit[i * in + i] = 1.0f;
  RequireOk(matmul(unit.view(), packed, product.mutable_view(), {}, context));
  std::vector<float> elements;
  for (size_t o = 0; o < out; ++o) {
    for (size_t i = 0; i < in; ++i) elements.push_back(product[i * out + o]);
  }
  return elements;
}

TEST_CASE("matrices of GGUF blocks are packed exactly, side by side") {
  for (const GgufType type : kTypes) {
    const Matrix first(type, 7, 256, 1), second(type, 30, 256, 2);
    std::vector<float> want = first.Elements();
    const std::vector<float> more = second.Elements();
    want.insert(want.end(), more.begin(), more.end());
    for (Runner& runner : Runners()) {
      INFO(runner.name << ", type " << static_cast<int>(type));
      const GgufMatrix both[] = {first.view, second.view};
      const auto packed = pack_gguf(both, 2, *runner.context);
      RequireOk(packed.status());
      CHECK(packed->in() == 256);
      CHECK(packed->out() == 37);
      CHECK(packed->dtype() == (type == GgufType::kQ4_0   ? DType::kInt4
                                : type == GgufType::kQ4_K ? DType::kF32
                                                          : DType::kInt8));
      CHECK(packed->group() == (type == GgufType::kQ4_K   ? 0u
                                : type == GgufType::kQ6_K ? 16u
                                                          : 32u));
      CHECK(Difference(ElementsOf(*packed, *runner.context), want) == "");
    }
  }
}

TEST_CASE("GGUF matrices that are wrong are refused by name, and nothing is written") {
  Context context;
  const auto says = [](const Status& status, const char* text) {
    CHECK(!status.ok());
    CHECK(std::string(status.message()).find(text) != std::string::npos);
  };
  for (const GgufType type : kTypes) {
    CAPTURE(static_cast<int>(type));
    Matrix matrix(type, 3, 512, 5);
    Tensor<float> y({3, 512});
    const auto refused = [&](const GgufMatrix& bad, const char* text) {
      says(dequantize_gguf(bad, y.mutable_view(), context), text);
      says(pack_gguf(bad, context).status(), text);
    };
    GgufMatrix bad = matrix.view;
    bad.bytes -= 1;
    refused(bad, "bytes: is ");
    bad.bytes += 2;
    refused(bad, "must be what [3, 512] takes in Q");
    bad = matrix.view;
    bad.in = 500;
    refused(bad, "in: is 500, must be a multiple of ");
    bad = matrix.view;
    bad.out = SIZE_MAX / 2;
    refused(bad, "bytes: is ");
    bad = matrix.view;
    bad.blocks = nullptr;
    refused(bad, "blocks: is null");
    bad = matrix.view;
    bad.type = static_cast<GgufType>(3);
    refused(bad, "type: is 3, must be 2 (Q4_0), 8 (Q8_0), 12 (Q4_K) or 14 (Q6_K)");
    const size_t block = 512 / BlockElements(type) + 1;  // the second of row 1
    for (const uint8_t high : {uint8_t{0x7C}, uint8_t{0xFE}}) {
      Matrix infinite = matrix;
      infinite.view.blocks = infinite.bytes.data();
      const size_t at = block * BlockBytes(type) + (type == GgufType::kQ6_K   ? 208
                                                    : type == GgufType::kQ4_K ? 2
                                                                              : 0);
      infinite.bytes[at] = 0;
      infinite.bytes[at + 1] = high;
      refused(infinite.view, "blocks: a scale of block 1 of row 1 is NaN or infinite");
    }
    says(dequantize_gguf(matrix.view, y.mutable_view().slice(1, 0, 256), context),
         "y: shape is [3, 256], must be [3, 512]");
    f16 halves[4] = {};
    says(dequantize_gguf(matrix.view, MutableTensorView(halves, {2, 2}), context), "y: dtype");
    CHECK(y.AllUntouched());
  }
  Matrix hostile(GgufType::kQ8_0, 1, 32, 1);
  hostile.bytes[5] = 0x80;
  says(pack_gguf(hostile.view, context).status(),
       "blocks: one of the codes of block 0 of row 0 is -128");
  says(pack_gguf(nullptr, 1, context).status(), "matrices: none is given");
  const Matrix q4(GgufType::kQ4_0, 1, 32, 1);
  hostile.bytes[5] = 0;
  const GgufMatrix mixed[] = {hostile.view, q4.view};
  says(pack_gguf(mixed, 2, context).status(), "type: of matrix 1 is Q4_0, of the first Q8_0");
  const Matrix wider(GgufType::kQ4_0, 1, 64, 1);
  const GgufMatrix other_in[] = {q4.view, wider.view};
  says(pack_gguf(other_in, 2, context).status(), "matrices: matrix 1 has 64 inputs, must have 32");
  std::vector<float> memory(4096);
  Matrix inside(GgufType::kQ8_0, 4, 32, 9);
  std::memcpy(memory.data(), inside.bytes.data(), inside.bytes.size());
  inside.view.blocks = memory.data();
  says(dequantize_gguf(inside.view, MutableTensorView(memory.data(), {4, 32}), context),
       "y: overlaps blocks");
}

TEST_CASE("GGUF matrices are packed into the caller's memory, of the size that is asked for") {
  const auto saved = [](const PackedMatrix& matrix) {
    std::vector<uint8_t> bytes(matrix.saved_bytes());
    REQUIRE(matrix.save(bytes.data(), bytes.size()).ok());
    return bytes;
  };
  for (const GgufType type : kTypes) {
    INFO("type " << static_cast<int>(type));
    const Matrix first(type, 7, 768, 1), second(type, 30, 768, 2);
    const GgufMatrix both[] = {first.view, second.view};
    Context context;
    const Result<PackedMatrix> on_heap = pack_gguf(both, 2, context);
    RequireOk(on_heap.status());
    const Result<size_t> bytes =
        PackedMatrix::memory_bytes(768, 37, {on_heap->dtype(), on_heap->group()});
    RequireOk(bytes.status());
    HostMemory memory(*bytes), less(*bytes - 1);
    const Result<PackedMatrix> packed = pack_gguf(both, 2, memory.memory(), context);
    RequireOk(packed.status());
    CHECK(saved(*packed) == saved(*on_heap));
    CHECK(memory.GuardsIntact());
    CHECK(pack_gguf(both, 2, less.memory(), context).status().code() == StatusCode::kOutOfMemory);
    CHECK(pack_gguf(both, 2, Memory{nullptr, *bytes}, context).status().code() ==
          StatusCode::kInvalidArgument);
    CHECK(pack_gguf(both, 2, Memory{}, context).ok());
    CHECK(less.Untouched());
    CHECK(context.workspace_bytes() == 0);
  }
}

TEST_CASE("a GGUF matrix without elements is one") {
  Context context;
  float none = 0.0f;
  for (const GgufMatrix empty : {GgufMatrix{nullptr, 0, GgufType::kQ6_K, 0, 256},
                                 GgufMatrix{nullptr, 0, GgufType::kQ6_K, 4, 0}}) {
    CHECK(dequantize_gguf(empty, MutableTensorView(&none, {empty.out, empty.in}), context).ok());
    const auto packed = pack_gguf(empty, context);
    RequireOk(packed.status());
    CHECK(packed->out() == empty.out);
  }
}

}  // namespace
}  // namespace heed::test
