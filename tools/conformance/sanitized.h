// HEED_TEST_SANITIZED: 1 where a sanitizer watches memory, else 0.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define HEED_TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(undefined_behavior_sanitizer)
#define HEED_TEST_SANITIZED 1
#endif
#endif
#ifndef HEED_TEST_SANITIZED
#define HEED_TEST_SANITIZED 0
#endif
