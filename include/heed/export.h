/* HEED_API marks what the shared library exports. The static one exports nothing: a host's own
   shared library that links it keeps heed to itself. On Windows a program that uses heed's DLL
   defines HEED_SHARED (the packages do). */
#pragma once

#if defined(HEED_BUILDING_SHARED) && defined(_WIN32)
#define HEED_API __declspec(dllexport)
#elif defined(HEED_BUILDING_SHARED)
#define HEED_API __attribute__((visibility("default")))
#elif defined(HEED_SHARED) && defined(_WIN32)
#define HEED_API __declspec(dllimport)
#else
#define HEED_API
#endif

/* What C++ headers define inline is compiled by the host, also into its own shared libraries. They
   don't export it, or of two such libraries one would call the other's heed. */
#if defined(__GNUC__) && !defined(_WIN32)
#define HEED_INLINE __attribute__((visibility("hidden")))
#else
#define HEED_INLINE
#endif

#ifdef HEED_SYMBOL_PREFIX
#include "heed/c/names.h"
#endif
