#include "heed/gguf.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "src/base/check.h"
#include "src/base/context.h"
#include "src/base/half.h"
#include "src/base/parallel.h"
#include "src/kernels/layout.h"
#include "src/matmul/packed_matrix.h"

namespace heed::inline v1 {
namespace {

constexpr size_t kLargestBlock = 256, kMostGroups = 16;
constexpr double kElementCost = 8;  // in multiply-adds

// A block as integers: element i is codes[i] * scales[g] - minima[g], g = i / group.
struct Block {
  int8_t codes[kLargestBlock];
  float scales[kMostGroups];
  float minima[kMostGroups];
};

float HalfAt(const uint8_t* bytes) {
  return ToFloat(f16{static_cast<uint16_t>(bytes[0] | bytes[1] << 8)});
}

int LowNibble(uint8_t byte) { return byte & 15; }
int HighNibble(uint8_t byte) { return byte >> 4; }

// d, then 32 codes.
void ReadQ8_0(const uint8_t* from, Block* block) {
  block->scales[0] = HalfAt(from);
  std::memcpy(block->codes, from + 2, 32);
}

// d, then 16 bytes: elements 0 to 15 in the low nibbles, 16 to 31 in the high ones.
void ReadQ4_0(const uint8_t* from, Block* block) {
  block->scales[0] = HalfAt(from);
  for (size_t i = 0; i < 16; ++i) {
    block->codes[i] = static_cast<int8_t>(LowNibble(from[2 + i]) - 8);
    block->codes[16 + i] = static_cast<int8_t>(HighNibble(from[2 + i]) - 8);
  }
}

// Lower four bits of the codes in 128 bytes, upper two in 64, 16 scales, d. Each half of the block
// has its own half of the first two: its runs of 32 elements lie in the low nibbles of the first
// and second 32 bytes, then in the high ones; their upper bits are the pairs of 32 bytes from the
// lowest on.
void ReadQ6_K(const uint8_t* from, Block* block) {
  const uint8_t* scales = from + 192;
  const float d = HalfAt(from + 208);
  for (size_t g = 0; g < 16; ++g) {
    block->scales[g] = d * static_cast<float>(static_cast<int8_t>(scales[g]));
  }
  for (size_t half = 0; half < 2; ++half) {
    const uint8_t* lower = from + half * 64;
    const uint8_t* upper = from + 128 + half * 32;
    for (size_t run = 0; run < 4; ++run) {
      for (size_t i = 0; i < 32; ++i) {
        const uint8_t byte = lower[run % 2 * 32 + i];
        const int low = run < 2 ? LowNibble(byte) : HighNibble(byte);
        const int high = upper[i] >> (2 * run) & 3;
        block->codes[half * 128 + run * 32 + i] = static_cast<int8_t>((low | high << 4) - 32);
      }
    }
  }
}

// d, e, 12 bytes of 6-bit scales and minima, 128 bytes of codes: groups 0, 2, 4 and 6 in the low
// nibbles of 32 bytes each, the one that follows in the high ones.
void ReadQ4_K(const uint8_t* from, Block* block) {
  const float d = HalfAt(from), e = HalfAt(from + 2);
  const uint8_t* six = from + 4;
  for (size_t g = 0; g < 8; ++g) {
    // Those of groups 4 to 7 have their upper two bits above those of 0 to 3.
    const int scale = g < 4 ? six[g] & 63 : LowNibble(six[g + 4]) | six[g - 4] >> 6 << 4;
    const int minimum = g < 4 ? six[g + 4] & 63 : HighNibble(six[g + 4]) | six[g] >> 6 << 4;
    block->scales[g] = d * static_cast<float>(scale);
    block->minima[g] = e * static_cast<float>(minimum);
    for (size_t i = 0; i < 32; ++i) {
      const uint8_t byte = from[16 + g / 2 * 32 + i];
      block->codes[g * 32 + i] =
          static_cast<int8_t>(g % 2 == 0 ? LowNibble(byte) : HighNibble(byte));
    }
  }
}

struct Format {
  const char* name;
  size_t elements, bytes;  // of a block
  size_t halves[2];        // where its f16 are
  size_t group;            // elements that share a scale
  DType dtype;             // packed as
  void (*read)(const uint8_t* from, Block* block);
};

const Format* FormatOf(GgufType type) {
  static constexpr Format kQ4_0 = {"Q4_0", 32, 18, {0, 0}, 32, DType::kInt4, &ReadQ4_0};
  static constexpr Format kQ8_0 = {"Q8_0", 32, 34, {0, 0}, 32, DType::kInt8, &ReadQ8_0};
  static constexpr Format kQ4_K = {"Q4_K", 256, 144, {0, 2}, 32, DType::kF32, &ReadQ4_K};
  static constexpr Format kQ6_K = {"Q6_K", 256, 210, {208, 208}, 16, DType::kInt8, &ReadQ6_K};
  switch (type) {
    case GgufType::kQ4_0:
      return &kQ4_0;
    case GgufType::kQ8_0:
      return &kQ8_0;
    case GgufType::kQ4_K:
      return &kQ4_K;
    case GgufType::kQ6_K:
      return &kQ6_K;
  }
  return nullptr;
}

// A matrix whose sizes fit its bytes.
struct Blocks {
  const uint8_t* data;
  size_t out, in;
  const Format* format;

