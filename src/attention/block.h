// What the rows of a group see of a block of keys, and what is added to their scores.
#pragma once

#include <cstddef>

#include "src/attention/rows.h"

namespace heed {

// All of `keys` but the keys and values themselves, for a group of rows and the block that begins at
// key `block` * kKeyBlock; false when no row sees any of it.
bool DescribeBlock(const Rows& rows, size_t block, const AttentionWorkspace& w, KeyBlock* keys);

}  // namespace heed
