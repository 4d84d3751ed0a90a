// PagedKvCache against a plain model: every sequence a list of its tokens.
#include <doctest/doctest.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "heed/attention.hpp"
#include "heed/paged_kv_cache.hpp"
#include "test/support/compare.h"
#include "test/support/contexts.h"
#include "test/support/mode.h"
#include "test/support/refusal.h"
#include "tools/conformance/tensor.h"

namespace heed::test {
namespace {

constexpr auto kInvalid = StatusCode::kInvalidArgument;
constexpr size_t kHeads = 2, kHeadDim = 3, kVHeadDim = 5;

PagedKvCacheConfig Config(size_t num_blocks, size_t block_size) {
  PagedKvCacheConfig config;
  config.num_blocks = num_blocks;
  config.block_size = block_size;
  config.num_kv_heads = kHeads;
  config.head_dim = kHeadDim;
  config.v_head_dim = kVHeadDim;
  return config;
}

// What a token puts into the pool: different numbers for every token ever made.
float KeyOf(size_t token, size_t i) { return static_cast<float>(token * 16 + i); }
float ValueOf(size_t token, size_t i) { return -static_cast<float>(token * 16 + i); }

using Tokens = std::vector<size_t>;

struct TokenData {
  // tokens[b] to be appended to sequence b; all of one length.
  TokenData(const std::vector<Tokens>& tokens, size_t seq, Layout layout)
      : k({tokens.size(), seq, kHeads, kHeadDim}, layout),
        v({tokens.size(), seq, kHeads, kVHeadDim}, layout) {
    for (size_t b = 0, n = 0; b < tokens.size(); ++b) {
      for (size_t i = 0; i < seq; ++i, ++n) {
        for (size_t j = 0; j < kHeads * kHeadDim; ++j) {
          k[n * kHeads * kHeadDim + j] = KeyOf(tokens[b][i], j);
        }
        for (size_t j = 0; j < kHeads * kVHeadDim; ++j) {
          v[n * kHeads * kVHeadDim + j] = ValueOf(tokens[b][i], j);
        }
      }
    }
  }
  Tensor<float> k, v;
};

class Model {
 public:
  Model(size_t num_blocks, size_t block_size, uint64_t seed)
      : config_(Config(num_blocks, block_size)), random_(seed) {
    Result<PagedKvCache> cache = PagedKvCache::create(config_);
    REQUIRE(cache.ok());
    cache_ = std::make_unique<PagedKvCache>(std::move(*cache));
  }

  void Step() {
    const size_t what = random_.Below(16);
    if (names_.empty() || (what == 0 && names_.size() < 12)) {
      Take(cache_->add(), {});
    } else if (what < 8) {
      Append();
    } else if (what < 11 && names_.size() < 12) {
      Fork();
    } else if (what < 14) {
      Truncate();
    } else {
      Free();
    }
  }

  // Empty when the cache holds what the model holds, and its books are right.
  std::string Fault() {
    Result<PagedKv> kv = cache_->view(names_);
    if (!kv.ok()) return kv.status().message();
    const auto* table = static_cast<const int32_t*>(kv->block_table.data);
    const auto* lens = static_cast<const int32_t*>(kv->seq_lens.data);
    const size_t row = kv->block_table.shape[1];
    std::map<int32_t, size_t> holders;
    for (size_t b = 0; b < names_.size(); ++b) {
      if (static_cast<size_t>(lens[b]) != tokens_[b].size()) return "a length is wrong";
      const size_t blocks = Blocks(tokens_[b].size());
      for (size_t i = 0; i < row; ++i) {
        const int32_t block = table[b * row + i];
        if (i >= blocks) {
          if (block != -1) return "an unused entry is not -1";
        } else if (block < 0 || static_cast<size_t>(block) >= config_.num_blocks) {
          return "a block does not exist";
        } else {
          ++holders[block];
        }
      }
      const std::string fault = Contents(*kv, table + b * row, tokens_[b]);
      if (!fault.empty()) return "sequence " + std::to_string(b) + fault;
    }
    for (size_t i = 0; i < config_.num_blocks; ++i) {
      if (cache_->references(i) != holders[static_cast<int32_t>(i)]) return "references are wrong";
    }
    const auto used = static_cast<size_t>(
        std::count_if(holders.begin(), holders.end(), [](const auto& h) { return h.second > 0; }));
    if (cache_->free_blocks() + used != config_.num_blocks) return "free and used are not all";
    if (cache_->num_sequences() != names_.size()) return "num_sequences is wrong";
    return "";
  }

