#pragma once

#include <cstdint>

#ifndef APP_DIGEST
#define APP_DIGEST AppDigest
#endif
#define APP_EXPORT __attribute__((visibility("default")))

APP_EXPORT uint64_t APP_DIGEST();  // 0: something failed
