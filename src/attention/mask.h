// Which keys a query sees: every rule and mask of AttentionOptions is decided here.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "src/attention/plan.h"
#include "src/attention/rows.h"
#include "src/base/arena.h"
#include "src/kernels/attention.h"

namespace heed::inline v1 {

struct KeyRange {
  size_t begin = 0, end = 0;

  bool empty() const { return begin >= end; }
  KeyRange Within(size_t first, size_t last) const {
    const size_t from = std::clamp(begin, first, last);
    return {from, std::clamp(end, from, last)};
  }
  void Include(const KeyRange& other) {
    if (other.empty()) return;
    *this = empty() ? other : KeyRange{std::min(begin, other.begin), std::max(end, other.end)};
  }
};

// What the rules (causal, window, sink tokens, prefix, lengths) let one query see: kept keys at the
// start, and those near its own position. Masks may hide some of them.
struct VisibleKeys {
  KeyRange kept, near;
};
inline VisibleKeys RuleKeys(const AttentionPlan& plan, const Sequence& sequence, size_t i) {
  const AttentionOptions& o = plan.options;
  if (!o.causal) return {{}, {0, sequence.kv_len}};
  const auto clamped = [&](ptrdiff_t key) {
    return key <= 0 ? size_t{0} : std::min(static_cast<size_t>(key), sequence.kv_len);
  };
  const ptrdiff_t position = sequence.position + static_cast<ptrdiff_t>(i);
  VisibleKeys keys;
  keys.near.end = clamped(position + 1);
  if (o.window > 0) {  // and below q_len + kv_len
    keys.near.begin = clamped(position + 1 - static_cast<ptrdiff_t>(o.window));
    keys.kept.end = std::min(o.sink_tokens, keys.near.end);
  }
  keys.kept.end = std::max(keys.kept.end, std::min(sequence.prefix_len, sequence.kv_len));
  if (keys.kept.end < keys.near.begin) return keys;
  return {{}, {0, std::max(keys.kept.end, keys.near.end)}};
}

// What the rules let a group of rows see.
struct GroupKeys {
  VisibleKeys some;  // holds what at least one row sees
  KeyRange all;      // every row sees these

  bool Sees(size_t first, size_t last) const {
    return !some.kept.Within(first, last).empty() || !some.near.Within(first, last).empty();
  }
};

// visit(r, RuleKeys of row r) for all rows: heads of a query see the same.
template <class Visit>
void ForEachRowKeys(const Rows& rows, const Visit& visit) {
  VisibleKeys keys;
  size_t query = SIZE_MAX;
  rows.ForEach([&](size_t r, size_t i, size_t) {
    if (i != query) keys = RuleKeys(rows.plan, rows.sequence, i);
    query = i;
    visit(r, keys);
  });
}

// Rules let a later query see as far as an earlier one or further, and begin no earlier. So the
// first row and the last tell of all. `rows` are at least one.
inline GroupKeys KeysOfGroup(const Rows& rows) {
  const VisibleKeys first = RuleKeys(rows.plan, rows.sequence, rows.query(0));
  const VisibleKeys last = RuleKeys(rows.plan, rows.sequence, rows.query(rows.count - 1));
  GroupKeys keys = {first, {last.near.begin, first.near.end}};
  keys.some.kept.Include(last.kept);
  keys.some.near.Include(last.near);
  return keys;
}

// Whether rows may see keys on both sides of one that they do not see.
bool MayHaveHoles(const AttentionPlan& plan);

// Which blocks of keys no row of a group sees. Heads that share a mask tensor tell one another, so
// that each reads what it hides once: a mask is larger than the keys.
class HiddenBlocks {
 public:
  HiddenBlocks() = default;
  HiddenBlocks(const AttentionPlan& plan, Arena* arena);

  bool present() const { return flags_ != nullptr; }
  // Before anything is asked: none is hidden.
  void Clear(const AttentionPlan& plan) const;

  bool Has(const Rows& group, size_t block) const {
    return flags_ != nullptr && At(group, block).load(std::memory_order_relaxed) != 0;
  }
  void Add(const Rows& group, size_t block) const {
    if (flags_ != nullptr) At(group, block).store(1, std::memory_order_relaxed);
  }

 private:
  std::atomic<uint8_t>& At(const Rows& group, size_t block) const {
    return flags_[(group.batch * groups_ + group.first / kScoreRows) * blocks_ + block];
  }

  std::atomic<uint8_t>* flags_ = nullptr;  // [batch][groups_][blocks_]
  size_t groups_ = 0, blocks_ = 0;
};

// A group of rows and a block of keys: [kScoreRows], or [kScoreRows][kKeyBlock] and null unless
// needed.
struct BlockScratch {
  uint8_t *begin, *end;
  uint64_t* visible;   // [kScoreRows][kVisibleWords], null unless there may be holes
  const float** bias;  // [kScoreRows], into an additive mask or bias_room
  float *bias_room, *multipliers, *distance;
  HiddenBlocks hidden;  // of the call

  BlockScratch(const AttentionPlan& plan, Arena* arena);
};

// What the rows of a group see of the block that begins at key `block` * kKeyBlock, and what is
// added to their scores: all of `keys` but the keys and values themselves. False when no row sees
// any of it. `of_group`: KeysOfGroup.
bool DescribeBlock(const Rows& rows, const AttentionKernels& kernels, size_t block,
                   const GroupKeys& of_group, const BlockScratch& scratch, KeyBlock* keys);

}  // namespace heed::inline v1
