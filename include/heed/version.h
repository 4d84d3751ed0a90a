// The version of these headers, for #if HEED_VERSION >= 10200, which is 1.2.0 or newer. That of the
// library that a program runs with is heed_version(), in C++ heed::version().
#pragma once

#define HEED_VERSION_MAJOR 0
#define HEED_VERSION_MINOR 1
#define HEED_VERSION_PATCH 0
#define HEED_VERSION (HEED_VERSION_MAJOR * 10000 + HEED_VERSION_MINOR * 100 + HEED_VERSION_PATCH)
