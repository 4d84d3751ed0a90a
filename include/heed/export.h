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
