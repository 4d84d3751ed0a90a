// Errors as values: functions return a Status, or a Result that holds either a value or a Status.
// See heed/c/status.h and heed/heed.h.
#pragma once

#if defined(__cplusplus) && __cplusplus < 201709L && (!defined(_MSVC_LANG) || _MSVC_LANG < 202002L)
#error "heed's headers need C++20: compile with -std=c++20"
#endif

#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>

#include "heed/export.h"

namespace heed::inline v1 {

// heed_status.
enum class StatusCode : int32_t {
  kOk = 0,
  kInvalidArgument = 1,
  kUnsupported = 2,
  kOutOfMemory = 3,
  kCapacityExceeded = 4,
  kMeasured = 5,
};
HEED_API const char* name_of(StatusCode code);  // heed_status_name

// heed_error.
class [[nodiscard]] Status {
 public:
  HEED_INLINE Status() { message_[0] = '\0'; }  // kOk

  // `format` and what follows are as for std::printf; the text is cut at kMaxMessage characters.
#if defined(__MINGW32__) && !defined(__clang__)
  __attribute__((format(gnu_printf, 2, 3)))
#elif defined(__GNUC__)
  __attribute__((format(printf, 2, 3)))
#endif
  HEED_API static Status
  Error(StatusCode code, const char* format, ...);

  HEED_INLINE bool ok() const { return code_ == StatusCode::kOk; }
  HEED_INLINE StatusCode code() const { return code_; }
  HEED_INLINE const char* message() const { return message_; }  // empty when ok

  static constexpr int kMaxMessage = 243;

 private:
  friend class Context;
  // For one that lives as long as the program. `text`: shorter than kMaxMessage.
  HEED_INLINE constexpr Status(StatusCode code, const char* text) : code_(code), message_{} {
    for (size_t i = 0; text[i] != '\0'; ++i) message_[i] = text[i];
  }

  StatusCode code_ = StatusCode::kOk;
  char message_[kMaxMessage + 1];  // set up to its end alone: a Status is made for every check
};

// A value, or the reason why there is none. `value`, `*` and `->` need ok().
template <class T>
class [[nodiscard]] Result {
 public:
  // Implicit on purpose, both.
  HEED_INLINE Result(T value) : value_(static_cast<T&&>(value)), ok_(true) {}  // NOLINT
  HEED_INLINE Result(const Status& status) : status_(status) {}                // NOLINT: not ok()

  HEED_INLINE Result(Result&& other) noexcept { take(other); }
  HEED_INLINE Result& operator=(Result&& other) noexcept {
    if (this != &other) take(other);
    return *this;
  }
  HEED_INLINE Result(const Result& other) requires std::is_copy_constructible_v<T> { copy(other); }
  HEED_INLINE Result& operator=(const Result& other) requires std::is_copy_constructible_v<T> {
    if (this != &other) copy(other);
    return *this;
  }
  HEED_INLINE ~Result() { clear(); }

  HEED_INLINE bool ok() const { return ok_; }
  HEED_INLINE const Status& status() const { return status_; }

  HEED_INLINE T& value() { return value_; }
  HEED_INLINE const T& value() const { return value_; }
  HEED_INLINE T& operator*() { return value_; }
  HEED_INLINE const T& operator*() const { return value_; }
  HEED_INLINE T* operator->() { return &value_; }
  HEED_INLINE const T* operator->() const { return &value_; }

 private:
  HEED_INLINE void take(Result& other) {
    clear();
    status_ = other.status_;
    ok_ = other.ok_;
    if (ok_) ::new (static_cast<void*>(&value_)) T(static_cast<T&&>(other.value_));
  }
  HEED_INLINE void copy(const Result& other) {
    clear();
    status_ = other.status_;
    ok_ = other.ok_;
    if (ok_) ::new (static_cast<void*>(&value_)) T(other.value_);
  }
  HEED_INLINE void clear() {
    if (ok_) value_.~T();
  }

  Status status_;
  // Not std::optional and std::move, whose instances the host would export.
  union {
    T value_;
  };
  bool ok_ = false;
};

}  // namespace heed::inline v1
