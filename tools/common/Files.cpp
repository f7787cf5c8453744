#include "tools/common/Files.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <unistd.h>

namespace moec::tool {
namespace {

namespace fs = std::filesystem;

struct CloseFile {
  void operator()(FILE *file) const { std::fclose(file); }
};
using OpenFile = std::unique_ptr<FILE, CloseFile>;

Status systemFailure(const std::string &what) { return makeError(Code::Failure, "{}: {}", what, std::strerror(errno)); }

/// Writes and closes: some file systems tell of a full disk only then.
Status writeTo(const std::string &path, std::string_view bytes) {
  OpenFile file(std::fopen(path.c_str(), "wb"));
  if (!file || std::fwrite(bytes.data(), 1, bytes.size(), file.get()) != bytes.size())
    return systemFailure(path);
  return std::fclose(file.release()) == 0 ? Status() : systemFailure(path);
}

} // namespace

Result<std::string> readWholeFile(const std::string &path) {
  std::error_code error;
  if (fs::is_directory(path, error))
    return makeError(Code::InvalidArgument, "{} is a folder, not a file", path);
  OpenFile file(std::fopen(path.c_str(), "rb"));
  if (!file)
    return makeError(errno == ENOENT ? Code::NotFound : Code::Failure, "{}: {}", path, std::strerror(errno));
  std::string text;
  char part[1 << 16];
  while (size_t size = std::fread(part, 1, sizeof part, file.get()))
    text.append(part, size);
  if (std::ferror(file.get()))
    return systemFailure(path);
  return text;
}

Status printResult(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    return systemFailure("stdout");
  return {};
}

int finishStdout(const char *tool, int code) {
  const bool failedBefore = std::ferror(stdout) != 0;
  if (std::fflush(stdout) == 0 && !failedBefore)
    return code;
  fmt::print(stderr, "{}: {}\n", tool,
             failedBefore ? "stdout: not all of the result could be written" : systemFailure("stdout").message());
  return code == 0 ? exitCode(Code::Failure) : code;
}

Status writeOutput(const std::string &path, std::string_view bytes) {
  if (path == "-")
    return printResult(bytes);
  std::error_code error;
  if (fs::exists(path, error) && !fs::is_regular_file(path, error)) // a pipe or device is written to as it is
    return writeTo(path, bytes);
  const std::string temporary = path + ".tmp-" + std::to_string(getpid());
  Status status = writeTo(temporary, bytes);
  if (status.ok() && std::rename(temporary.c_str(), path.c_str()) != 0)
    status = systemFailure(path);
  if (!status.ok())
    std::remove(temporary.c_str());
  return status;
}

Status writeOutput(const std::string &path, std::span<const uint8_t> bytes) {
  return writeOutput(path, std::string_view(reinterpret_cast<const char *>(bytes.data()), bytes.size()));
}

} // namespace moec::tool
