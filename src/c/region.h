// What the functions that make a region have in common.
#pragma once

#include <cstring>
#include <type_traits>

#include "src/c/call.h"
#include "src/c/options.h"

namespace heed::inline v1 {

static_assert(sizeof(heed_region) == sizeof(Region) && std::is_trivially_copyable_v<Region>);

inline Status Give(const Result<Region>& made, heed_region* region) {
  if (made.ok()) std::memcpy(region, &*made, sizeof(*region));
  return made.status();
}

// What all functions that make a region begin with.
template <class OptionsOfC, class Options>
Status ReadCall(const OptionsOfC* options, heed_context* context, heed_region* region,
                Options* read) {
  HEED_RETURN_IF_ERROR(CheckPointer("region", region));
  *region = {};
  HEED_RETURN_IF_ERROR(CheckPointer("context", context));
  return Read(options, read);
}

}  // namespace heed::inline v1
