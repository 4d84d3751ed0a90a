// Prints the digest, and that of a second version of heed in the same program where there is one (TWO_VERSIONS).
#include <cinttypes>
#include <cstdio>

#include "app.h"

#ifdef TWO_VERSIONS
uint64_t SecondDigest();
#endif

int main() {
  std::printf("%016" PRIx64 "\n", APP_DIGEST());
#ifdef TWO_VERSIONS
  std::printf("%016" PRIx64 "\n", SecondDigest());
#endif
}
