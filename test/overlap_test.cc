// No result of a call may share memory with what the call reads, or with another result: every such
// pair of every entry point is refused by both names, and nothing is written. Memory side by side is
// taken.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "heed/heed.hpp"
#include "src/attention/options.h"
#include "test/headers.h"
#include "test/support/call.h"
#include "test/support/refusal.h"
#include "tools/conformance/tensor.h"

namespace heed::test {
namespace {

constexpr StatusCode kInvalid = StatusCode::kInvalidArgument;

// Memory for all views of a call, each in a place of its own until a test moves it.
class Memory {
 public:
  explicit Memory(Call& call) : call_(call), bytes_(kPlace * (call.views.size() + 4)) { Reset(); }

  void Reset() {
    std::fill(bytes_.begin(), bytes_.end(), char{0x5a});
    for (size_t i = 0; i < call_.views.size(); ++i) Put(call_.views[i], i * kPlace);
  }
  void Put(CallView& view, size_t at) {
    REQUIRE(view.contents.size() <= kPlace / 2);
    std::memcpy(bytes_.data() + at, view.contents.data(), view.contents.size());
    view.view->data = bytes_.data() + at;
  }
  // Where two views can be laid over each other.
  size_t Middle() const { return kPlace * (call_.views.size() + 2); }

  const std::vector<char>& bytes() const { return bytes_; }

