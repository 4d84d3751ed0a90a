// What a task reads or writes soon: rows that lie far apart in memory, where the hardware does not
// look ahead. Kernels ask for them a few cache lines at a time while they multiply.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/attention/rows.h"

namespace heed {

class RowsAhead {
 public:
  explicit RowsAhead(RowAhead* rows) : rows_(rows) {}  // [kMaxRowsAhead]

  void Add(const HeadsView& view, const float* row);
  // Part `part` of `parts` of the keys and values of the block that begins at key `first`.
  void AddKeys(const Rows& rows, size_t first, size_t part, size_t parts);
  void AddQueries(const Rows& group);
  void AddOutputs(const Rows& group);

  // For `keys`: the rows added.
  void Describe(KeyBlock* keys) const;

 private:
  RowAhead* rows_;
  size_t count_ = 0, lines_ = 0;
};

}  // namespace heed
