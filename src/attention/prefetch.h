// Who prefetches what while a segment of the keys is attended.
#pragma once

#include <cstddef>

#include "src/attention/rows.h"
#include "src/attention/workspace.h"
#include "src/kernels/prefetch.h"

namespace heed::inline v1 {

// What the groups of rows of a task prefetch during one block of keys.
class GroupPrefetch {
 public:
  // `block` ends at key `end` at the latest.
  GroupPrefetch(const Rows& rows, const AttentionWorkspace& w, size_t block, size_t end);

  // For group g, in ascending order of those that see some of the block. `writes`: its outputs are
  // written after this block. `as_stored`: it reads the block as a cache holds it.
  void Next(size_t g, bool writes, bool as_stored, BlockPrefetch* prefetch);

 private:
  const Rows& rows_;
  const AttentionWorkspace& w_;
  size_t block_;
  size_t part_ = 0, parts_ = 1;  // of the rows of the next block
};

}  // namespace heed::inline v1
