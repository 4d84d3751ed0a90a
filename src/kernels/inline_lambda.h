// Lambdas that hold on to vectors: a call would send them through memory.
#pragma once

#include "hwy/base.h"

#define HEED_INLINE_LAMBDA HWY_ATTR __attribute__((always_inline))
