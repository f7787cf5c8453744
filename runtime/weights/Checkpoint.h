// A checkpoint: one .safetensors file, or a folder with one or with shards and their index.
#pragma once

#include "runtime/weights/Safetensors.h"
#include "runtime/weights/ShardIndex.h"

#include <memory>
#include <optional>

namespace moec {

struct CheckpointOptions {
  ReadMode mode = ReadMode::Map;
};

/// One tensor of an open checkpoint. Valid as long as the checkpoint.
struct TensorSpan {
  TensorType type;
  std::span<const int64_t> shape;
  uint64_t byteSize;
  std::span<const std::byte> bytes; // in the mapping; null data with ReadMode::Pread
  const SafetensorsFile *file;
  const TensorInfo *info;

  /// Copies `to.size()` bytes from the tensor's byte `offset` on, in either mode. Thread-safe. Errors:
  /// InvalidArgument (past the end), Failure (reading failed).
  Status read(uint64_t offset, std::span<std::byte> to) const { return file->read(*info, offset, to); }
};

/// Immutable once open, so threads may share it.
class Checkpoint {
public:
  /// Opens `path`: a file, or a folder that has `model.safetensors` (taken first, as transformers does) or
  /// `model.safetensors.index.json`. All headers are checked; no tensor's data is read. Shards are opened
  /// as InputFolder::openFile says.
  ///
  /// Errors: NotFound (no such path, or no checkpoint in that folder), InvalidModel (a rule of
  /// SafetensorsHeader.h or ShardIndex.h is broken, or a shard is missing), InvalidArgument (not a file or a
  /// folder), Failure (the system's reason).
  static Result<Checkpoint> open(const std::string &path, CheckpointOptions options = {});

  const std::string &path() const { return location; }
  size_t numTensors() const { return tensors.size(); }
  /// All names, sorted.
  std::vector<std::string_view> names() const;
  std::optional<TensorSpan> find(std::string_view name) const;

private:
  struct Place {
    const SafetensorsFile *file;
    const TensorInfo *info;
  };

  Checkpoint() = default;
  static Result<Checkpoint> openFolder(const std::string &path, CheckpointOptions options);
  Status addWhole(Result<InputFile> file);
  Status addSharded(const InputFolder &folder, const std::string &indexName, ReadMode mode);

  std::string location;
  std::vector<std::unique_ptr<const SafetensorsFile>> files;
  std::map<std::string, Place, std::less<>> tensors;
};

} // namespace moec
