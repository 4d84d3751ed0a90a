// CRC-32C (Castagnoli, RFC 3720), the checksum of saved files.
#pragma once

#include <cstddef>
#include <cstdint>

namespace heed::inline v1 {

uint32_t Crc32c(const void* data, size_t bytes);

}  // namespace heed::inline v1
