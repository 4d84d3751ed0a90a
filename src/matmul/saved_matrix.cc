// Packed matrices in files; docs/layouts.md has the format.
#include <algorithm>
#include <bit>
#include <cstring>

#include "src/base/check.h"
#include "src/base/crc32c.h"
#include "src/matmul/packed_matrix.h"

namespace heed::inline v1 {
namespace {

constexpr char kMagic[] = {'h', 'e', 'e', 'd', 'p', 'a', 'c', 'k'};
constexpr uint32_t kVersion = 1;
constexpr size_t kHeaderBytes = 64;
constexpr StatusCode kInvalid = StatusCode::kInvalidArgument;
static_assert(kHeaderBytes == PackedLayout::kAlignment);  // so panels are aligned as it is

// Where its numbers stand.
enum Offset : size_t {
  kVersionAt = 8,
  kPanelsAt = 12,
  kTypeAt = 16,
  kGroupAt = 20,
  kInAt = 24,
  kOutAt = 32,
  kBytesAt = 40,
  kDataCrcAt = 48,
  kHeaderCrcAt = 52,
  kZerosAt = 56,
};

constexpr DType kTypes[kStoredTypes] = {DType::kF32, DType::kF16, DType::kBF16, DType::kInt8,
                                        DType::kInt4};

template <class T>
void Put(T value, uint8_t* to) {
  for (size_t i = 0; i < sizeof(T); ++i) to[i] = static_cast<uint8_t>(value >> 8 * i);
}

template <class T>
T Get(const uint8_t* from) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) value |= static_cast<T>(T{from[i]} << 8 * i);
  return value;
}

constexpr bool kIsLittleEndian = std::endian::native == std::endian::little;

// Elements of so many bytes, from the machine's order to the file's or back.
void CopyElements(const uint8_t* from, size_t bytes, size_t size, uint8_t* to) {
  if (kIsLittleEndian || size <= 1) {
    if (bytes > 0) std::memcpy(to, from, bytes);
    return;
  }
  for (size_t i = 0; i < bytes; i += size) std::reverse_copy(from + i, from + i + size, to + i);
}

// Panels and scales.
void CopyData(const PackedLayout& layout, const uint8_t* from, uint8_t* to) {
  const size_t scales = layout.scales_at();
  CopyElements(from, scales, size_of(layout.dtype), to);
  CopyElements(from + scales, layout.bytes() - scales, size_of(layout.scale_dtype()), to + scales);
}

// Checks a header and takes from it what it says.
Status ReadHeader(const uint8_t* header, size_t bytes, PackedLayout* layout) {
  if (bytes < kHeaderBytes) {
    return Status::Error(
        kInvalid, "data: has %zu bytes, must have at least the %zu of a saved matrix's header",
        bytes, kHeaderBytes);
  }
  if (std::memcmp(header, kMagic, sizeof(kMagic)) != 0) {
    return Status::Error(kInvalid, "data: is not a saved matrix, must begin with 'heedpack'");
  }
  const auto version = Get<uint32_t>(header + kVersionAt);
  if (version != kVersion) {
    return Status::Error(StatusCode::kUnsupported,
                         "data: version of the format is %zu, must be %zu", size_t{version},
                         size_t{kVersion});
  }
  if (Get<uint32_t>(header + kHeaderCrcAt) != Crc32c(header, kHeaderCrcAt)) {
    return Status::Error(kInvalid,
                         "data: the header is damaged, its checksum must be that of its bytes");
  }
  if (Get<uint64_t>(header + kZerosAt) != 0 || Get<uint32_t>(header + kPanelsAt) != kHeaderBytes) {
    return Status::Error(
        kInvalid, "data: the header is wrong, panels must begin at %zu and its end must be 0",
        kHeaderBytes);
  }
  const auto type = Get<uint32_t>(header + kTypeAt), group = Get<uint32_t>(header + kGroupAt);
  if (type >= kStoredTypes || !HasGroup(kTypes[type], group)) {
    return Status::Error(
        kInvalid, "data: type is %zu and group %zu, must be ones that matrices are stored in",
        size_t{type}, size_t{group});
  }
  HEED_RETURN_IF_ERROR(CheckBuilt("data", kTypes[type]));
  const auto in = Get<uint64_t>(header + kInAt), out = Get<uint64_t>(header + kOutAt);
  const auto data_bytes = Get<uint64_t>(header + kBytesAt);
  layout->dtype = kTypes[type];
  layout->group = group;
  layout->in = static_cast<size_t>(in);
  layout->out = static_cast<size_t>(out);
  if (layout->in != in || layout->out != out || !layout->Fits()) {
    return Status::Error(kInvalid,
                         "data: in and out are %llu and %llu, which exceed the address space",
                         static_cast<unsigned long long>(in), static_cast<unsigned long long>(out));
  }
  if (data_bytes != layout->bytes()) {
    return Status::Error(
        kInvalid, "data: says that %llu bytes follow the header, must be %zu for [%zu, %zu] of %s",
        static_cast<unsigned long long>(data_bytes), layout->bytes(), layout->in, layout->out,
        name_of(layout->dtype));
  }
  if (bytes - kHeaderBytes < layout->bytes()) {
    return Status::Error(kInvalid, "data: is cut off after %zu bytes, must have %zu", bytes,
                         kHeaderBytes + layout->bytes());
  }
  return Status();
}

