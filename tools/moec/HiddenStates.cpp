#include "tools/moec/HiddenStates.h"

#include "runtime/weights/Convert.h"
#include "runtime/weights/Safetensors.h"
#include "runtime/weights/SafetensorsWriter.h"
#include "runtime/weights/Text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <cstring>

namespace moec::tool {
namespace {

constexpr const char *inputName = "hidden_states", *outputName = "output";

std::string namesIn(const SafetensorsFile &file) {
  constexpr size_t most = 8;
  std::vector<std::string> names;
  for (const auto &[name, info] : file.header().tensors)
    if (names.size() < most)
      names.push_back(inQuotes(name));
  const size_t more = file.header().tensors.size() - names.size();
  return fmt::format("{}{}", fmt::join(names, ", "), more ? fmt::format(" and {} more", more) : "");
}

std::vector<float> widened(const HiddenStates &states) {
  std::vector<float> values(states.elements());
  convert(states.bytes.data(), states.dtype, values.data(), DType::F32, values.size());
  return values;
}

} // namespace

Result<HiddenStates> readHiddenStates(const std::string &path) {
  // Read, not mapped: the file may be on its way to being overwritten by whoever made it.
  Result<SafetensorsFile> file = SafetensorsFile::open(path, ReadMode::Pread);
  if (!file)
    return file.status();
  const TensorInfo *tensor = file->find(inputName);
  if (!tensor)
    return makeError(Code::InvalidArgument, "{} has no tensor '{}', only {}", path, inputName, namesIn(*file));
  if (tensor->shape.size() != 2 || tensor->shape[0] == 0)
    return makeError(Code::InvalidArgument, "{}: '{}' has shape {}; expected [tokens, hidden] with at least one token",
                     path, inputName, shapeText(tensor->shape));
  std::optional<DType> dtype = computeType(tensor->type);
  if (!dtype)
    return makeError(Code::InvalidArgument, "{}: '{}' is {}; expected F32, BF16 or F16", path, inputName,
                     tensorTypeName(tensor->type));
  HiddenStates states{*dtype, tensor->shape[0], tensor->shape[1], {}};
  states.bytes.resize(tensor->end - tensor->begin);
  if (Status status = file->read(*tensor, 0, states.bytes); !status.ok())
    return status;
  return states;
}

Converted convertStates(const HiddenStates &from, DType want) {
  Converted to{{want, from.tokens, from.hidden, std::vector<std::byte>(from.elements() * byteSize(want))}, 0};
  convert(from.bytes.data(), from.dtype, to.states.bytes.data(), want, from.elements());
  if (want == from.dtype || want == DType::F32) // widening is exact
    return to;
  const std::vector<float> before = widened(from), after = widened(to.states);
  for (size_t i = 0; i < before.size(); ++i)
    to.inexact += before[i] != after[i] && !std::isnan(before[i]);
  return to;
}

Status writeStates(const std::string &path, const HiddenStates &states) {
  const OutputTensor tensor{outputName, states.dtype, {states.tokens, states.hidden}, states.bytes};
  return writeSafetensors(path, {&tensor, 1});
}

} // namespace moec::tool
