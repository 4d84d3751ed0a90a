// The page that shows results: report.html with results in it.
#pragma once

#include <string>
#include <string_view>

namespace heed::bench {

// `json`: what heed-bench writes of a run, or [{"name": ..., "results": ...}] of several runs that
// are to be compared, in the order of the files. The page needs nothing beside it, and no network.
std::string report_page(std::string_view json);

}  // namespace heed::bench
