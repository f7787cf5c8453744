#include "runtime/weights/InputFile.h"

#include "runtime/weights/Text.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace moec {
namespace {

// O_NONBLOCK, or opening a FIFO would wait for its writer; it does nothing to a regular file.
constexpr int readFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

/// errno as a Status: NotFound for a missing file, else Failure.
Status systemError(std::string_view what, std::string_view name, int error) {
  Code code = error == ENOENT || error == ENOTDIR ? Code::NotFound : Code::Failure;
  return makeError(code, "{} {}: {}", what, inQuotes(name), std::generic_category().message(error));
}

bool isDigest(std::string_view text) {
  auto isHex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  return (text.size() == 40 || text.size() == 64) && std::all_of(text.begin(), text.end(), isHex);
}

} // namespace

bool isPlainFileName(std::string_view name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\0", 2)) == std::string_view::npos;
}

Descriptor::Descriptor(Descriptor &&other) noexcept : fd(std::exchange(other.fd, -1)) {}

Descriptor &Descriptor::operator=(Descriptor &&other) noexcept {
  std::swap(fd, other.fd);
  return *this;
}

Descriptor::~Descriptor() {
  if (valid())
    ::close(fd);
}

Result<InputFile> InputFile::open(const std::string &path, ReadMode mode) {
  Descriptor descriptor(::open(path.c_str(), readFlags));
  if (!descriptor.valid())
    return systemError("cannot open", path, errno);
  return adopt(std::move(descriptor), path, mode);
}

Result<InputFile> InputFile::adopt(Descriptor descriptor, std::string name, ReadMode mode) {
  struct stat info = {};
  if (::fstat(descriptor.get(), &info) != 0)
    return systemError("cannot stat", name, errno);
  if (!S_ISREG(info.st_mode))
    return makeError(Code::InvalidArgument, "{} is not a regular file", inQuotes(name));

  InputFile file;
  file.fileName = std::move(name);
  file.bytes = static_cast<uint64_t>(info.st_size);
  if (mode == ReadMode::Pread || file.bytes == 0) {
    file.descriptor = std::move(descriptor);
    return file;
  }
  void *mapping = ::mmap(nullptr, file.bytes, PROT_READ, MAP_PRIVATE, descriptor.get(), 0);
  if (mapping == MAP_FAILED)
    return systemError("cannot map", file.fileName, errno);
  file.mapping = static_cast<const std::byte *>(mapping);
  return file;
}

InputFile::InputFile(InputFile &&other) noexcept
    : fileName(std::move(other.fileName)), descriptor(std::move(other.descriptor)),
      mapping(std::exchange(other.mapping, nullptr)), bytes(std::exchange(other.bytes, 0)) {}

InputFile &InputFile::operator=(InputFile &&other) noexcept {
  std::swap(fileName, other.fileName);
  std::swap(descriptor, other.descriptor);
  std::swap(mapping, other.mapping);
  std::swap(bytes, other.bytes);
  return *this;
}

InputFile::~InputFile() {
  if (mapping)
    ::munmap(const_cast<std::byte *>(mapping), bytes);
}

Status InputFile::read(uint64_t offset, std::span<std::byte> to) const {
  if (offset > bytes || to.size() > bytes - offset)
    return makeError(Code::InvalidArgument, "{}: bytes [{}, +{}] lie past its end at {}", inQuotes(fileName), offset,
                     to.size(), bytes);
  if (to.empty())
    return Status();
  if (mapping) {
    std::memcpy(to.data(), mapping + offset, to.size());
    return Status();
  }
  while (!to.empty()) {
    ssize_t count = ::pread(descriptor.get(), to.data(), to.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return systemError("cannot read", fileName, errno);
    if (count == 0)
      return makeError(Code::Failure, "{} became shorter while it was read: it ends at byte {}, not {}",
                       inQuotes(fileName), offset, bytes);
    to = to.subspan(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
  return Status();
}

Result<InputFolder> InputFolder::open(const std::string &path) {
  InputFolder folder;
  folder.folderName = path;
  folder.descriptor = Descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY));
  if (folder.descriptor.valid())
    return folder;
  int error = errno;
  struct stat info = {};
  if (error == ENOTDIR && ::stat(path.c_str(), &info) == 0)
    return makeError(Code::InvalidArgument, "{} is not a folder", inQuotes(path));
  return systemError("cannot open folder", path, error);
}

bool InputFolder::contains(const std::string &file) const {
  struct stat info = {};
  return isPlainFileName(file) && ::fstatat(descriptor.get(), file.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0;
}

Result<InputFile> InputFolder::openFile(const std::string &file, ReadMode mode) const {
  if (!isPlainFileName(file))
    return makeError(Code::InvalidModel, "{}: file name {} is refused: it must name a file in that folder",
                     inQuotes(folderName), inQuotes(file));
  std::string path = folderName + "/" + file;
  Descriptor opened(::openat(descriptor.get(), file.c_str(), readFlags | O_NOFOLLOW));
  if (!opened.valid()) {
    if (errno != ELOOP)
      return systemError("cannot open", path, errno);
    Result<Descriptor> blob = openBlob(file);
    if (!blob)
      return blob.status().withContext("{}", inQuotes(path));
    opened = std::move(*blob);
  }
  Result<InputFile> result = InputFile::adopt(std::move(opened), path, mode);
  // A name in an index that leads to a device or a FIFO is the model's fault, not the caller's.
  if (!result && result.status().code() == Code::InvalidArgument)
    return Status(Code::InvalidModel, result.status().message());
  return result;
}

Result<Descriptor> InputFolder::openBlob(const std::string &file) const {
  constexpr std::string_view hubPrefix = "../../blobs/";
  std::array<char, 128> target = {};
  ssize_t length = ::readlinkat(descriptor.get(), file.c_str(), target.data(), target.size());
  std::string_view text(target.data(), length > 0 ? static_cast<size_t>(length) : 0);
  if (!text.starts_with(hubPrefix) || !isDigest(text.substr(hubPrefix.size())))
    return makeError(Code::InvalidModel, "refused: it is a symbolic link, and not one of the Hugging Face cache's");

  Descriptor blobs(::openat(descriptor.get(), "../../blobs", O_RDONLY | O_CLOEXEC | O_DIRECTORY | O_NOFOLLOW));
  if (!blobs.valid())
    return systemError("cannot open", "../../blobs", errno);
  std::string digest(text.substr(hubPrefix.size()));
  Descriptor blob(::openat(blobs.get(), digest.c_str(), readFlags | O_NOFOLLOW));
  if (!blob.valid())
    return systemError("cannot open", text, errno);
  return blob;
}

} // namespace moec