  size_t refused() const { return refused_; }
  size_t copied() const { return copied_; }

 private:
  size_t Blocks(size_t length) const {
    return (length + config_.block_size - 1) / config_.block_size;
  }

  std::string Contents(const PagedKv& kv, const int32_t* blocks, const Tokens& tokens) const {
    for (size_t t = 0; t < tokens.size(); ++t) {
      const size_t place =
          static_cast<size_t>(blocks[t / config_.block_size]) * config_.block_size +
          t % config_.block_size;
      const float* k = static_cast<const float*>(kv.k.data) + place * kHeads * kHeadDim;
      const float* v = static_cast<const float*>(kv.v.data) + place * kHeads * kVHeadDim;
      bool same = true;
      for (size_t i = 0; i < kHeads * kHeadDim; ++i) same &= k[i] == KeyOf(tokens[t], i);
      for (size_t i = 0; i < kHeads * kVHeadDim; ++i) same &= v[i] == ValueOf(tokens[t], i);
      if (!same) return ": token " + std::to_string(t) + " is not what was appended";
    }
    return "";
  }

  void Take(const Result<PagedSequence>& name, const Tokens& tokens) {
    REQUIRE(name.ok());
    names_.push_back(*name);
    tokens_.push_back(tokens);
  }

  // Blocks that are needed when these sequences get `seq` tokens each: those they will hold, less
  // those that are held now. Of a shared last block all that are named need a copy, but one if
  // nobody else holds it.
  size_t Needed(const std::vector<size_t>& chosen, size_t seq) {
    std::map<int32_t, size_t> writers;
    size_t needed = 0;
    for (size_t b : chosen) {
      const size_t length = tokens_[b].size();
      needed += Blocks(length + seq) - Blocks(length);
      if (length % config_.block_size == 0) continue;
      const Result<PagedKv> kv = cache_->view(std::span(&names_[b], 1));
      const size_t last = Blocks(length) - 1;
      ++writers[static_cast<const int32_t*>(kv->block_table.data)[last]];
    }
    for (const auto& [block, count] : writers) {
      const size_t copies =
          cache_->references(static_cast<size_t>(block)) > count ? count : count - 1;
      needed += copies;
      copied_ += copies;
    }
    return needed;
  }

  void Append() {
    std::vector<size_t> chosen;
    const size_t first = random_.Below(names_.size());
    const size_t count = random_.Below(2) == 0 ? 1 : 1 + random_.Below(names_.size());
    for (size_t i = 0; i < count; ++i) chosen.push_back((first + i) % names_.size());
    if (random_.Below(2) == 0) std::reverse(chosen.begin(), chosen.end());
    const size_t seq = random_.Below(random_.Below(4) == 0 ? 4 * config_.block_size : 3);
    std::vector<Tokens> added(count);
    std::vector<PagedSequence> names;
    for (size_t b = 0; b < count; ++b) {
      names.push_back(names_[chosen[b]]);
      for (size_t i = 0; i < seq; ++i) added[b].push_back(next_token_++);
    }
    const TokenData data(added, seq, kAllLayouts[random_.Below(std::size(kAllLayouts))]);
    const bool fits = seq == 0 || Needed(chosen, seq) <= cache_->free_blocks();
    Context context;
    const Status status = cache_->append(names, data.k.view(), data.v.view(), context);
    CHECK(status.code() == (fits ? StatusCode::kOk : StatusCode::kCapacityExceeded));
    refused_ += fits ? 0 : 1;
    for (size_t b = 0; b < count && status.ok(); ++b) {
      Tokens& tokens = tokens_[chosen[b]];
      tokens.insert(tokens.end(), added[b].begin(), added[b].end());
    }
  }

  void Fork() {
    const size_t b = random_.Below(names_.size()), free = cache_->free_blocks();
    Tokens tokens = tokens_[b];
    if (random_.Below(2) == 0) {
      Take(cache_->fork(names_[b]), tokens);
    } else {
      tokens.resize(random_.Below(tokens.size() + 1));
      Take(cache_->fork(names_[b], tokens.size()), tokens);
    }
    CHECK(cache_->free_blocks() == free);
  }

