#include "compiler/core/CacheStore.h"

#include "compiler/core/CacheFolder.h"
#include "compiler/core/Keys.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <functional>
#include <tuple>
#include <unistd.h>

namespace moec {

namespace {

enum class Found { Good, Absent, Corrupt, Unreadable };

/// One look at a name in a kind's folder.
struct Look {
  Found found = Found::Absent;
  struct stat info{}; // of what was looked at; not set where absent
  CacheEntry entry;   // set where good
  File file;          // open where good
};

/// Reads and checks the entry `name`: its bytes, and that it has the name of its key.
Look lookAt(int folder, const std::string &name) {
  Look look;
  // Non-blocking, or a FIFO in the entry's place would stop us here.
  look.file = File(::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!look.file) {
    if (::fstatat(folder, name.c_str(), &look.info, AT_SYMLINK_NOFOLLOW) != 0)
      look.found = errno == ENOENT ? Found::Absent : Found::Unreadable;
    else // a link or a socket cannot be opened; of a trusted file it is only that we may not, or
         // not now
      look.found = cache::isTrusted(look.info) ? Found::Unreadable : Found::Corrupt;
    return look;
  }
  look.found = Found::Corrupt;
  if (::fstat(look.file.get(), &look.info) != 0 || !cache::isTrusted(look.info))
    return look;
  Result<CacheEntry> entry = CacheEntry::read(look.file.get(), static_cast<uint64_t>(look.info.st_size));
  if (!entry || digest(entry->key) != name)
    return look;
  look.found = Found::Good;
  look.entry = std::move(*entry);
  return look;
}

/// Calls `visit(folder, name)` for every file of every kind that is ours.
using FileVisitor = std::function<void(const std::string &kind, int folder, const std::string &name)>;
Status forEachFile(const std::string &root, const FileVisitor &visit) {
  File top(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!top)
    return cache::systemError("cache folder " + root);
  Result<std::vector<std::string>> kinds = cache::listNames(top.get());
  if (!kinds)
    return kinds.status();
  for (const std::string &kind : *kinds) {
    if (!cache::isKindName(kind))
      continue;
    Result<File> folder = cache::openKind(root, kind, /*make=*/false);
    if (!folder)
      continue; // no folder of ours
    Result<std::vector<std::string>> names = cache::listNames(folder->get());
    if (!names)
      return names.status();
    for (const std::string &name : *names)
      if (cache::isOwn(folder->get(), name))
        visit(kind, folder->get(), name);
  }
  return {};
}

/// Now, by the clock of the cache's file system: a file server's may differ from ours.
Result<timespec> fileSystemNow(const std::string &root) {
  File folder(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const timespec now[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};
  struct stat info{};
  if (!folder || ::futimens(folder.get(), now) != 0 || ::fstat(folder.get(), &info) != 0)
    return cache::systemError("cache folder " + root);
  return info.st_mtim;
}

struct StoredFile {
  std::string kind, name;
  struct stat info{};

  bool usedBefore(const StoredFile &other) const {
    const timespec &used = info.st_mtim, &otherUsed = other.info.st_mtim;
    return std::tie(used.tv_sec, used.tv_nsec, name) < std::tie(otherUsed.tv_sec, otherUsed.tv_nsec, other.name);
  }
};

} // namespace

Result<CacheStore> CacheStore::open(const std::filesystem::path &folder) {
  namespace fs = std::filesystem;
  std::error_code error;
  fs::path path = fs::absolute(folder, error);
  if (folder.empty() || error)
    return makeError(Code::InvalidArgument, "cache folder '{}' is no path", folder.string());
  fs::create_directories(path.parent_path(), error); // mkdir below tells what is wrong
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    return cache::systemError("cannot make cache folder " + path.string());

  struct stat info{};
  if (::stat(path.c_str(), &info) != 0)
    return cache::systemError("cache folder " + path.string());
  if (!S_ISDIR(info.st_mode))
    return makeError(Code::InvalidArgument, "cache folder {} is not a folder", path.string());
  if (info.st_uid != ::geteuid())
    return makeError(Code::InvalidArgument, "cache folder {} belongs to another user", path.string());
  if (!cache::isPrivate(info))
    return makeError(Code::InvalidArgument,
                     "cache folder {} is writable by other users: chmod go-w it, or name another one", path.string());
  fs::path real = fs::canonical(path, error);
  return CacheStore(error ? path : real);
}

CacheStore::CacheStore(CacheStore &&other) noexcept
    : root(std::move(other.root)), hits(other.hits.load()), misses(other.misses.load()), corrupt(other.corrupt.load()),
      writes(other.writes.load()) {}

std::optional<std::vector<uint8_t>> CacheStore::find(const std::string &kind, const std::string &key) {
  std::optional<std::vector<uint8_t>> value = lookUp(kind, key);
  ++(value ? hits : misses);
  return value;
}

std::optional<std::vector<uint8_t>> CacheStore::lookUp(const std::string &kind, const std::string &key) {
  if (!cache::isKindName(kind))
    return std::nullopt;
  Result<File> folder = cache::openKind(root.string(), kind, /*make=*/false);
  if (!folder)
    return std::nullopt;
  std::string name = digest(key);
  Look look = lookAt(folder->get(), name);
  if (look.found == Found::Corrupt) {
    ++corrupt;
    cache::removeIfSame(folder->get(), name, look.info);
  }
  // Another key of the same digest is a good entry, but not ours.
  if (look.found != Found::Good || look.entry.key != key)
    return std::nullopt;
  const timespec now[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};
  (void)::futimens(look.file.get(), now); // fails on a read-only cache, which nobody cleans either
  return std::move(look.entry.value);
}

Status CacheStore::put(const std::string &kind, const std::string &key, std::span<const uint8_t> value) {
  if (!cache::isKindName(kind))
    return makeError(Code::InvalidArgument, "'{}' is no kind of cache entry", kind);
  if (key.size() > CacheEntry::maxKeyBytes || value.size() > CacheEntry::maxValueBytes)
    return makeError(Code::InvalidArgument, "a cache entry with a key of {} bytes and a value of {} bytes is too large",
                     key.size(), value.size());
  Result<File> folder = cache::openKind(root.string(), kind, /*make=*/true);
  if (!folder)
    return folder.status();
  Result<std::string> temporary = cache::writeTemporary(folder->get(), CacheEntry::header(key, value), value);
  if (!temporary)
    return temporary.status();
  Status status = cache::publish(folder->get(), *temporary, digest(key));
  if (status.ok())
    ++writes;
  return status;
}

CacheStore::Stats CacheStore::stats() const { return {hits, misses, corrupt, writes}; }

Result<CacheStore::Usage> CacheStore::verify(bool remove) {
  Usage usage;
  Status status = forEachFile(root.string(), [&](const auto &, int folder, const std::string &name) {
    if (cache::isTemporaryName(name))
      return;
    Look look = lookAt(folder, name);
    if (look.found == Found::Good) {
      ++usage.entries;
      usage.bytes += static_cast<uint64_t>(look.info.st_size);
    } else if (look.found == Found::Corrupt) {
      ++usage.corrupt;
      if (remove)
        cache::removeIfSame(folder, name, look.info);
    }
  });
  if (!status.ok())
    return status;
  return usage;
}

Result<CacheStore::Usage> CacheStore::collect(uint64_t maxBytes) {
  constexpr time_t temporarySeconds = 3600; // no write takes as long: whoever began it is dead
  Result<timespec> now = fileSystemNow(root.string());
  if (!now)
    return now.status();
  std::vector<StoredFile> files;
  Usage usage;
  Status status = forEachFile(root.string(), [&](const auto &kind, int folder, const auto &name) {
    StoredFile file{kind, name, {}};
    if (::fstatat(folder, name.c_str(), &file.info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(file.info.st_mode))
      return;
    if (cache::isTemporaryName(name)) {
      if (file.info.st_mtim.tv_sec + temporarySeconds < now->tv_sec)
        cache::removeIfSame(folder, name, file.info);
      return;
    }
    ++usage.entries;
    usage.bytes += static_cast<uint64_t>(file.info.st_size);
    files.push_back(std::move(file));
  });
  if (!status.ok())
    return status;

  std::sort(files.begin(), files.end(), [](const auto &a, const auto &b) { return a.usedBefore(b); });
  for (const StoredFile &file : files) {
    if (usage.bytes <= maxBytes)
      break;
    Result<File> folder = cache::openKind(root.string(), file.kind, /*make=*/false);
    if (folder)
      cache::removeIfSame(folder->get(), file.name, file.info);
    --usage.entries;
    usage.bytes -= static_cast<uint64_t>(file.info.st_size);
  }
  return usage;
}

} // namespace moec
