#include "compiler/core/CacheEntry.h"

#include "compiler/core/Bytes.h"
#include "compiler/core/Digest.h"

#include <algorithm>
#include <cerrno>
#include <unistd.h>

namespace moec {

namespace {

constexpr char magic[] = "MOECART\n";
constexpr uint64_t magicBytes = sizeof magic - 1;
constexpr uint32_t version = 1;
constexpr uint64_t prefixBytes = magicBytes + 4 + 4;      // magic, version, key length
constexpr uint64_t suffixBytes = 8 + sizeof(DigestBytes); // value length, checksum
constexpr uint64_t smallestEntry = prefixBytes + suffixBytes;

/// Covers the header as well as the value, so that a flipped bit anywhere is found. Through the
/// value's own digest, as the two do not lie side by side in memory.
DigestBytes checksum(std::span<const uint8_t> header, std::span<const uint8_t> value) {
  ByteWriter both;
  both.raw(header);
  both.raw(digestBytes(value));
  return digestBytes(both.bytes());
}

bool readExactly(int file, uint8_t *into, size_t size) {
  while (size > 0) {
    ssize_t got = ::read(file, into, std::min<size_t>(size, size_t{1} << 30));
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0)
      return false;
    into += got;
    size -= static_cast<size_t>(got);
  }
  return true;
}

Status corrupt(const char *what) { return makeError(Code::CacheCorrupt, "cache entry {}", what); }

} // namespace

std::vector<uint8_t> CacheEntry::header(const std::string &key, std::span<const uint8_t> value) {
  ByteWriter writer;
  writer.raw(std::string(magic));
  writer.u32(version);
  writer.u32(static_cast<uint32_t>(key.size()));
  writer.raw(key);
  writer.u64(value.size());
  writer.raw(checksum(writer.bytes(), value));
  return writer.take();
}

bool CacheEntry::hasMagic(int file) {
  char begin[magicBytes];
  return ::pread(file, begin, magicBytes, 0) == static_cast<ssize_t>(magicBytes) &&
         std::equal(begin, begin + magicBytes, magic);
}

Result<CacheEntry> CacheEntry::read(int file, uint64_t fileBytes) {
  if (fileBytes < smallestEntry)
    return corrupt("is truncated");
  std::vector<uint8_t> header(prefixBytes);
  if (!readExactly(file, header.data(), header.size()))
    return corrupt("cannot be read");
  ByteReader prefix(header);
  if (prefix.text(magicBytes) != magic)
    return corrupt("has a wrong magic");
  if (prefix.u32() != version)
    return corrupt("has another version");
  uint64_t keyBytes = prefix.u32();
  if (keyBytes > maxKeyBytes || keyBytes > fileBytes - smallestEntry)
    return corrupt("is truncated, or its key's length is damaged");

  header.resize(prefixBytes + keyBytes + suffixBytes);
  if (!readExactly(file, header.data() + prefixBytes, header.size() - prefixBytes))
    return corrupt("cannot be read");
  ByteReader rest(std::span<const uint8_t>(header).subspan(prefixBytes));
  CacheEntry entry;
  entry.key = rest.text(keyBytes);
  uint64_t valueBytes = rest.u64();
  std::span<const uint8_t> stored = rest.raw(sizeof(DigestBytes));
  if (valueBytes > maxValueBytes || valueBytes != fileBytes - header.size())
    return corrupt("is truncated, or its value's length is damaged");

  entry.value.resize(valueBytes);
  if (!readExactly(file, entry.value.data(), entry.value.size()))
    return corrupt("cannot be read");
  auto covered = std::span<const uint8_t>(header).first(header.size() - sizeof(DigestBytes));
  DigestBytes computed = checksum(covered, entry.value);
  if (!std::equal(computed.begin(), computed.end(), stored.begin()))
    return corrupt("has a wrong checksum");
  return entry;
}

File &File::operator=(File &&other) noexcept {
  if (this != &other) {
    close();
    descriptor = other.release();
  }
  return *this;
}

int File::release() {
  int was = descriptor;
  descriptor = -1;
  return was;
}

bool File::close() {
  int was = release();
  return was < 0 || ::close(was) == 0;
}

bool File::write(std::span<const uint8_t> bytes) const {
  while (!bytes.empty()) {
    ssize_t done = ::write(descriptor, bytes.data(), std::min<size_t>(bytes.size(), size_t{1} << 30));
    if (done < 0 && errno == EINTR)
      continue;
    if (done <= 0)
      return false;
    bytes = bytes.subspan(static_cast<size_t>(done));
  }
  return true;
}

} // namespace moec