  void Truncate() {
    const size_t b = random_.Below(names_.size());
    tokens_[b].resize(random_.Below(tokens_[b].size() + 1));
    CHECK(cache_->truncate(names_[b], tokens_[b].size()).ok());
    const Result<size_t> length = cache_->length(names_[b]);
    CHECK((length.ok() && *length == tokens_[b].size()));
  }

  void Free() {
    const size_t b = random_.Below(names_.size());
    CHECK(cache_->free(names_[b]).ok());
    CHECK(WrongRefusal(cache_->free(names_[b]), kInvalid, "sequence") == "");
    names_.erase(names_.begin() + static_cast<ptrdiff_t>(b));
    tokens_.erase(tokens_.begin() + static_cast<ptrdiff_t>(b));
  }

  const PagedKvCacheConfig config_;
  Random random_;
  std::unique_ptr<PagedKvCache> cache_;
  std::vector<PagedSequence> names_;
  std::vector<Tokens> tokens_;
  size_t next_token_ = 0, refused_ = 0, copied_ = 0;
};

TEST_CASE("a paged cache does what its plain model does, whatever it is asked") {
  const size_t sizes[][2] = {{24, 4}, {9, 1}, {5, 16}, {40, 3}};
  for (const auto& size : sizes) {
    const size_t num_blocks = size[0], block_size = size[1];
    INFO(num_blocks << " blocks of " << block_size);
    Model model(num_blocks, block_size, num_blocks);
    for (int step = 0; step < (Quick() ? 2000 : 4000); ++step) {
      INFO("step " << step);
      model.Step();
      REQUIRE(model.Fault() == "");
    }
    CHECK(model.refused() > 20);  // the pool was exhausted, again and again
    if (block_size > 1) CHECK(model.copied() > 20);
  }
}

PagedKvCache Make(const PagedKvCacheConfig& config) {
  Result<PagedKvCache> cache = PagedKvCache::create(config);
  REQUIRE(std::string(cache.status().message()) == "");
  return std::move(*cache);
}

TEST_CASE("PagedKvCache::create refuses sizes of 0 and sizes that overflow or do not fit memory") {
  for (size_t PagedKvCacheConfig::*field :
       {&PagedKvCacheConfig::num_blocks, &PagedKvCacheConfig::block_size,
        &PagedKvCacheConfig::num_kv_heads, &PagedKvCacheConfig::head_dim}) {
    for (size_t size : {size_t{0}, SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 64}) {
      PagedKvCacheConfig config = Config(4, 4);
      config.*field = size;
      CHECK(WrongRefusal(PagedKvCache::create(config).status(), kInvalid, "config") == "");
    }
  }
  PagedKvCacheConfig config = Config(4, 4);
  config.v_head_dim = SIZE_MAX;
  CHECK(WrongRefusal(PagedKvCache::create(config).status(), kInvalid, "v_head_dim") == "");
  config.v_head_dim = 0;
  CHECK(Make(config).config().v_head_dim == kHeadDim);
  CHECK(Make(config).bytes() == 4 * 4 * kHeads * 2 * kHeadDim * sizeof(float));
  config = Config(size_t{1} << 16, size_t{1} << 15);
  CHECK(WrongRefusal(PagedKvCache::create(config).status(), kInvalid, "block_size") == "");
  config = Config(size_t{1} << 15, size_t{1} << 15);
  config.head_dim = size_t{1} << 20;
  CHECK(PagedKvCache::create(config).status().code() == StatusCode::kOutOfMemory);
}

TEST_CASE("a paged cache refuses sequences that are not its own, or no more") {
  PagedKvCache cache = Make(Config(4, 4)), other = Make(Config(4, 4));
  const PagedSequence mine = *cache.add(), foreign = *other.add(), freed = *cache.add();
  REQUIRE(cache.free(freed).ok());
  const PagedSequence again = *cache.add();  // takes the slot that was freed
  CHECK(again.slot == freed.slot);
  const TokenData one({{1}}, 1, Layout::kContiguous);
  Context context;
  for (const PagedSequence& name : {foreign, freed, PagedSequence{}, PagedSequence{9, 1}}) {
    const PagedSequence list[] = {mine, name};
    CHECK(WrongRefusal(cache.free(name), kInvalid, "sequence") == "");
    CHECK(WrongRefusal(cache.length(name).status(), kInvalid, "sequence") == "");
    CHECK(WrongRefusal(cache.fork(name).status(), kInvalid, "sequence") == "");
    CHECK(WrongRefusal(cache.fork(name, 0).status(), kInvalid, "sequence") == "");
    CHECK(WrongRefusal(cache.truncate(name, 0), kInvalid, "sequence") == "");
    CHECK(WrongRefusal(cache.append(name, one.k.view(), one.v.view(), context), kInvalid,
                       "sequence") == "");
    CHECK(WrongRefusal(cache.view(list).status(), kInvalid, "sequence") == "");
  }
  CHECK(cache.num_sequences() == 2);
  CHECK(cache.free_blocks() == 4);
}

TEST_CASE("PagedKvCache::append refuses bad tensors and what does not fit, and adds nothing then") {
  PagedKvCache cache = Make(Config(4, 4));
  const PagedSequence names[] = {*cache.add(), *cache.add()};
  const TokenData data({{1, 2, 3}, {4, 5, 6}}, 3, Layout::kContiguous);
  Context context;
  const TensorView k = data.k.view(), v = data.v.view();
  const auto with = [](TensorView view, auto change) {
    change(view);
    return view;
  };
  const auto null = with(k, [](TensorView& t) { t.data = nullptr; });
  const auto codes = with(v, [](TensorView& t) { t.dtype = DType::kInt8; });
  const auto endless = with(k, [](TensorView& t) { t.shape[1] = SIZE_MAX; });
  CHECK(WrongRefusal(cache.append(names, null, v, context), kInvalid, "k") == "");
  CHECK(WrongRefusal(cache.append(names, {}, v, context), kInvalid, "k") == "");
  CHECK(WrongRefusal(cache.append(names, k, {}, context), kInvalid, "v") == "");
  CHECK(WrongRefusal(cache.append(names, k, codes, context), StatusCode::kUnsupported, "v") == "");
  CHECK(WrongRefusal(cache.append(names, k, v.slice(1, 0, 2), context), kInvalid, "v") == "");
  CHECK(WrongRefusal(cache.append(names, k.slice(0, 0, 1), v, context), kInvalid, "k") == "");
  CHECK(WrongRefusal(cache.append(names, k.slice(2, 0, 1), v, context), kInvalid, "k") == "");
  CHECK(WrongRefusal(cache.append(names, v, v, context), kInvalid, "k") == "");
  CHECK(WrongRefusal(cache.append(names, endless, v, context), kInvalid, "k") == "");
  CHECK(WrongRefusal(cache.append(names[0], k, v, context), kInvalid, "k") == "");
  const PagedSequence twice[] = {names[1], names[1]};
  CHECK(WrongRefusal(cache.append(twice, k, v, context), kInvalid, "sequences") == "");
  CHECK(cache.free_blocks() == 4);

  // A token of 17 that all read the same memory: 5 blocks of 4.
  const auto repeated = [](const TensorView& view) {
    TensorView many = view.slice(0, 0, 1).slice(1, 0, 1);
    many.shape[1] = 17;
    many.strides[1] = 0;
    return many;
  };
  CHECK(WrongRefusal(cache.append(names[0], repeated(k), repeated(v), context),
                     StatusCode::kCapacityExceeded, "cache") == "");
  CHECK(*cache.length(names[0]) == 0);
  CHECK(cache.append(names, k, v, context).ok());
  CHECK(cache.free_blocks() == 2);
  CHECK(WrongRefusal(cache.truncate(names[0], 4), kInvalid, "length") == "");
  CHECK(WrongRefusal(cache.fork(names[0], 4).status(), kInvalid, "length") == "");
  CHECK(cache.num_sequences() == 2);
}

TEST_CASE("a view may name a sequence twice, none at all, and sequences without tokens") {
  PagedKvCache cache = Make(Config(4, 2));
  const PagedSequence empty = *cache.add(), full = *cache.add();
  const TokenData data({{1, 2, 3}}, 3, Layout::kContiguous);
  Context context;
  const size_t sizes[] = {3, kHeads, kHeadDim}, v_sizes[] = {3, kHeads, kVHeadDim};
  REQUIRE(cache
              .append(full, TensorView(data.k.view().data, DType::kF32, sizes, 3),
                      TensorView(data.v.view().data, DType::kF32, v_sizes, 3), context)
              .ok());  // rank 3
  const PagedSequence names[] = {full, empty, full};
  const Result<PagedKv> kv = cache.view(names);
  REQUIRE(kv.ok());
  CHECK(kv->block_table.shape[0] == 3);
  CHECK(kv->block_table.shape[1] == 2);
  const auto* table = static_cast<const int32_t*>(kv->block_table.data);
  const auto* lens = static_cast<const int32_t*>(kv->seq_lens.data);
  CHECK(std::vector<int32_t>(table, table + 6) == std::vector<int32_t>{0, 1, -1, -1, 0, 1});
  CHECK(std::vector<int32_t>(lens, lens + 3) == std::vector<int32_t>{3, 0, 3});
  const Result<PagedKv> none = cache.view({});
  REQUIRE(none.ok());
  CHECK(none->seq_lens.shape[0] == 0);
  CHECK(none->k.shape[0] == 4);
  const Result<PagedKv> tokenless = cache.view(std::span(&empty, 1));
  REQUIRE(tokenless.ok());
  CHECK(tokenless->block_table.shape[1] == 1);
}

// Attention of the last tokens of each sequence, and of the same sequence in tensors of its own.
void CheckAttention(size_t block_size, const std::vector<size_t>& ends, Context& context) {
  constexpr size_t kQLen = 3, kPrefix = 70, kQHeads = 4;
  Random random(block_size);
  PagedKvCache cache = Make(Config(600 / block_size + 40, block_size));
  const size_t batch = ends.size(), longest = *std::max_element(ends.begin(), ends.end());
  Tensor<float> k = Normal({batch, longest, kHeads, kHeadDim}, random);
  Tensor<float> v = Normal({batch, longest, kHeads, kVHeadDim}, random);
  std::vector<PagedSequence> names = {*cache.add()};
  REQUIRE(cache.append(names[0], k.view().slice(0, 0, 1), v.view().slice(0, 0, 1), context).ok());
  for (size_t b = 1; b < batch; ++b) {  // all share a prefix
    std::copy_n(&k[0], kPrefix * kHeads * kHeadDim, &k[b * longest * kHeads * kHeadDim]);
    std::copy_n(&v[0], kPrefix * kHeads * kVHeadDim, &v[b * longest * kHeads * kVHeadDim]);
    names.push_back(*cache.fork(names[0], kPrefix));
    const auto own = [&](const Tensor<float>& t) {
      return t.view().slice(0, b, b + 1).slice(1, kPrefix, ends[b]);
    };
    REQUIRE(std::string(cache.append(names[b], own(k), own(v), context).message()) == "");
  }
  REQUIRE(cache.truncate(names[0], ends[0]).ok());
  const Tensor<float> q = Normal({batch, kQLen, kQHeads, kHeadDim}, random);
  Tensor<float> out({batch, kQLen, kQHeads, kVHeadDim}), want = out;
  AttentionOptions options;
  options.causal = true;
  const Result<PagedKv> kv = cache.view(names);
  REQUIRE(kv.ok());
  const Status status = attention(q.view(), *kv, out.mutable_view(), options, context);
  REQUIRE(std::string(status.message()) == "");
  for (size_t b = 0; b < batch; ++b) {
    const auto of = [&](const TensorView& t) { return t.slice(0, b, b + 1).slice(1, 0, ends[b]); };
    REQUIRE(attention(q.view().slice(0, b, b + 1), of(k.view()), of(v.view()),
                      want.mutable_view().slice(0, b, b + 1), options, context)
                .ok());
  }
  CHECK(Difference(out.Dense(), want.Dense()) == "");
}

TEST_CASE("attention against a paged cache gives the bits of plain tensors, also after forks") {
  for (Runner& runner : Runners()) {
    for (size_t block_size : {size_t{1}, size_t{5}, size_t{16}, size_t{200}}) {
      INFO("blocks of " << block_size << ", " << runner.name);
      CheckAttention(block_size, {150, 70, 71, 140}, *runner.context);
    }
  }
}

}  // namespace
}  // namespace heed::test
