// File system calls of the cache store. All go through folder descriptors and follow no link, so
// that nobody can lead the store elsewhere by swapping a path under it.
#pragma once

#include "compiler/core/CacheEntry.h"

#include <string>
#include <sys/stat.h>
#include <vector>

namespace moec::cache {

/// Begins the names of files that are still being written.
inline constexpr char temporaryPrefix[] = ".tmp-";

/// "<what>: <the system's reason>", with code Failure, from errno.
Status systemError(const std::string &what);

/// Whether a file or folder is ours alone to write: our user's, and not writable by group or
/// others.
bool isPrivate(const struct stat &info);
/// Whether an entry may be read: a private regular file under one name.
bool isTrusted(const struct stat &info);
/// Whether `name` is a temporary of ours: temporaryPrefix, a process, '-', a number.
bool isTemporaryName(const std::string &name);
/// Whether a file of a kind's folder is ours: a temporary, or an entry, which has the digest of a key (32 digits 0-9
/// and a-f) for its name and begins as entries do. Any other is somebody else's, whatever folder a store was pointed
/// at: not counted, and never removed.
bool isOwn(int folder, const std::string &name);
/// Kinds become folder names: 1 to 64 of a-z, 0-9 and '-'.
bool isKindName(const std::string &kind);

/// The folder of a kind, made with mode 0700 if `make`. Fails where it is a link or not private.
Result<File> openKind(const std::string &root, const std::string &kind, bool make);
/// Names in a folder, sorted, without "." and "..".
Result<std::vector<std::string>> listNames(int folder);

/// Writes a new temporary file, flushed to the disk. Error: Failure; no file is left behind.
Result<std::string> writeTemporary(int folder, std::span<const uint8_t> header, std::span<const uint8_t> value);
/// Renames a temporary to `name` and flushes the folder.
Status publish(int folder, const std::string &temporary, const std::string &name);
/// Removes `name` if it still is the file that `info` tells of, so that a replacement made
/// meanwhile stays.
void removeIfSame(int folder, const std::string &name, const struct stat &info);

} // namespace moec::cache