  explicit Blocks(const GgufMatrix& matrix)
      : data(static_cast<const uint8_t*>(matrix.blocks)),
        out(matrix.out),
        in(matrix.in),
        format(FormatOf(matrix.type)) {}

  size_t of_row() const { return in / format->elements; }
  size_t rows() const { return in == 0 ? 0 : out; }  // that have blocks
  const uint8_t* At(size_t row, size_t block) const {
    return data + (row * of_row() + block) * format->bytes;
  }
};

Status CheckScales(const Blocks& blocks) {
  for (size_t row = 0; row < blocks.rows(); ++row) {
    for (size_t i = 0; i < blocks.of_row(); ++i) {
      for (const size_t at : blocks.format->halves) {
        if (std::isfinite(HalfAt(blocks.At(row, i) + at))) continue;
        return Status::Error(StatusCode::kInvalidArgument,
                             "blocks: a scale of block %zu of row %zu is NaN or infinite, must be "
                             "finite",
                             i, row);
      }
    }
  }
  return Status();
}

// `measures`: there need be no blocks.
Status CheckBlocks(const GgufMatrix& matrix, bool measures) {
  const Format* format = FormatOf(matrix.type);
  if (format == nullptr) {
    return Status::Error(StatusCode::kUnsupported,
                         "type: is %d, must be 2 (Q4_0), 8 (Q8_0), 12 (Q4_K) or 14 (Q6_K)",
                         static_cast<int>(matrix.type));
  }
  if (matrix.in % format->elements != 0) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "in: is %zu, must be a multiple of %zu for %s", matrix.in,
                         format->elements, format->name);
  }
  const size_t factors[] = {matrix.out, matrix.in / format->elements, format->bytes};
  size_t bytes = 0;
  if (!Product(factors, 3, &bytes) || matrix.bytes != bytes) {
    return Status::Error(StatusCode::kInvalidArgument,
                         "bytes: is %zu, must be what [%zu, %zu] takes in %s blocks of %zu bytes",
                         matrix.bytes, matrix.out, matrix.in, format->name, format->bytes);
  }
  if (matrix.blocks != nullptr || bytes == 0) return CheckScales(Blocks(matrix));
  if (measures) return Status();
  return Status::Error(StatusCode::kInvalidArgument, "blocks: is null");
}

// A PackedMatrix has codes from -127 to 127; those of other types can't be lower.
Status CheckCodes(const GgufMatrix& matrix) {
  const Blocks blocks(matrix);
  if (matrix.type != GgufType::kQ8_0 || matrix.blocks == nullptr) return Status();
  for (size_t row = 0; row < blocks.rows(); ++row) {
    for (size_t i = 0; i < blocks.of_row(); ++i) {
      if (std::memchr(blocks.At(row, i) + 2, 0x80, 32) == nullptr) continue;
      return Status::Error(StatusCode::kInvalidArgument,
                           "blocks: one of the codes of block %zu of row %zu is -128, must be from "
                           "-127 to 127",
                           i, row);
    }
  }
  return Status();
}

