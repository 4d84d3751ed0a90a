// One call and more of each function that takes a context, for tests of the memory they take.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "heed/heed.hpp"
#include "test/support/host_memory.h"
#include "tools/conformance/random.h"

namespace heed::test {

// A call. `data` false: its views have none.
struct MeasuredCall {
  std::string name;
  std::function<Status(Context& context, bool data)> run;
  std::function<void()> prepare = [] {};  // before each run
  bool takes_workspace = true;
};

// Calls of every function that takes a context, and their results. What they make lies in memory
// that is there before.
class MeasuredCalls {
 public:
  MeasuredCalls();
  MeasuredCalls(const MeasuredCalls&) = delete;
  MeasuredCalls& operator=(const MeasuredCalls&) = delete;

  const std::vector<MeasuredCall>& all() const { return all_; }
  std::vector<float>& out() { return out_; }

 private:
  template <class T>
  static const T* If(bool data, const T* elements) {
    return data ? elements : nullptr;
  }
  MutableTensorView Out(bool data, std::initializer_list<size_t> shape, size_t at = 0) {
    return MutableTensorView(data ? out_.data() + at : nullptr, shape);
  }
  TensorView F32(bool data, std::initializer_list<size_t> shape, size_t at = 0) const {
    return TensorView(If(data, numbers_.data() + at), shape);
  }
  template <class T>
  TensorView Narrow(bool data, std::initializer_list<size_t> shape) const {
    return TensorView(If(data, reinterpret_cast<const T*>(halves_.data())), shape);
  }

  GgufMatrix Blocks(bool data, GgufType type) const;
  QuantizedView Quantized(bool data) const;
  // A saved matrix, and whether it was packed.
  Status Save(const Result<PackedMatrix>& packed);

  void AddAttention();
  void AddCaches();
  void AddProducts();
  void AddPacking();
  void AddRegions();
  void AddOthers();
  void AddLayers();

  static constexpr size_t kKeys = 2100;  // three segments
  Random random_{11};
  std::vector<float> numbers_ = [this] {
    std::vector<float> numbers(600000);
    for (float& x : numbers) x = random_.Normal();
    return numbers;
  }();
  std::vector<uint16_t> halves_ = [this] {
    std::vector<uint16_t> halves(400000);
    for (size_t i = 0; i < halves.size(); ++i) {
      halves[i] = static_cast<uint16_t>(0x3800 + random_.Below(0x300));  // 0.5 to 1 in f16
    }
    return halves;
  }();
  std::vector<int8_t> codes_ = [this] {
    std::vector<int8_t> codes(60000);
    for (int8_t& code : codes)
      code = static_cast<int8_t>(static_cast<int>(random_.Below(255)) - 127);
    return codes;
  }();
  std::vector<float> out_ = std::vector<float>(400000);
  const int32_t chosen_[3] = {0, 2, 3};
  const int32_t offsets_q_[4] = {0, 7, 7, 40}, offsets_k_[4] = {0, 90, 91, 300};
  const int32_t lengths_[2] = {5, 1900};
  std::vector<int32_t> positions_ = std::vector<int32_t>(400, 3);
  std::vector<int32_t> blocks_ = [] {
    std::vector<int32_t> blocks(2 * 66);
    for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<int32_t>(i * 7 % 66);
    return blocks;
  }();
  const int32_t full_[2] = {66 * 32, 66 * 32};
  HostMemory made_{size_t{1} << 20};  // where what calls make lies
  std::vector<KvCache> caches_;
  std::vector<PagedKvCache> paged_;
  std::vector<PagedSequence> sequences_;
  std::vector<PackedMatrix> packed_;
  std::vector<MultiHeadAttention> layers_;
  std::vector<MeasuredCall> all_;
};

}  // namespace heed::test
