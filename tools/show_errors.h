// heed show --errors: what storing the weights of a layer in fewer bits costs.
#pragma once

#include <string>

#include "tools/command.h"

namespace heed::tools {

// A table on standard output, and where `svg` is not empty a picture there.
int show_errors(const LayerArguments& arguments, const std::string& svg);

}  // namespace heed::tools
