// Packed matrices written to memory and used from there.
#include <doctest/doctest.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "heed/matmul.hpp"
#include "src/base/crc32c.h"
#include "src/matmul/packed_matrix.h"
#include "test/support/compare.h"
#include "test/support/contexts.h"
#include "test/support/refusal.h"
#include "tools/conformance/random.h"

namespace heed::test {
namespace {

constexpr StatusCode kInvalid = StatusCode::kInvalidArgument;

const PackOptions kOptions[] = {{DType::kF32},      {DType::kF16},      {DType::kBF16},
                                {DType::kInt8},     {DType::kInt8, 32}, {DType::kInt4, 16},
                                {DType::kInt4, 128}};

// Bytes that begin at a line.
class Memory {
 public:
  explicit Memory(size_t bytes) : lines_(bytes / sizeof(Line) + 2), bytes_(bytes) {}
  uint8_t* data() { return lines_[0].bytes; }
  size_t bytes() const { return bytes_; }

  // As a file of other contents whose checksums are right.
  void Sign() {
    Put(Crc32c(data() + 64, bytes_ - 64), 48);
    SignHeader();
  }
  void SignHeader() { Put(Crc32c(data(), 52), 52); }
  void Put(uint64_t value, size_t at, size_t size = 4) {
    for (size_t i = 0; i < size; ++i) data()[at + i] = static_cast<uint8_t>(value >> 8 * i);
  }
  uint64_t Get(size_t at, size_t size = 4) {
    uint64_t value = 0;
    for (size_t i = size; i-- > 0;) value = value << 8 | data()[at + i];
    return value;
  }