// A view of the bytes, to be held against what is written.
TensorView BytesOf(const GgufMatrix& matrix) {
  return TensorView(static_cast<const uint8_t*>(matrix.blocks), {matrix.bytes});
}

// Elements of a block, element i at to[i * stride].
void WriteElements(const Format& format, const Block& block, float* to, ptrdiff_t stride) {
  for (size_t i = 0; i < format.elements; ++i) {
    const size_t g = i / format.group;
    const float product = static_cast<float>(block.codes[i]) * block.scales[g];
    const float element = format.dtype == DType::kF32 ? product - block.minima[g] : product;
    to[static_cast<ptrdiff_t>(i) * stride] = element + 0.0f;  // of -0, +0
  }
}

template <class F>
Status ForEachRow(const Blocks& blocks, const Context::Impl& context, F f) {
  const size_t rows = blocks.rows();
  const double work = static_cast<double>(rows) * static_cast<double>(blocks.in) * kElementCost;
  return ForEachTask(context, rows, WorkersFor(context, rows, work),
                     [&](size_t row, size_t) { f(row); });
}

// The rows of matrices side by side, one after the other.
struct RowsOfAll {
  const GgufMatrix* matrices;
  size_t count;

  // Calls f(blocks, row of these, lane) for rows [begin, begin + kPanel), as far as there are.
  template <class F>
  void ForEachLane(size_t begin, F f) const {
    size_t first = 0;  // row of matrix i
    for (size_t i = 0; i < count; ++i) {
      const Blocks blocks(matrices[i]);
      const size_t last = first + blocks.out;
      for (size_t row = std::max(begin, first); row < std::min(begin + kPanel, last); ++row) {
        f(blocks, row - first, row - begin);
      }
      first = last;
    }
  }
};

// Codes and scales of kLargestBlock or fewer rows of a panel.
struct Piece {
  int8_t codes[kLargestBlock * kPanel] = {};
  float scales[kLargestBlock / kLeastGroup][kPanel] = {};

  // The kernels multiply an int8 by its scale, so none is negative, and zeros are +0.
  void Add(const Format& format, const Block& block, size_t row, size_t lane) {
    for (size_t g = 0; g < format.elements / format.group; ++g) {
      const float scale = block.scales[g];
      const bool int4 = format.dtype == DType::kInt4;
      const int sign = int4 || scale > 0.0f ? 1 : scale < 0.0f ? -1 : 0;
      scales[row / format.group + g][lane] = int4 ? scale : std::fabs(scale);
      for (size_t i = g * format.group; i < (g + 1) * format.group; ++i) {
        codes[(row + i) * kPanel + lane] = static_cast<int8_t>(block.codes[i] * sign);
      }
    }
  }
};

}  // namespace

Status dequantize_gguf(const GgufMatrix& matrix, const MutableTensorView& y, Context& context) {
  const Call call(context);
  HEED_RETURN_IF_ERROR(call.status());
  HEED_RETURN_IF_ERROR(CheckBlocks(matrix, Context::Impl::Of(context)->measures));
  HEED_RETURN_IF_ERROR(CheckOutput("y", y, DType::kF32, 2, 2));
  if (y.shape[0] != matrix.out || y.shape[1] != matrix.in) {
    return Status::Error(StatusCode::kInvalidArgument, "y: shape is %s, must be [%zu, %zu]",
                         ShapeText(y).text, matrix.out, matrix.in);
  }
  HEED_RETURN_IF_ERROR(CheckNoOverlap("y", y, "blocks", BytesOf(matrix)));
  const Blocks blocks(matrix);
  const Format& format = *blocks.format;
  return ForEachRow(blocks, *Context::Impl::Of(context), [&](size_t row) {
    Block block;
    float* to = static_cast<float*>(y.mutable_data()) + static_cast<ptrdiff_t>(row) * y.strides[0];
    for (size_t i = 0; i < blocks.of_row(); ++i) {
      format.read(blocks.At(row, i), &block);
      const auto first = static_cast<ptrdiff_t>(i * format.elements);
      WriteElements(format, block, to + first * y.strides[1], y.strides[1]);
    }
  });
}

