// RoPE as Hugging Face configurations ask for it.
#pragma once

#include <cstddef>

#include "heed/rope.hpp"
#include "tools/checkpoint/config_reader.h"
#include "tools/checkpoint/model_family.h"

namespace heed::tools {

// From rope_theta, partial_rotary_factor, rope_scaling or the newer rope_parameters: types default,
// linear, llama3 and yarn. Whatever else is asked for is refused by name. `slides`: the layer has a
// window, which in Gemma 3 means other frequencies.
RopeOptions read_rope(const Family& family, size_t head_dim, bool slides, ConfigReader* reader);

}  // namespace heed::tools
