// One .safetensors file, open for reading.
#pragma once

#include "runtime/weights/InputFile.h"
#include "runtime/weights/SafetensorsHeader.h"

namespace moec {

/// A file whose header has passed all rules of SafetensorsHeader.h. Immutable, so threads may share it.
class SafetensorsFile {
public:
  /// Checks the header of `file`; no tensor's data is read. Errors: InvalidModel (a rule is broken; the message
  /// names file, tensor and rule), Failure (reading failed).
  static Result<SafetensorsFile> open(InputFile file);
  static Result<SafetensorsFile> open(const std::string &path, ReadMode mode);

  const std::string &name() const { return file.name(); }
  const SafetensorsHeader &header() const { return contents; }
  /// Null if the file has no such tensor. Valid as long as this object, moves included.
  const TensorInfo *find(std::string_view name) const;

  /// A tensor's bytes in the mapping, valid as long as this object; null data with ReadMode::Pread. They are
  /// aligned only as well as the file's writer aligned them.
  std::span<const std::byte> bytes(const TensorInfo &tensor) const;
  /// Copies `to.size()` of a tensor's bytes, from its byte `offset` on. Errors: InvalidArgument (past the tensor's
  /// end), Failure.
  Status read(const TensorInfo &tensor, uint64_t offset, std::span<std::byte> to) const;

private:
  SafetensorsFile(InputFile file, SafetensorsHeader header, uint64_t dataStart)
      : file(std::move(file)), contents(std::move(header)), dataStart(dataStart) {}

  InputFile file;
  SafetensorsHeader contents;
  uint64_t dataStart; // bytes
};

} // namespace moec