// Of matrices that CheckMatrices has seen.
Status PackedMatrix::Impl::Describe(const GgufMatrix* matrices, size_t count, WeightLayout,
                                    const PackOptions& options) {
  for (size_t i = 0; i < count; ++i) {
    HEED_RETURN_IF_ERROR(AddWidth("matrices", i, matrices[i].in, matrices[i].out));
  }
  return SetOptions(options);
}

// Block by block into the panels, so that nothing lies in memory beside them.
Status PackedMatrix::Impl::Pack(const GgufMatrix* matrices, size_t count, WeightLayout, Arena,
                                const Context::Impl& context) {
  if (in == 0 || out == 0) return Status();
  const RowsOfAll rows = {matrices, count};
  const Format& format = *FormatOf(matrices[0].type);
  const size_t tasks = num_panels();
  const double work = static_cast<double>(in) * static_cast<double>(tasks * kPanel) * kElementCost;
  return ForEachTask(context, tasks, WorkersFor(context, tasks, work), [&](size_t panel, size_t) {
    Block block;
    if (dtype == DType::kF32) {
      float* elements = reinterpret_cast<float*>(mutable_data() + panel * panel_bytes());
      std::fill_n(elements, in * kPanel, 0.0f);
      rows.ForEachLane(panel * kPanel, [&](const Blocks& blocks, size_t row, size_t lane) {
        for (size_t i = 0; i < blocks.of_row(); ++i) {
          format.read(blocks.At(row, i), &block);
          WriteElements(format, block, elements + i * format.elements * kPanel + lane, kPanel);
        }
      });
      return;
    }
    for (size_t first = 0; first < in; first += kLargestBlock) {
      const size_t depth = std::min(in - first, kLargestBlock);
      Piece piece;
      rows.ForEachLane(panel * kPanel, [&](const Blocks& blocks, size_t row, size_t lane) {
        for (size_t k = 0; k < depth; k += format.elements) {
          format.read(blocks.At(row, (first + k) / format.elements), &block);
          piece.Add(format, block, k, lane);
        }
      });
      for (size_t k = 0; k < depth; k += group) {
        StoreScales(panel, first + k, piece.scales[k / group]);
      }
      StoreCodes(panel, first, depth, piece.codes);
    }
  });
}

namespace {

Status CheckMatrices(const GgufMatrix* matrices, size_t count, Context& context) {
  const Call call(context);
  HEED_RETURN_IF_ERROR(call.status());
  if (matrices == nullptr || count == 0) {
    return Status::Error(StatusCode::kInvalidArgument, "matrices: none is given");
  }
  for (size_t i = 0; i < count; ++i) {
    HEED_RETURN_IF_ERROR(CheckBlocks(matrices[i], Context::Impl::Of(context)->measures));
    HEED_RETURN_IF_ERROR(CheckCodes(matrices[i]));
    const Format& format = *FormatOf(matrices[i].type);
    if (!IsBuilt(format.dtype)) {
      return Status::Error(
          StatusCode::kUnsupported,
          "type: %s is packed as %s, which this build of heed has been made without", format.name,
          name_of(format.dtype));
    }
    if (matrices[i].type != matrices[0].type) {
      return Status::Error(StatusCode::kInvalidArgument,
                           "type: of matrix %zu is %s, of the first %s", i,
                           FormatOf(matrices[i].type)->name, FormatOf(matrices[0].type)->name);
    }
  }
  return Status();
}

}  // namespace

Result<PackedMatrix> pack_gguf(const GgufMatrix* matrices, size_t count, const Memory& memory,
                               Context& context) {
  HEED_RETURN_IF_ERROR(CheckMatrices(matrices, count, context));
  const Format& format = *FormatOf(matrices[0].type);
  const PackOptions options = {format.dtype, format.dtype == DType::kF32 ? 0 : format.group};
  return PackedMatrix::Impl::MakePacked(matrices, count, WeightLayout::kOutIn, options, memory,
                                        context);
}

Result<PackedMatrix> pack_gguf(const GgufMatrix* matrices, size_t count, Context& context) {
  return pack_gguf(matrices, count, {}, context);
}

Result<PackedMatrix> pack_gguf(const GgufMatrix& matrix, Context& context) {
  return pack_gguf(&matrix, 1, context);
}

}  // namespace heed::inline v1
