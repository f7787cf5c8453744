// One file per artefact in the cache folder; atomic, checksummed, self-healing.
#pragma once

#include "compiler/core/Status.h"

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace moec {

/// The cache folder. Entries are written to a temporary file in the same folder, fsynced and renamed; whoever loses a
/// race uses the winner's. A corrupt entry is counted, removed and reported as a miss.
///
/// Thread-safe, and safe between processes.
class CacheStore {
public:
  struct Stats {
    uint64_t hits = 0, misses = 0, corrupt = 0, writes = 0;
  };
  struct Usage {
    uint64_t entries = 0, bytes = 0, corrupt = 0;
  };

  /// Opens (and makes, mode 0700) `folder`. Errors: InvalidArgument (not a folder, owned by another user, writable by
  /// group or others), Failure (cannot be made).
  static Result<CacheStore> open(const std::filesystem::path &folder);
  CacheStore(CacheStore &&other) noexcept;

  /// The entry whose key text is exactly `key`, or nothing. Never fails: what cannot be read is a miss, and so is what
  /// cannot be trusted (a link, no regular file, another owner, writable by others). A hit marks the entry as used.
  std::optional<std::vector<uint8_t>> find(const std::string &kind, const std::string &key);
  /// Publishes an entry; an existing one of the same key is replaced. `kind` is a file name of a-z, 0-9 and '-'.
  /// Errors: InvalidArgument (kind; key above 16 MiB, value above 2 GiB), Failure (the system's reason; nothing is
  /// published then).
  Status put(const std::string &kind, const std::string &key, std::span<const uint8_t> value);

  Stats stats() const;
  /// Reads every entry and checks it; `remove` deletes the corrupt ones. Counts good entries and their files' bytes,
  /// and the corrupt ones. Error: Failure (the folder cannot be read).
  Result<Usage> verify(bool remove);
  /// Removes the least recently used entries until at most `maxBytes` are left, and temporaries older than an hour.
  /// Counts what is left, unread. Error: Failure (the folder cannot be read or written).
  Result<Usage> collect(uint64_t maxBytes);

  const std::filesystem::path &folder() const { return root; }

private:
  explicit CacheStore(std::filesystem::path folder) : root(std::move(folder)) {}
  std::optional<std::vector<uint8_t>> lookUp(const std::string &kind, const std::string &key);

  std::filesystem::path root;
  std::atomic<uint64_t> hits{0}, misses{0}, corrupt{0}, writes{0};
};

} // namespace moec
