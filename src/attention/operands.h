// Where a task finds the keys and values of a block, as panels.
#pragma once

#include <cstddef>

#include "src/attention/rows.h"

namespace heed {

// Panels of a block of keys, in the cache that is read or else copied to the workspace.
Panels KeysOf(const Rows& rows, size_t block, const AttentionWorkspace& w);
Panels ValuesOf(const Rows& rows, size_t block, const AttentionWorkspace& w);

}  // namespace heed
