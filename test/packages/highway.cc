// A host that uses Highway itself, of whatever version, and limits it: heed does not notice.
#include <cstdio>
#include <cstring>
#include <heed/heed.hpp>

#include "hwy/targets.h"

int main() {
  const heed::Context before;
  hwy::DisableTargets(~int64_t{HWY_STATIC_TARGET});
  const heed::Context after;
  std::printf("%s %s, the host has Highway's %s\n", before.target(), after.target(),
              hwy::TargetName(hwy::SupportedTargets() & -hwy::SupportedTargets()));
  return std::strcmp(before.target(), after.target()) != 0;
}
