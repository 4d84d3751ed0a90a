// What embed.py writes: the page before and after the place of the results.
#pragma once

#include <string_view>
#include <vector>

namespace heed::bench {

extern const std::vector<std::string_view> kPageBeforeResults, kPageAfterResults;

}  // namespace heed::bench
