// The rows that a task works on.
#pragma once

#include <algorithm>
#include <cstddef>

#include "src/attention/operands.h"
#include "src/attention/plan.h"
#include "src/kernels/attention.h"

namespace heed::inline v1 {

// Some queries of one sequence and kv head: rows [first, first + count), see AttentionPlan.
struct Rows {
  const AttentionPlan& plan;
  Sequence sequence;
  size_t batch, kv_head, first, count;

  Rows(const AttentionPlan& p, size_t b, size_t kv, size_t row_block)
      : plan(p), sequence(p.sequence(b)), batch(b), kv_head(kv), first(row_block * p.row_block) {
    const size_t all = sequence.q_len * p.group;
    count = first < all ? std::min(p.row_block, all - first) : 0;
  }

  // Its rows from `from` on, as many as kernels take at a time.
  Rows Group(size_t from) const {
    Rows group = *this;
    group.first += from;
    group.count = std::min(kScoreRows, count - from);
    return group;
  }

  // Calls visit(r, query(r), head(r)) for all rows, without the divisions.
  template <class Visit>
  void ForEach(const Visit& visit) const {
    size_t i = first / plan.group, in_group = first % plan.group;
    for (size_t r = 0; r < count; ++r) {
      visit(r, i, kv_head * plan.group + in_group);
      if (++in_group < plan.group) continue;
      in_group = 0;
      ++i;
    }
  }

  // Its first row among all of the call, [batch, kv head, row].
  size_t first_of_all() const {
    return (batch * plan.k.heads + kv_head) * plan.q_len * plan.group + first;
  }

  size_t query(size_t r) const { return (first + r) / plan.group; }
  size_t head(size_t r) const { return kv_head * plan.group + (first + r) % plan.group; }
  ptrdiff_t position(size_t r) const { return position_of(query(r)); }
  ptrdiff_t position_of(size_t query) const {
    return sequence.position + static_cast<ptrdiff_t>(query);
  }
  KeyHead keys() const {
    // Tensors that hold a part of the keys end where the part does.
    const size_t end =
        plan.part() ? std::min(sequence.kv_len, plan.first_key + plan.k.len) : sequence.kv_len;
    return {batch, kv_head, sequence.kv_begin, end, sequence.blocks};
  }
};

// The rows of a task that counts sequences and kv heads inside, row blocks outside from the last:
// with a causal mask those see most keys, and long tasks should begin first.
inline Rows RowsOfTask(const AttentionPlan& plan, size_t task) {
  const size_t heads = plan.batch * plan.k.heads;
  const size_t head = task % heads;
  return Rows(plan, head / plan.k.heads, head % plan.k.heads, plan.row_blocks - 1 - task / heads);
}

}  // namespace heed::inline v1
