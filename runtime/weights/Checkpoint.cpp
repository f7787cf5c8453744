#include "runtime/weights/Checkpoint.h"

#include "runtime/weights/Text.h"

#include <sys/stat.h>

namespace moec {
namespace {

constexpr const char *wholeName = "model.safetensors";
constexpr const char *shardIndexName = "model.safetensors.index.json";

Result<ShardIndex> readIndex(const InputFolder &folder, const std::string &name) {
  // Parsed once and in full, so a copy is as good as a mapping, and a file that shrinks is an error.
  Result<InputFile> file = folder.openFile(name, ReadMode::Pread);
  if (!file)
    return file.status();
  if (file->size() > maxIndexBytes)
    return makeError(Code::InvalidModel, "{}: (I1) the index has {} bytes, more than the {} allowed",
                     inQuotes(file->name()), file->size(), maxIndexBytes);
  std::string text(file->size(), '\0');
  if (Status status = file->read(0, std::as_writable_bytes(std::span(text))); !status.ok())
    return status;
  return parseShardIndex(text, file->name());
}

} // namespace

Result<Checkpoint> Checkpoint::open(const std::string &path, CheckpointOptions options) {
  struct stat info = {};
  if (::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode))
    return openFolder(path, options);
  Checkpoint checkpoint;
  checkpoint.location = path;
  if (Status status = checkpoint.addWhole(InputFile::open(path, options.mode)); !status.ok())
    return status;
  return checkpoint;
}

Result<Checkpoint> Checkpoint::openFolder(const std::string &path, CheckpointOptions options) {
  Result<InputFolder> folder = InputFolder::open(path);
  if (!folder)
    return folder.status();
  Checkpoint checkpoint;
  checkpoint.location = path;
  Status status;
  if (folder->contains(wholeName))
    status = checkpoint.addWhole(folder->openFile(wholeName, options.mode));
  else if (folder->contains(shardIndexName))
    status = checkpoint.addSharded(*folder, shardIndexName, options.mode);
  else
    status = makeError(Code::NotFound, "folder {} has neither {} nor {}", inQuotes(path), wholeName, shardIndexName);
  if (!status.ok())
    return status;
  return checkpoint;
}

Status Checkpoint::addWhole(Result<InputFile> file) {
  if (!file)
    return file.status();
  Result<SafetensorsFile> opened = SafetensorsFile::open(std::move(*file));
  if (!opened)
    return opened.status();
  files.push_back(std::make_unique<const SafetensorsFile>(std::move(*opened)));
  for (const auto &[name, info] : files.back()->header().tensors)
    tensors.emplace(name, Place{files.back().get(), &info});
  return Status();
}

Status Checkpoint::addSharded(const InputFolder &folder, const std::string &indexName, ReadMode mode) {
  Result<ShardIndex> index = readIndex(folder, indexName);
  if (!index)
    return index.status();
  std::map<std::string, const SafetensorsFile *> shards;
  for (const auto &[tensor, shardName] : *index) {
    const SafetensorsFile *&shard = shards[shardName];
    if (!shard) {
      Result<InputFile> file = folder.openFile(shardName, mode);
      if (!file && file.status().code() == Code::NotFound)
        return makeError(Code::InvalidModel, "{}/{}: (I5) shard {} of tensor {} does not exist", folder.name(),
                         indexName, inQuotes(shardName), inQuotes(tensor));
      if (!file)
        return file.status();
      Result<SafetensorsFile> opened = SafetensorsFile::open(std::move(*file));
      if (!opened)
        return opened.status();
      files.push_back(std::make_unique<const SafetensorsFile>(std::move(*opened)));
      shard = files.back().get();
    }
    const TensorInfo *info = shard->find(tensor);
    if (!info)
      return makeError(Code::InvalidModel, "{}/{}: (I5) tensor {} is not in its shard {}", folder.name(), indexName,
                       inQuotes(tensor), inQuotes(shardName));
    tensors.emplace(tensor, Place{shard, info});
  }
  return Status();
}

std::vector<std::string_view> Checkpoint::names() const {
  std::vector<std::string_view> result;
  result.reserve(tensors.size());
  for (const auto &entry : tensors)
    result.push_back(entry.first);
  return result;
}

std::optional<TensorSpan> Checkpoint::find(std::string_view name) const {
  auto place = tensors.find(name);
  if (place == tensors.end())
    return std::nullopt;
  const auto &[file, info] = place->second;
  return TensorSpan{info->type, info->shape, info->end - info->begin, file->bytes(*info), file, info};
}

} // namespace moec
