// What heed-bits and heed-test --bits do.
#pragma once

#include <string>
#include <vector>

namespace heed::bits {

// Prints digests and, at the end, `N passed, N failed, 0 skipped`. The result is the exit code: 0 when
// all digests are those on record, 1 when not, 2 when the arguments are wrong.
int RunCommand(const std::vector<std::string>& arguments);

}  // namespace heed::bits
