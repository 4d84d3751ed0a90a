#include "heed/status.hpp"

#include <cstdarg>
#include <cstdio>

namespace heed::inline v1 {

Status Status::Error(StatusCode code, const char* format, ...) {
  Status status;
  status.code_ = code;
  va_list args;
  va_start(args, format);
  std::vsnprintf(status.message_, sizeof(status.message_), format, args);
  va_end(args);
  return status;
}

const char* name_of(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return "ok";
    case StatusCode::kInvalidArgument:
      return "invalid argument";
    case StatusCode::kUnsupported:
      return "unsupported";
    case StatusCode::kOutOfMemory:
      return "out of memory";
    case StatusCode::kCapacityExceeded:
      return "capacity exceeded";
    case StatusCode::kMeasured:
      return "measured";
  }
  return "unknown status";
}

}  // namespace heed::inline v1
