// A picture of what storing weights in fewer bits changes.
#pragma once

#include <string>
#include <vector>

#include "tools/weight_errors.h"

namespace heed::tools {

// A self-contained SVG, narrow enough for a phone: for each projection and type a dot at the RMS
// error and a tick at the largest one, on a logarithmic scale, and the bytes as a share of f32's.
std::string error_chart_svg(const std::vector<StorageError>& errors, const std::string& title);

}  // namespace heed::tools
