// Errors as values.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "heed/export.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef int32_t heed_status;
enum {
  HEED_OK = 0,
  HEED_INVALID_ARGUMENT = 1,   // an argument is wrong by itself, or disagrees with another
  HEED_UNSUPPORTED = 2,        // a valid request that this version does not compute
  HEED_OUT_OF_MEMORY = 3,      // memory could not be obtained; nothing has changed
  HEED_CAPACITY_EXCEEDED = 4,  // the tokens do not fit the cache; nothing has changed
  // Not refused: the context measures and runs nothing (heed_context_options::measure).
  HEED_MEASURED = 5,
};

// "ok", "invalid argument", "unsupported", "out of memory", "capacity exceeded",
// "measured"; "unknown status" for another number.
HEED_API const char* heed_status_name(heed_status status);

// What a function writes where its last argument is not null: the status that it returns, and one
// sentence that names the argument, what it was and what it must be; an empty one with HEED_OK. The
// text is in the struct, so that an error needs no memory; what is longer is cut.
typedef struct heed_error {
  heed_status code;
  char message[244];
} heed_error;

#ifdef __cplusplus
}
#endif
