// convert() in two steps, for operations that it is a part of.
#pragma once

#include "heed/convert.hpp"
#include "src/base/context.h"

namespace heed::inline v1 {

// What convert() does after its checks.
Status RunConvert(const TensorView& from, const MutableTensorView& to,
                  const Context::Impl& context);

}  // namespace heed::inline v1