template <class T>
bool AllScales(const uint8_t* scales, size_t count, T infinity, T ignored) {
  bool all = true;
  for (size_t i = 0; i < count; ++i) {
    all &= static_cast<T>(Get<T>(scales + i * sizeof(T)) & ~ignored) < infinity;
  }
  return all;
}

// That scales are finite, those of int8 not negative either, and codes are ones that there are.
Status CheckElements(const PackedLayout& layout, const uint8_t* data) {
  if (!HasScales(layout.dtype)) return Status();
  const uint8_t* scales = data + layout.scales_at();
  if (layout.dtype == DType::kInt4) {
    if (AllScales<uint16_t>(scales, layout.num_scales(), 0x7C00, 0x8000)) return Status();
    return Status::Error(kInvalid, "data: a scale is NaN or infinite, must be a number");
  }
  if (!AllScales<uint32_t>(scales, layout.num_scales(), 0x7F800000, 0)) {
    return Status::Error(kInvalid, "data: a scale is NaN, infinite or negative, must be a number");
  }
  const uint8_t* end = data + layout.num_panels() * layout.panel_bytes();
  bool least = false;
  for (const uint8_t* at = data; at != end; ++at) least |= *at == 0x80;
  return least ? Status::Error(kInvalid, "data: a code is -128, must be from -127 to 127")
               : Status();
}

}  // namespace

size_t PackedMatrix::saved_bytes() const { return impl_ ? kHeaderBytes + impl_->bytes() : 0; }

Status PackedMatrix::save(void* data, size_t bytes) const {
  if (impl_ == nullptr)
    return Status::Error(kInvalid, "matrix: was moved from, must hold elements to save");
  if (data == nullptr)
    return Status::Error(kInvalid, "data: is null, must have room for %zu bytes", saved_bytes());
  if (bytes < saved_bytes()) {
    return Status::Error(kInvalid, "bytes: is %zu, must be at least the matrix's, %zu", bytes,
                         saved_bytes());
  }
  auto* header = static_cast<uint8_t*>(data);
  CopyData(*impl_, impl_->data, header + kHeaderBytes);
  std::fill_n(header, kHeaderBytes, uint8_t{0});
  std::copy_n(kMagic, sizeof(kMagic), header);
  Put(kVersion, header + kVersionAt);
  Put(static_cast<uint32_t>(kHeaderBytes), header + kPanelsAt);
  Put(static_cast<uint32_t>(StoredIndex(impl_->dtype)), header + kTypeAt);
  Put(static_cast<uint32_t>(impl_->group), header + kGroupAt);
  Put(uint64_t{impl_->in}, header + kInAt);
  Put(uint64_t{impl_->out}, header + kOutAt);
  Put(uint64_t{impl_->bytes()}, header + kBytesAt);
  Put(Crc32c(header + kHeaderBytes, impl_->bytes()), header + kDataCrcAt);
  Put(Crc32c(header, kHeaderCrcAt), header + kHeaderCrcAt);
  return Status();
}

Result<PackedMatrix> PackedMatrix::map(const void* data, size_t bytes, const MapOptions& options) {
  if (data == nullptr) return Status::Error(kInvalid, "data: is null, must be a saved matrix");
  if (reinterpret_cast<uintptr_t>(data) % PackedLayout::kAlignment != 0) {
    return Status::Error(kInvalid, "data: is %p, must be aligned to %zu bytes", data,
                         PackedLayout::kAlignment);
  }
  const auto* header = static_cast<const uint8_t*>(data);
  PackedLayout layout;
  HEED_RETURN_IF_ERROR(ReadHeader(header, bytes, &layout));
  const uint8_t* panels = header + kHeaderBytes;
  if (options.check_data) {
    if (Get<uint32_t>(header + kDataCrcAt) != Crc32c(panels, layout.bytes())) {
      return Status::Error(
          kInvalid, "data: panels or scales are damaged, their checksum must be the header's");
    }
    HEED_RETURN_IF_ERROR(CheckElements(layout, panels));
  }
  Impl described;
  static_cast<PackedLayout&>(described) = layout;
  if (kIsLittleEndian) described.data = panels;
  Result<PackedMatrix> matrix = Impl::Make(described, options.memory);
  HEED_RETURN_IF_ERROR(matrix.status());
  if (!kIsLittleEndian) CopyData(layout, panels, matrix->impl_->own);
  return matrix;
}

}  // namespace heed::inline v1
