#include "runtime/weights/SafetensorsWriter.h"

#include "runtime/weights/InputFile.h"
#include "runtime/weights/SafetensorsHeader.h"
#include "runtime/weights/Text.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <set>
#include <string_view>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace moec {
namespace {

using Tensors = std::vector<const OutputTensor *>;

Status systemError(std::string_view what, const std::string &path, int error = errno) {
  return makeError(Code::Failure, "cannot {} {}: {}", what, inQuotes(path), std::generic_category().message(error));
}

Status checkTensors(std::span<const OutputTensor> tensors) {
  std::set<std::string_view> names;
  for (const OutputTensor &tensor : tensors) {
    if (tensor.name == "__metadata__" || !names.insert(tensor.name).second)
      return makeError(Code::InvalidArgument, "tensor name {} is reserved or given twice", inQuotes(tensor.name));
    std::optional<uint64_t> bits = checkedBits(tensor.shape, 8 * byteSize(tensor.dtype));
    if (!bits || *bits / 8 != tensor.data.size())
      return makeError(Code::InvalidArgument, "tensor {}: shape {} of {} does not fit its {} bytes of data",
                       inQuotes(tensor.name), shapeText(tensor.shape), dtypeName(tensor.dtype), tensor.data.size());
  }
  return Status();
}

Tensors inFileOrder(std::span<const OutputTensor> tensors) {
  Tensors order;
  for (const OutputTensor &tensor : tensors)
    order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const OutputTensor *a, const OutputTensor *b) {
    uint32_t sizeA = byteSize(a->dtype), sizeB = byteSize(b->dtype);
    return sizeA != sizeB ? sizeA > sizeB : a->name < b->name;
  });
  return order;
}

/// The length and the padded JSON.
Result<std::string> headerOf(const Tensors &tensors, const std::map<std::string, std::string> &metadata) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (!metadata.empty())
    json["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const OutputTensor *tensor : tensors) {
    uint64_t end = offset + tensor->data.size();
    json[tensor->name] = {{"dtype", std::string(tensorTypeName(tensorTypeOf(tensor->dtype)))},
                          {"shape", tensor->shape},
                          {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text;
  try {
    text = json.dump();
  } catch (const nlohmann::json::exception &) { // its one cause
    return makeError(Code::InvalidArgument, "a tensor's name or the metadata is not valid UTF-8");
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  if (text.size() > maxSafetensorsHeader)
    return makeError(Code::InvalidArgument, "the header would have {} bytes, more than the {} allowed", text.size(),
                     maxSafetensorsHeader);
  std::string header(8, '\0');
  for (size_t i = 0; i < 8; ++i)
    header[i] = static_cast<char>(text.size() >> (8 * i));
  return header + text;
}

Status writeAll(int fd, std::span<const std::byte> bytes, const std::string &path) {
  while (!bytes.empty()) {
    ssize_t count = ::write(fd, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return systemError("write", path);
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
  return Status();
}

/// A file beside `path` that takes its place by commit(), or vanishes.
class Temporary {
public:
  explicit Temporary(std::string path) : path(std::move(path)) {}
  ~Temporary() {
    if (file.valid())
      ::unlink(name.c_str());
  }

  Status create() {
    // O_EXCL on a name of our own; mkstemp would give the result mode 0600 instead of what umask says.
    for (unsigned attempt = 0; attempt < 1000; ++attempt) {
      name = fmt::format("{}.tmp.{}.{}", path, ::getpid(), attempt);
      file = Descriptor(::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
      if (file.valid() || errno != EEXIST)
        break;
    }
    return file.valid() ? Status() : systemError("create", name);
  }

  int fd() const { return file.get(); }

  Status commit() {
    if (::fsync(file.get()) != 0)
      return systemError("sync", name);
    if (::rename(name.c_str(), path.c_str()) != 0)
      return systemError("rename a temporary to", path);
    file = Descriptor();
    return Status();
  }

private:
  std::string path;
  std::string name;
  Descriptor file; // valid until committed
};

} // namespace

Status writeSafetensors(const std::string &path, std::span<const OutputTensor> tensors,
                        const std::map<std::string, std::string> &metadata) {
  if (Status status = checkTensors(tensors); !status.ok())
    return status;
  struct stat info = {};
  if (::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode))
    return makeError(Code::InvalidArgument, "{} exists and is not a regular file", inQuotes(path));
  Tensors order = inFileOrder(tensors);
  Result<std::string> header = headerOf(order, metadata);
  if (!header)
    return header.status();

  Temporary file(path);
  if (Status status = file.create(); !status.ok())
    return status;
  if (Status status = writeAll(file.fd(), std::as_bytes(std::span(*header)), path); !status.ok())
    return status;
  for (const OutputTensor *tensor : order)
    if (Status status = writeAll(file.fd(), tensor->data, path); !status.ok())
      return status;
  return file.commit();
}

} // namespace moec
