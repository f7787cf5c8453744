#include "tools/moec/CacheArchive.h"

#include "compiler/core/Bytes.h"
#include "compiler/core/CacheEntry.h"
#include "compiler/core/CacheFolder.h"
#include "compiler/core/Digest.h"
#include "compiler/core/Keys.h"

#include <algorithm>
#include <fcntl.h>
#include <sys/stat.h>

namespace moec::tool {
namespace {

constexpr char magic[] = "MOECARC\n";
constexpr size_t magicBytes = sizeof magic - 1;
constexpr uint32_t version = 1;

/// Appends the good entries of one kind.
Status readKind(const std::filesystem::path &root, const std::string &kind, std::vector<ArchivedEntry> &entries) {
  Result<File> folder = cache::openKind(root, kind, /*make=*/false);
  if (!folder)
    return {}; // a link, or somebody else's: none of the cache's
  Result<std::vector<std::string>> names = cache::listNames(folder->get());
  if (!names)
    return names.status();
  for (const std::string &name : *names) {
    File file(::openat(folder->get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat info{};
    if (!file || ::fstat(file.get(), &info) != 0 || !cache::isTrusted(info))
      continue;
    Result<CacheEntry> entry = CacheEntry::read(file.get(), static_cast<uint64_t>(info.st_size));
    if (entry && digest(entry->key) == name)
      entries.push_back({kind, std::move(entry->key), std::move(entry->value)});
  }
  return {};
}

Status truncated() { return makeError(Code::CacheCorrupt, "the cache archive is truncated or damaged"); }

/// Reads the entries between the header and the checksum.
Result<std::vector<ArchivedEntry>> readBody(ByteReader &reader, uint64_t numEntries) {
  std::vector<ArchivedEntry> entries;
  for (uint64_t index = 0; index < numEntries; ++index) {
    const uint64_t kindBytes = reader.u32(), keyBytes = reader.u64(), valueBytes = reader.u64();
    ArchivedEntry entry{reader.text(kindBytes), reader.text(keyBytes), {}};
    const std::span<const uint8_t> value = reader.raw(valueBytes);
    if (!reader.ok())
      return truncated();
    if (!cache::isKindName(entry.kind))
      return makeError(Code::CacheCorrupt, "entry {} of the cache archive has a kind that is no folder name", index);
    entry.value.assign(value.begin(), value.end());
    entries.push_back(std::move(entry));
  }
  return reader.remaining() == 0 ? Result<std::vector<ArchivedEntry>>(std::move(entries)) : truncated();
}

} // namespace

Result<std::vector<ArchivedEntry>> readEntries(const std::filesystem::path &folder) {
  File top(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!top)
    return cache::systemError(folder.string());
  Result<std::vector<std::string>> kinds = cache::listNames(top.get());
  if (!kinds)
    return kinds.status();
  std::vector<ArchivedEntry> entries;
  for (const std::string &kind : *kinds)
    if (cache::isKindName(kind))
      if (Status status = readKind(folder, kind, entries); !status.ok())
        return status;
  return entries;
}

std::vector<uint8_t> writeArchive(std::span<const ArchivedEntry> entries) {
  ByteWriter writer;
  writer.raw(std::string(magic));
  writer.u32(version);
  writer.u64(entries.size());
  for (const ArchivedEntry &entry : entries) {
    writer.u32(static_cast<uint32_t>(entry.kind.size()));
    writer.u64(entry.key.size());
    writer.u64(entry.value.size());
    writer.raw(entry.kind);
    writer.raw(entry.key);
    writer.raw(entry.value);
  }
  writer.raw(digestBytes(writer.bytes()));
  return writer.take();
}

Result<std::vector<ArchivedEntry>> readArchive(std::span<const uint8_t> bytes) {
  constexpr size_t least = magicBytes + 4 + 8 + sizeof(DigestBytes);
  if (bytes.size() < magicBytes || asText(bytes.first(magicBytes)) != magic)
    return makeError(Code::CacheCorrupt, "not a cache archive: wrong magic");
  if (bytes.size() < least)
    return truncated();
  ByteReader reader(bytes.first(bytes.size() - sizeof(DigestBytes)));
  (void)reader.raw(magicBytes);
  if (uint32_t found = reader.u32(); found != version)
    return makeError(Code::InvalidArgument, "cache archive version {} is not supported, only {}", found, version);
  const DigestBytes sum = digestBytes(bytes.first(bytes.size() - sizeof(DigestBytes)));
  if (!std::equal(sum.begin(), sum.end(), bytes.end() - sizeof(DigestBytes)))
    return truncated();
  const uint64_t numEntries = reader.u64();
  return readBody(reader, numEntries);
}

} // namespace moec::tool
