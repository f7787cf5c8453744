#include "runtime/weights/Safetensors.h"

#include "runtime/weights/Text.h"

#include <algorithm>
#include <array>
#include <bit>

namespace moec {

static_assert(std::endian::native == std::endian::little, "tensors are used as the file stores them: little-endian");

Result<SafetensorsFile> SafetensorsFile::open(InputFile file) {
  std::array<std::byte, 8> start = {};
  std::span<std::byte> available = std::span(start).first(std::min<uint64_t>(start.size(), file.size()));
  if (Status status = file.read(0, available); !status.ok())
    return status;
  Result<uint64_t> length = parseHeaderLength(available, file.size(), file.name());
  if (!length)
    return length.status();

  std::string copy; // not needed where the file is mapped
  std::string_view json;
  if (!file.mapped().empty()) {
    json = {reinterpret_cast<const char *>(file.mapped().data()) + 8, *length};
  } else {
    copy.resize(*length);
    if (Status status = file.read(8, std::as_writable_bytes(std::span(copy))); !status.ok())
      return status;
    json = copy;
  }
  uint64_t dataStart = 8 + *length;
  Result<SafetensorsHeader> header = parseSafetensorsHeader(json, file.size() - dataStart, file.name());
  if (!header)
    return header.status();
  return SafetensorsFile(std::move(file), std::move(*header), dataStart);
}

Result<SafetensorsFile> SafetensorsFile::open(const std::string &path, ReadMode mode) {
  Result<InputFile> file = InputFile::open(path, mode);
  if (!file)
    return file.status();
  return open(std::move(*file));
}

const TensorInfo *SafetensorsFile::find(std::string_view name) const {
  auto place = contents.tensors.find(name);
  return place == contents.tensors.end() ? nullptr : &place->second;
}

std::span<const std::byte> SafetensorsFile::bytes(const TensorInfo &tensor) const {
  if (file.mapped().empty())
    return {};
  return file.mapped().subspan(dataStart + tensor.begin, tensor.end - tensor.begin);
}

Status SafetensorsFile::read(const TensorInfo &tensor, uint64_t offset, std::span<std::byte> to) const {
  uint64_t size = tensor.end - tensor.begin;
  if (offset > size || to.size() > size - offset)
    return makeError(Code::InvalidArgument, "{}: bytes [{}, +{}] lie past the end of a tensor of {} bytes",
                     inQuotes(name()), offset, to.size(), size);
  return file.read(dataStart + tensor.begin + offset, to);
}

} // namespace moec