 private:
  static constexpr size_t kPlace = 8192;
  Call& call_;
  std::vector<char> bytes_;
};

// How far `other` begins from `output`, in bytes: the same address, its last element in the
// output's first, its first in the output's last.
std::vector<ptrdiff_t> Overlaps(const CallView& output, const CallView& other) {
  const auto size = static_cast<ptrdiff_t>(size_of(other.view->dtype));
  return {0, size - static_cast<ptrdiff_t>(other.contents.size()),
          static_cast<ptrdiff_t>(output.contents.size()) - size};
}

std::string FaultOfPair(Call& call, CallView& output, CallView& other, Context& context) {
  Memory memory(call);
  for (ptrdiff_t offset : Overlaps(output, other)) {
    memory.Reset();
    memory.Put(output, memory.Middle());
    memory.Put(other, memory.Middle() + static_cast<size_t>(offset));
    const std::vector<char> before = memory.bytes();
    const bool itself = offset == 0 && !output.may_be.empty() && output.may_be == other.name;
    const Status status = call.run(context);
    if (itself || (offset == 0 && !other.output && other.may_be == output.name)) {
      if (!status.ok()) return std::string("refused itself: ") + status.message();
      continue;
    }
    for (const std::string& name : {output.name, other.name}) {
      const std::string wrong = WrongRefusal(status, kInvalid, name.c_str());
      if (!wrong.empty()) return "at " + std::to_string(offset) + ": " + wrong;
    }
    if (memory.bytes() != before) return "at " + std::to_string(offset) + ": wrote to memory";
  }
  for (ptrdiff_t offset : {-static_cast<ptrdiff_t>(other.contents.size()),
                           static_cast<ptrdiff_t>(output.contents.size())}) {
    memory.Reset();
    memory.Put(output, memory.Middle());
    memory.Put(other, memory.Middle() + static_cast<size_t>(offset));
    const Status status = call.run(context);
    if (!status.ok()) return std::string("side by side: ") + status.message();
  }
  return "";
}

TEST_CASE("every result over every input and every other result is refused, and nothing written") {
  Context context;
  size_t pairs = 0;
  for (const auto& call : AllCalls()) {
    INFO(std::string(call->entry));
    {
      const Memory memory(*call);
      const Status status = call->run(context);
      REQUIRE(std::string(status.message()) == "");
    }
    for (CallView& output : call->views) {
      if (!output.output) continue;
      for (CallView& other : call->views) {
        if (&other == &output) continue;
        INFO(output.name << " over " << other.name);
        CHECK(FaultOfPair(*call, output, other, context) == "");
        ++pairs;
      }
    }
  }
  CHECK(pairs > 300);
}

TEST_CASE("a view of an impossible rank is refused by every entry point, before overlaps are") {
  Context context;
  for (const auto& call : AllCalls()) {
    INFO(std::string(call->entry));
    for (CallView& view : call->views) {
      INFO(view.name);
      const Memory memory(*call);
      const TensorView good = *view.view;
      view.view->rank = TensorView::kInvalidRank;
      const std::vector<char> before = memory.bytes();
      CHECK(WrongRefusal(call->run(context), kInvalid, view.name.c_str()) == "");
      CHECK(memory.bytes() == before);
      *view.view = good;
    }
  }
}

TEST_CASE("two views of an impossible rank are refused by every entry point") {
  Context context;
  for (const auto& call : AllCalls()) {
    INFO(std::string(call->entry));
    for (CallView& view : call->views) {
      for (CallView& other : call->views) {
        if (&view == &other) continue;
        INFO(view.name << " and " << other.name);
        const Memory memory(*call);
        const TensorView good = *view.view, other_good = *other.view;
        view.view->rank = other.view->rank = TensorView::kInvalidRank;
        const std::vector<char> before = memory.bytes();
        const Status status = call->run(context);
        CHECK((WrongRefusal(status, kInvalid, view.name.c_str()) == "" ||
               WrongRefusal(status, kInvalid, other.name.c_str()) == ""));
        CHECK(memory.bytes() == before);
        *view.view = good;
        *other.view = other_good;
      }
    }
  }
}

TEST_CASE("the table of options names each view of AttentionOptions once") {
  const AttentionOptions options;
  const auto* begin = reinterpret_cast<const char*>(&options);
  std::vector<size_t> places;
  for (const OptionView& row : kOptionViews) {
    const auto* view = reinterpret_cast<const char*>(&row.of(options));
    REQUIRE(view >= begin);
    REQUIRE(view + sizeof(TensorView) <= begin + sizeof(options));
    places.push_back(static_cast<size_t>(view - begin));
  }
  std::sort(places.begin(), places.end());
  for (size_t i = 1; i < places.size(); ++i) CHECK(places[i] - places[i - 1] >= sizeof(TensorView));
}

// Which forms refuse an option, by the table in heed/c/attention.h; kUnknown: it has no line there.
constexpr uint32_t kUnknown = ~uint32_t{0};
uint32_t RefusedByManual(const std::string& option) {
  constexpr std::pair<const char*, uint32_t> kColumns[] = {{" cu_seqlens ", kPacked},
                                                           {" cache ", kCache},
                                                           {" ring ", kRing},
                                                           {" pages ", kPages},
                                                           {" part", kPartOfKeys}};
  std::istringstream text(HeadersOfC());
  std::string heads, line;
  while (std::getline(text, line)) {
    if (line.find(" cu_seqlens  cache ") != std::string::npos) heads = line;
    std::istringstream words(line);
    std::string slashes, name;
    if (heads.empty() || !(words >> slashes >> name) || slashes != "//" || name != option) continue;
    uint32_t refused = 0;
    for (const auto& [head, form] : kColumns) {
      const size_t column = heads.find(head) + 1;
      if (column < line.size() && line[column] == 'x') refused |= form;
    }
    return refused;
  }
  return kUnknown;
}

TEST_CASE("calls refuse the options that the manual says, by name, and take the others") {
  Context context;
  for (const OptionView& tested : kOptionViews) {
    const std::string option = tested.name;
    const uint32_t refused_by = RefusedByManual(option);
    INFO(option);
    REQUIRE(refused_by != kUnknown);
    const bool offsets = option.rfind("cu_seqlens", 0) == 0;
    const bool chooses = option == "weights_heads" || option == "weights_queries";
    for (uint32_t forms : kAllForms) {
      const bool packed = (forms & kPacked) != 0, pages = (forms & kPages) != 0;
      const bool refused = (refused_by & forms) != 0;
      if (offsets && !packed && !refused) continue;  // they make it another form
      const auto call = AttentionCall(forms, [&](const OptionView& row) {
        const std::string name = row.name;
        if (name == option || (chooses && name == "weights")) return true;
        return packed && (name == "cu_seqlens_q" || (name == "cu_seqlens_k" && !pages));
      });
      INFO(TextOf(forms));
      const Memory memory(*call);
      const std::vector<char> before = memory.bytes();
      const Status status = call->run(context);
      if (!refused) {
        CHECK(std::string(status.message()) == "");
        continue;
      }
      const std::string named = chooses && Names(status.message(), "weights") ? "weights" : option;
      CHECK(WrongRefusal(status, kInvalid, named.c_str()) == "");
      CHECK(memory.bytes() == before);
    }
  }
}

TEST_CASE("a PagedKvCache does not append from its own pool") {
  PagedKvCacheConfig config;
  config.num_blocks = 4;
  config.block_size = 4;
  config.num_kv_heads = 2;
  config.head_dim = 8;
  Result<PagedKvCache> cache = PagedKvCache::create(config);
  REQUIRE(cache.ok());
  const Result<PagedSequence> sequence = cache->add();
  REQUIRE(sequence.ok());
  Random random(1);
  const Tensor<float> tokens = Normal({1, 2, 2, 8}, random);
  Context context;
  REQUIRE(cache->append(*sequence, tokens.view(), tokens.view(), context).ok());
  const Result<PagedKv> kv = cache->view(std::span(&*sequence, 1));
  REQUIRE(kv.ok());
  const TensorView k = kv->k.slice(0, 3, 4).slice(1, 0, 1), v = kv->v.slice(0, 3, 4).slice(1, 3, 4);
  CHECK(WrongRefusal(cache->append(*sequence, k, tokens.view().slice(1, 0, 1), context), kInvalid,
                     "k") == "");
  CHECK(WrongRefusal(cache->append(*sequence, tokens.view().slice(1, 0, 1), v, context), kInvalid,
                     "v") == "");
  CHECK(*cache->length(*sequence) == 2);
}

}  // namespace
}  // namespace heed::test
