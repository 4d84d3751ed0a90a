#include "src/base/crc32c.h"

#include <array>

namespace heed::inline v1 {
namespace {

constexpr uint32_t kPolynomial = 0x82F63B78;  // bits reversed
constexpr size_t kSlices = 8;                 // bytes at a time

// [i][byte]: what a byte adds when i more follow it.
using Tables = std::array<std::array<uint32_t, 256>, kSlices>;

constexpr Tables MakeTables() {
  Tables tables = {};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? kPolynomial : 0);
    tables[0][byte] = crc;
  }
  for (size_t i = 1; i < kSlices; ++i) {
    for (size_t byte = 0; byte < 256; ++byte) {
      const uint32_t before = tables[i - 1][byte];
      tables[i][byte] = before >> 8 ^ tables[0][before & 255];
    }
  }
  return tables;
}

constexpr Tables kTables = MakeTables();

}  // namespace

uint32_t Crc32c(const void* data, size_t bytes) {
  const auto* at = static_cast<const uint8_t*>(data);
  uint32_t crc = 0xFFFFFFFF;
  for (; bytes >= kSlices; bytes -= kSlices, at += kSlices) {
    crc = kTables[7][(crc ^ at[0]) & 255] ^ kTables[6][(crc >> 8 ^ at[1]) & 255] ^
          kTables[5][(crc >> 16 ^ at[2]) & 255] ^ kTables[4][crc >> 24 ^ at[3]] ^
          kTables[3][at[4]] ^ kTables[2][at[5]] ^ kTables[1][at[6]] ^ kTables[0][at[7]];
  }
  for (; bytes > 0; --bytes, ++at) crc = crc >> 8 ^ kTables[0][(crc ^ *at) & 255];
  return ~crc;
}

}  // namespace heed::inline v1
