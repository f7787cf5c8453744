#include "compiler/core/CacheFolder.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <system_error>
#include <unistd.h>

namespace moec::cache {

Status systemError(const std::string &what) {
  return makeError(Code::Failure, "{}: {}", what, std::generic_category().message(errno));
}

bool isPrivate(const struct stat &info) {
  return info.st_uid == ::geteuid() && (info.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

bool isTrusted(const struct stat &info) {
  // No name at all is fine: the file was replaced after we opened it.
  return S_ISREG(info.st_mode) && isPrivate(info) && info.st_nlink <= 1;
}

bool isTemporaryName(const std::string &name) {
  constexpr std::string_view digits = "0123456789", prefix = temporaryPrefix;
  const size_t dash = name.find('-', prefix.size());
  const auto isNumber = [&](size_t first, size_t last) {
    return first < last && name.find_first_not_of(digits, first) >= last;
  };
  return name.starts_with(prefix) && dash != std::string::npos && isNumber(prefix.size(), dash) &&
         isNumber(dash + 1, name.size());
}

bool isOwn(int folder, const std::string &name) {
  constexpr size_t digestDigits = 32;
  if (isTemporaryName(name))
    return true;
  if (name.size() != digestDigits || name.find_first_not_of("0123456789abcdef") != std::string::npos)
    return false;
  const File file(::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  return file && CacheEntry::hasMagic(file.get());
}

bool isKindName(const std::string &kind) {
  return !kind.empty() && kind.size() <= 64 && std::all_of(kind.begin(), kind.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

Result<File> openKind(const std::string &root, const std::string &kind, bool make) {
  constexpr int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  File parent(::open(root.c_str(), flags));
  if (!parent)
    return systemError("cache folder " + root);
  if (make && ::mkdirat(parent.get(), kind.c_str(), 0700) != 0 && errno != EEXIST)
    return systemError("cannot make cache folder " + root + "/" + kind);
  File folder(::openat(parent.get(), kind.c_str(), flags | O_NOFOLLOW));
  struct stat info{};
  if (!folder || ::fstat(folder.get(), &info) != 0)
    return systemError("cache folder " + root + "/" + kind);
  if (!isPrivate(info))
    return makeError(Code::Failure, "cache folder {}/{} belongs to another user or is writable by others", root, kind);
  return folder;
}

Result<std::vector<std::string>> listNames(int folder) {
  // A descriptor of its own: reading moves the position, and closedir closes it.
  int own = ::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *opened = own < 0 ? nullptr : ::fdopendir(own);
  if (!opened) {
    Status status = systemError("cannot list a cache folder");
    if (own >= 0)
      ::close(own);
    return status;
  }
  auto close = [](DIR *directory) { ::closedir(directory); };
  std::unique_ptr<DIR, decltype(close)> directory(opened, close);
  std::vector<std::string> names;
  errno = 0;
  while (const dirent *entry = ::readdir(directory.get())) {
    std::string name = entry->d_name;
    if (name != "." && name != "..")
      names.push_back(std::move(name));
  }
  if (errno != 0)
    return systemError("cannot list a cache folder");
  std::sort(names.begin(), names.end());
  return names;
}

/// An own new file in `folder`, and its name.
static Result<File> makeTemporary(int folder, std::string &name) {
  static std::atomic<uint64_t> counter{0};
  // A dead process with our number may have left such a name; it had few of them.
  for (int attempt = 0; attempt < 1000; ++attempt) {
    name = fmt::format("{}{}-{}", temporaryPrefix, ::getpid(), counter++);
    File file(::openat(folder, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (file)
      return file;
    if (errno != EEXIST)
      break;
  }
  return systemError("cannot make a temporary file in the cache");
}

Result<std::string> writeTemporary(int folder, std::span<const uint8_t> header, std::span<const uint8_t> value) {
  std::string name;
  Result<File> file = makeTemporary(folder, name);
  if (!file)
    return file.status();
  bool written = file->write(header) && file->write(value) && ::fsync(file->get()) == 0;
  if (written && file->close())
    return name;
  Status status = systemError("cannot write to the cache");
  ::unlinkat(folder, name.c_str(), 0);
  return status;
}

Status publish(int folder, const std::string &temporary, const std::string &name) {
  if (::renameat(folder, temporary.c_str(), folder, name.c_str()) != 0) {
    Status status = systemError("cannot publish a cache entry");
    ::unlinkat(folder, temporary.c_str(), 0);
    return status;
  }
  return ::fsync(folder) == 0 ? Status() : systemError("cannot flush a cache folder");
}

void removeIfSame(int folder, const std::string &name, const struct stat &info) {
  struct stat now{};
  if (::fstatat(folder, name.c_str(), &now, AT_SYMLINK_NOFOLLOW) == 0 && now.st_dev == info.st_dev &&
      now.st_ino == info.st_ino)
    ::unlinkat(folder, name.c_str(), 0);
}

} // namespace moec::cache
