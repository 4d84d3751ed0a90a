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

}  // namespace heed::inline v1
