// Files and folders opened for reading, with the checks that untrusted file names need.
#pragma once

#include "compiler/core/Status.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace moec {

/// How tensors are read. Map maps the file privately: nothing is copied until it is touched, and a file that
/// another process truncates while it is mapped raises SIGBUS here. Pread copies through a file descriptor, and
/// such a file is an error; it also suits file systems where mapping is slow.
enum class ReadMode : uint8_t { Map, Pread };

/// Whether `name` can only mean an entry of the folder it is looked up in: not empty, not "." or "..", without
/// '/' or a NUL byte.
bool isPlainFileName(std::string_view name);

/// Owns a file descriptor.
class Descriptor {
public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd(fd) {}
  Descriptor(Descriptor &&other) noexcept;
  Descriptor &operator=(Descriptor &&other) noexcept;
  ~Descriptor();

  int get() const { return fd; }
  bool valid() const { return fd >= 0; }

private:
  int fd = -1;
};

/// A regular file, open for reading. Thread-safe: reads don't share a position.
class InputFile {
public:
  /// Opens a path that the user gave; symbolic links are followed.
  ///
  /// Errors: NotFound (no such file), InvalidArgument (not a regular file), Failure (the system's reason).
  static Result<InputFile> open(const std::string &path, ReadMode mode);
  /// Takes over an open descriptor; `name` stands for it in errors. Errors as `open`.
  static Result<InputFile> adopt(Descriptor descriptor, std::string name, ReadMode mode);

  InputFile(InputFile &&other) noexcept;
  InputFile &operator=(InputFile &&other) noexcept;
  ~InputFile();

  const std::string &name() const { return fileName; }
  uint64_t size() const { return bytes; }
  /// The mapped bytes, valid as long as this object; empty with ReadMode::Pread (and for an empty file).
  std::span<const std::byte> mapped() const { return {mapping, mapping ? bytes : 0}; }

  /// Copies `to.size()` bytes from `offset`. Errors: InvalidArgument (past the end), Failure (the system's
  /// reason, or the file became shorter).
  Status read(uint64_t offset, std::span<std::byte> to) const;

private:
  InputFile() = default;

  std::string fileName;
  Descriptor descriptor; // closed once the file is mapped
  const std::byte *mapping = nullptr;
  uint64_t bytes = 0;
};

/// A folder whose files are named by text that nobody has vetted.
class InputFolder {
public:
  /// Errors: NotFound, InvalidArgument (not a folder), Failure.
  static Result<InputFolder> open(const std::string &path);

  const std::string &name() const { return folderName; }

  /// Opens a file that lies in this folder itself, in these steps:
  /// 1. `file` is a plain name (isPlainFileName).
  /// 2. It is opened relative to the folder, and a symbolic link is refused, with one exception: the cache of
  ///    Hugging Face's hub stores a snapshot's files as links to `../../blobs/<digest>`. A link with exactly that
  ///    text, the digest being 40 or 64 hexadecimal digits, is taken apart here, and neither `blobs` nor the
  ///    blob may be a link in turn.
  /// 3. It is a regular file. Hard links are allowed: they cannot be told from a copy that saves space.
  ///
  /// Errors: InvalidModel (a step above is broken), NotFound, Failure.
  Result<InputFile> openFile(const std::string &file, ReadMode mode) const;

  /// Whether the folder has an entry of that name, of whatever kind.
  bool contains(const std::string &file) const;

private:
  InputFolder() = default;
  Result<Descriptor> openBlob(const std::string &file) const;

  std::string folderName;
  Descriptor descriptor;
};

} // namespace moec
