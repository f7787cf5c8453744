// The bytes of one cache entry: its key text, its value and the checksum of both (docs/formats.md).
#pragma once

#include "compiler/core/Status.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace moec {

struct CacheEntry {
  // Far beyond any key or artefact of ours: what claims more is damaged, and nothing is allocated
  // for it.
  static constexpr uint64_t maxKeyBytes = uint64_t{16} << 20;
  static constexpr uint64_t maxValueBytes = uint64_t{2} << 30;

  std::string key;
  std::vector<uint8_t> value;

  /// All that stands before the value in the file.
  static std::vector<uint8_t> header(const std::string &key, std::span<const uint8_t> value);
  /// Whether a file begins as an entry does, whole or damaged.
  static bool hasMagic(int file);
  /// Reads the whole file behind a descriptor of `fileBytes` bytes. Error: CacheCorrupt, saying
  /// what is wrong.
  static Result<CacheEntry> read(int file, uint64_t fileBytes);
};

/// A file descriptor that closes itself. Movable.
class File {
public:
  explicit File(int descriptor = -1) : descriptor(descriptor) {}
  File(File &&other) noexcept : descriptor(other.release()) {}
  File &operator=(File &&other) noexcept;
  ~File() { close(); }

  explicit operator bool() const { return descriptor >= 0; }
  int get() const { return descriptor; }
  int release();
  /// Closes and tells whether that worked: a write error of a network file system shows only here.
  bool close();
  bool write(std::span<const uint8_t> bytes) const;

private:
  int descriptor;
};

} // namespace moec
