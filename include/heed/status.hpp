// Errors as values: functions return a Status, or a Result that holds either a value or a Status.
// See heed/c/status.h and heed/heed.h.
#pragma once

#if defined(__cplusplus) && __cplusplus < 201709L && (!defined(_MSVC_LANG) || _MSVC_LANG < 202002L)
#error "heed's headers need C++20: compile with -std=c++20"
#endif

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

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

// heed_error.
class [[nodiscard]] Status {
 public:
  Status() = default;  // kOk

  // `format` and what follows are as for std::printf; the text is cut at kMaxMessage characters.
#if defined(__MINGW32__) && !defined(__clang__)
  __attribute__((format(gnu_printf, 2, 3)))
#elif defined(__GNUC__)
  __attribute__((format(printf, 2, 3)))
#endif
  HEED_API static Status
  Error(StatusCode code, const char* format, ...);

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const char* message() const { return message_; }  // empty when ok

  static constexpr int kMaxMessage = 243;

 private:
  friend class Context;
  // For one that lives as long as the program. `text`: shorter than kMaxMessage.
  constexpr Status(StatusCode code, const char* text) : code_(code) {
    for (size_t i = 0; text[i] != '\0'; ++i) message_[i] = text[i];
  }

  StatusCode code_ = StatusCode::kOk;
  char message_[kMaxMessage + 1] = {};
};

// A value, or the reason why there is none. `value`, `*` and `->` need ok().
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}      // NOLINT: implicit on purpose
  Result(const Status& status) : status_(status) {}  // NOLINT: implicit on purpose; not ok()

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }

  T& value() { return *value_; }
  const T& value() const { return *value_; }
  T& operator*() { return *value_; }
  const T& operator*() const { return *value_; }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  Status status_;
  std::optional<T> value_;
};

}  // namespace heed::inline v1
