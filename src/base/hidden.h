#pragma once

// A nested class has the visibility of the class around it. This keeps one that is heed's own out
// of what the shared library exports.
#if defined(_WIN32)
#define HEED_HIDDEN
#else
#define HEED_HIDDEN __attribute__((visibility("hidden")))
#endif
