#include "tools/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>

namespace heed::tools {
namespace {

Status file_error(const std::string& path, const char* doing, const char* why) {
  return Status::Error(StatusCode::kInvalidArgument, "%s: cannot %s: %s", path.c_str(), doing, why);
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

namespace fs = std::filesystem;

// The file that `path` leads to: a link stays one when its file is replaced.
Result<std::string> find_target(const std::string& path) {
  std::error_code error;
  std::string target = path;
  if (fs::is_symlink(path, error)) {
    target = fs::weakly_canonical(path, error).string();
    if (error) return file_error(path, "write", error.message().c_str());
  }
  const fs::file_type kind = fs::status(target, error).type();
  if (kind != fs::file_type::not_found && kind != fs::file_type::regular) {
    return file_error(path, "write", error ? error.message().c_str() : "it is not a regular file");
  }
  return target;
}

// A new file beside `target`. Some may be left over from programs that were killed.
std::FILE* open_beside(const std::string& target, std::string* name) {
  constexpr int kTries = 100;
  for (int i = 0; i < kTries; ++i) {
    *name = target + ".part" + std::to_string(::getpid()) + "-" + std::to_string(i);
    std::FILE* file = std::fopen(name->c_str(), "wbx");
    if (file != nullptr || errno != EEXIST) return file;
  }
  return nullptr;
}

bool write_all(std::FILE* file, const std::vector<std::string_view>& pieces) {
  for (const std::string_view piece : pieces) {
    if (std::fwrite(piece.data(), 1, piece.size(), file) != piece.size()) return false;
  }
  return true;
}

}  // namespace

Result<Bytes> map_file(const std::string& path) {
  // O_NONBLOCK: opening a pipe must not wait for its writer before it is refused.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) return file_error(path, "open", std::strerror(errno));
  struct stat info = {};
  if (::fstat(file.get(), &info) != 0) return file_error(path, "open", std::strerror(errno));
  if (!S_ISREG(info.st_mode)) return file_error(path, "read", "it is not a regular file");
  Bytes bytes;
  bytes.size = static_cast<size_t>(info.st_size);
  if (bytes.size == 0) return bytes;
  void* address = ::mmap(nullptr, bytes.size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (address == MAP_FAILED) return file_error(path, "map", std::strerror(errno));
  const size_t size = bytes.size;
  bytes.owner = std::shared_ptr<const void>(
      address, [size](const void* mapped) { ::munmap(const_cast<void*>(mapped), size); });
  bytes.data = static_cast<const unsigned char*>(address);
  return bytes;
}

Result<std::string> read_text(const std::string& path, size_t max_bytes) {
  const Result<Bytes> bytes = map_file(path);
  if (!bytes.ok()) return bytes.status();
  if (bytes->size > max_bytes)
    return file_error(path, "read", "it is too large for what it should be");
  if (bytes->size == 0) return std::string();
  return std::string(reinterpret_cast<const char*>(bytes->data), bytes->size);
}

Status check_output(const std::string& option, const std::string& path,
                    const std::vector<std::string>& inputs) {
  std::error_code error;
  for (const std::string& input : inputs) {
    if (!fs::equivalent(path, input, error) || error) continue;
    return Status::Error(StatusCode::kInvalidArgument,
                         "%s: %s is read too, as %s, and must be another file", option.c_str(),
                         path.c_str(), input.c_str());
  }
  const Result<std::string> target = find_target(path);
  if (!target.ok()) return target.status();
  const fs::path directory = fs::path(*target).parent_path();
  if (directory.empty() || fs::is_directory(directory, error)) return Status();
  return file_error(path, "write", "there is no such directory");
}

Status write_file(const std::string& path, const std::vector<std::string_view>& pieces) {
  const Result<std::string> found = find_target(path);
  if (!found.ok()) return found.status();
  const std::string& target = *found;
  std::string temporary;
  std::FILE* file = open_beside(target, &temporary);
  if (file == nullptr) return file_error(path, "write", std::strerror(errno));
  errno = 0;
  const bool written = write_all(file, pieces);
  const bool closed = std::fclose(file) == 0;
  if (written && closed && std::rename(temporary.c_str(), target.c_str()) == 0) return Status();
  const Status failure = file_error(path, "write", std::strerror(errno));
  std::remove(temporary.c_str());
  return failure;
}

}  // namespace heed::tools
