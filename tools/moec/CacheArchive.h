// A cache's entries in one file, to be carried to another machine (docs/formats.md, "Cache archive").
#pragma once

#include "compiler/core/Status.h"

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace moec::tool {

struct ArchivedEntry {
  std::string kind, key;
  std::vector<uint8_t> value;

  bool operator==(const ArchivedEntry &) const = default;
};

/// Every good entry of a cache folder, by kind and file name; corrupt ones are left out. Error: Failure.
Result<std::vector<ArchivedEntry>> readEntries(const std::filesystem::path &folder);

/// "MOECARC\n", version, number of entries, then per entry the lengths of kind, key and value and the three; at the end
/// the XXH3-128 of all before it.
std::vector<uint8_t> writeArchive(std::span<const ArchivedEntry> entries);

/// Errors: CacheCorrupt (checksum, truncated, wrong magic, a kind that is no folder name), InvalidArgument (another
/// version).
Result<std::vector<ArchivedEntry>> readArchive(std::span<const uint8_t> bytes);

} // namespace moec::tool
