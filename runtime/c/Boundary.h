// What every function of the C API does at its edge: options that may be older than this library, errors as codes.
#pragma once

#include "compiler/core/Status.h"
#include "runtime/c/moec.h"

#include <algorithm>
#include <cstring>
#include <exception>

namespace moec::c {

/// Keeps the message for moec_last_error.
MoecCode report(const Status &status);

/// Calls `body`, which returns a Status. What a library threw (memory that ran out) does not reach C.
template <typename Body> MoecCode guarded(Body body) {
  try {
    return report(body());
  } catch (const std::exception &error) {
    return report(Status(Code::Failure, error.what()));
  }
}

/// The caller's options, with zeros where his are older and shorter, or null. Error: InvalidArgument (a size of no
/// sense, or fields that this library does not know and that are not zero).
template <typename Options> Result<Options> readOptions(const Options *given, const char *name) {
  Options options = {};
  if (!given)
    return options;
  const size_t size = given->size;
  const auto *bytes = reinterpret_cast<const char *>(given);
  constexpr size_t most = 4096; // no struct will ever be as large: a size that was not set
  if (size < sizeof(uint32_t) || size > most)
    return makeError(Code::InvalidArgument, "{}.size is {}: set it to sizeof({})", name, size, name);
  if (std::any_of(bytes + std::min(size, sizeof(Options)), bytes + size, [](char byte) { return byte != 0; }))
    return makeError(Code::InvalidArgument, "{} is of a newer moec ({} bytes, here {}) and uses what this one has not",
                     name, size, sizeof(Options));
  std::memcpy(&options, bytes, std::min(size, sizeof(Options)));
  return options;
}

/// Fills as much of the caller's struct as he knows. Error: InvalidArgument (a size of no sense).
template <typename Struct> Status writeStruct(Struct from, Struct *to, const char *name) {
  const uint32_t size = to->size;
  if (size < 2 * sizeof(uint32_t))
    return makeError(Code::InvalidArgument, "{}.size is {}: set it to sizeof({})", name, size, name);
  from.size = size;
  std::memcpy(to, &from, std::min<size_t>(size, sizeof(Struct)));
  return {};
}

/// A caller's number as an enumerator up to `last`. Error: InvalidArgument.
template <typename Enum> Result<Enum> readEnum(int32_t number, Enum last, const char *name) {
  if (number < 0 || number > static_cast<int32_t>(last))
    return makeError(Code::InvalidArgument, "{} is {}, which stands for nothing", name, number);
  return static_cast<Enum>(number);
}

inline std::string text(const char *given) { return given ? given : ""; }

} // namespace moec::c
