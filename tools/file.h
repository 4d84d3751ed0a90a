// Files: mapped for reading, replaced as a whole when written.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "heed/status.hpp"

namespace heed::tools {

// Bytes of a file or buffer that live as long as the last copy of `owner`.
struct Bytes {
  std::shared_ptr<const void> owner;
  const unsigned char* data = nullptr;
  size_t size = 0;
};

// Maps a regular file, so that a large checkpoint costs what is read of it.
Result<Bytes> map_file(const std::string& path);

// A text file of at most `max_bytes`.
Result<std::string> read_text(const std::string& path, size_t max_bytes);

// Whether `path`, which the user gave as `option`, can be written after all of `inputs` were read:
// refused when it is one of them, also through links, when it is there and no regular file, or when
// its directory is missing. To be asked before a long computation.
Status check_output(const std::string& option, const std::string& path,
                    const std::vector<std::string>& inputs);

// Replaces `path` by the pieces joined: they go to a file beside it, which is then renamed, so that
// no reader ever sees half of it and a failure leaves the old one as it was. Only regular files are
// replaced.
Status write_file(const std::string& path, const std::vector<std::string_view>& pieces);

}  // namespace heed::tools