 private:
  struct alignas(64) Line {
    uint8_t bytes[64] = {};
  };
  std::vector<Line> lines_;
  size_t bytes_;
};

PackedMatrix Packed(size_t in, size_t out, const PackOptions& options) {
  Random random(in + out);
  std::vector<float> b(in * out);
  for (float& x : b) x = random.Normal();
  Context context;
  Result<PackedMatrix> packed =
      PackedMatrix::pack(TensorView(b.data(), {in, out}), WeightLayout::kInOut, options, context);
  REQUIRE(std::string(packed.status().message()) == "");
  return std::move(*packed);
}

Memory Saved(const PackedMatrix& matrix) {
  Memory memory(matrix.saved_bytes());
  REQUIRE(matrix.save(memory.data(), memory.bytes()).ok());
  return memory;
}

std::vector<float> Product(const PackedMatrix& b, size_t m) {
  std::vector<float> a(m * b.in()), c(m * b.out());
  Random random(3);
  for (float& x : a) x = random.Normal();
  Context context;
  REQUIRE(matmul(TensorView(a.data(), {m, b.in()}), b, MutableTensorView(c.data(), {m, b.out()}),
                 {}, context)
              .ok());
  return c;
}

TEST_CASE("crc32c is that of RFC 3720") {
  CHECK(Crc32c("123456789", 9) == 0xE3069283);
  CHECK(Crc32c("", 0) == 0);
  const std::vector<uint8_t> zeros(32, 0), ones(32, 255);
  CHECK(Crc32c(zeros.data(), 32) == 0x8A9136AA);
  CHECK(Crc32c(ones.data(), 32) == 0x62A8AB43);
}

TEST_CASE("a matrix that was saved gives the same products from where it lies, without a copy") {
  struct Size {
    size_t in, out;
  };
  for (const PackOptions& options : kOptions) {
    for (const Size& size : {Size{1, 1}, Size{33, 17}, Size{300, 70}, Size{0, 5}, Size{7, 0}}) {
      INFO(name_of(options.dtype) << ", group " << options.group << ", " << size.in << " x "
                                  << size.out);
      const PackedMatrix matrix = Packed(size.in, size.out, options);
      CHECK(matrix.saved_bytes() == 64 + matrix.bytes());
      Memory memory = Saved(matrix);
      for (const bool check : {true, false}) {
        const Result<PackedMatrix> mapped =
            PackedMatrix::map(memory.data(), memory.bytes(), {.check_data = check});
        REQUIRE(std::string(mapped.status().message()) == "");
        CHECK(mapped->in() == size.in);
        CHECK(mapped->out() == size.out);
        CHECK(mapped->dtype() == options.dtype);
        CHECK(mapped->group() == options.group);
        CHECK(mapped->bytes() == matrix.bytes());
        if constexpr (std::endian::native == std::endian::little) {
          CHECK(PackedMatrix::Impl::Of(*mapped)->data == memory.data() + 64);
        }
        for (const size_t m : {1u, 3u, 9u}) {
          CHECK(Difference(Product(*mapped, m), Product(matrix, m)) == "");
        }
        Memory again = Saved(*mapped);
        CHECK(std::memcmp(again.data(), memory.data(), memory.bytes()) == 0);
      }
    }
  }
}

TEST_CASE("a saved matrix begins with the header that the format names") {
  Memory memory = Saved(Packed(70, 33, {DType::kInt4, 32}));
  CHECK(std::memcmp(memory.data(), "heedpack", 8) == 0);
  CHECK(memory.Get(8) == 1);
  CHECK(memory.Get(12) == 64);
  CHECK(memory.Get(16) == 4);
  CHECK(memory.Get(20) == 32);
  CHECK(memory.Get(24, 8) == 70);
  CHECK(memory.Get(32, 8) == 33);
  CHECK(memory.Get(40, 8) == 4 * 35 * 16 + 4 * 3 * 16 * 2);
  CHECK(memory.Get(48) == Crc32c(memory.data() + 64, memory.bytes() - 64));
  CHECK(memory.Get(52) == Crc32c(memory.data(), 52));
  CHECK(memory.Get(56, 8) == 0);
}

void CheckRefused(Memory& memory, StatusCode code, const char* part, bool check_data = true) {
  const Status status =
      PackedMatrix::map(memory.data(), memory.bytes(), {.check_data = check_data}).status();
  INFO(std::string(status.message()) << ", wants " << part);
  CHECK(WrongRefusal(status, code, "data") == "");
  CHECK(std::string(status.message()).find(part) != std::string::npos);
}

TEST_CASE("map refuses what is cut off") {
  for (const PackOptions& options : kOptions) {
    Memory memory = Saved(Packed(5, 3, options));
    for (size_t bytes = 0; bytes < memory.bytes(); ++bytes) {
      CHECK(!PackedMatrix::map(memory.data(), bytes, {.check_data = false}).ok());
    }
  }
  CHECK(WrongRefusal(PackedMatrix::map(nullptr, 100).status(), kInvalid, "data") == "");
  Memory memory = Saved(Packed(5, 3, {}));
  CHECK(WrongRefusal(PackedMatrix::map(memory.data() + 4, 64).status(), kInvalid, "data") == "");
}

TEST_CASE("map refuses every bit of damage, in the data only where it is asked to look") {
  Memory memory = Saved(Packed(5, 3, {DType::kInt8, 16}));
  for (size_t bit = 0; bit < memory.bytes() * 8; ++bit) {
    INFO("bit " << bit);
    memory.data()[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    CHECK(!PackedMatrix::map(memory.data(), memory.bytes()).ok());
    CHECK(PackedMatrix::map(memory.data(), memory.bytes(), {.check_data = false}).ok() ==
          (bit / 8 >= 64));
    memory.data()[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
  }
  CHECK(PackedMatrix::map(memory.data(), memory.bytes()).ok());
}

TEST_CASE("map refuses files that are not meant for it, and names what is wrong") {
  const auto with = [](uint64_t value, size_t at, size_t size, StatusCode code, const char* part,
                       const PackOptions& options = {DType::kInt8, 32}) {
    Memory memory = Saved(Packed(64, 32, options));
    memory.Put(value, at, size);
    memory.SignHeader();
    CheckRefused(memory, code, part);
    CheckRefused(memory, code, part, false);
  };
  with('G', 0, 1, kInvalid, "not a saved matrix");
  with(2, 8, 4, StatusCode::kUnsupported, "version");
  with(128, 12, 4, kInvalid, "header is wrong");
  with(1, 56, 8, kInvalid, "header is wrong");
  with(5, 16, 4, kInvalid, "type");
  with(0xFFFFFFFF, 16, 4, kInvalid, "type");
  with(48, 20, 4, kInvalid, "group");
  with(32, 20, 4, kInvalid, "group", {DType::kF32});
  with(0, 20, 4, kInvalid, "group", {DType::kInt4, 32});
  with(UINT64_MAX, 24, 8, kInvalid, "exceed");
  with(UINT64_MAX, 32, 8, kInvalid, "exceed");
  with(uint64_t{1} << 61, 24, 8, kInvalid, "exceed");
  with(uint64_t{1} << 40, 24, 8, kInvalid, "bytes follow");
  with(65, 24, 8, kInvalid, "bytes follow");
  with(33, 32, 8, kInvalid, "bytes follow");
  with(0, 40, 8, kInvalid, "bytes follow");
  with(UINT64_MAX, 40, 8, kInvalid, "bytes follow");
}

TEST_CASE("map refuses scales that are no numbers, and the code -128") {
  Memory memory = Saved(Packed(64, 32, {DType::kInt8, 32}));
  const size_t scales = 64 + 64 * 32;
  for (const uint32_t bad : {0x7FC00000u, 0x7F800000u, 0xFF800000u, 0xBF800000u}) {
    const uint64_t before = memory.Get(scales + 12);
    memory.Put(bad, scales + 12);
    memory.Sign();
    CheckRefused(memory, kInvalid, "scale");
    CHECK(PackedMatrix::map(memory.data(), memory.bytes(), {.check_data = false}).ok());
    memory.Put(before, scales + 12);
  }
  memory.data()[100] = 0x80;
  memory.Sign();
  CheckRefused(memory, kInvalid, "-128");
  Memory nibbles = Saved(Packed(64, 32, {DType::kInt4, 32}));
  nibbles.data()[100] = 0x80;  // -8
  nibbles.Sign();
  CHECK(PackedMatrix::map(nibbles.data(), nibbles.bytes()).ok());
  nibbles.Put(0x7E00, 64 + 32 * 32 + 10, 2);
  nibbles.Sign();
  CheckRefused(nibbles, kInvalid, "scale");
}

TEST_CASE("save refuses what has no room, and a matrix that was moved from") {
  PackedMatrix matrix = Packed(5, 3, {});
  Memory memory(matrix.saved_bytes());
  CHECK(WrongRefusal(matrix.save(nullptr, 10000), kInvalid, "data") == "");
  CHECK(WrongRefusal(matrix.save(memory.data(), memory.bytes() - 1), kInvalid, "bytes") == "");
  const PackedMatrix taken = std::move(matrix);
  CHECK(WrongRefusal(matrix.save(memory.data(), memory.bytes()), kInvalid, "matrix") == "");
  CHECK(matrix.saved_bytes() == 0);
}

}  // namespace
}  // namespace heed::test
