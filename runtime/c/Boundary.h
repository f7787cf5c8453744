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

constexpr size_t kMostStructBytes = 4096; // none will ever be as large: a size that was not set

/// The caller's options, with zeros where his are older and shorter, or null. Error: InvalidArgument (a size of no
/// sense, or fields that this library does not know and that are not zero).
template <typename Options> Result<Options> readOptions(const Options *given, const char *name) {
  Options options = {};
  if (!given)
    return options;
  const size_t size = given->size;
  const auto *bytes = reinterpret_cast<const char *>(given);
  if (size < sizeof(uint32_t) || size > kMostStructBytes)
    return makeError(Code::InvalidArgument, "{}.size is {}: set it to sizeof({})", name, size, name);
  const bool unknown =
      std::any_of(bytes + std::min(size, sizeof(Options)), bytes + size, [](char b) { return b != 0; });
  std::memcpy(&options, bytes, std::min(size, sizeof(Options)));
  bool reserved = false; // a later version may give it a meaning
  if constexpr (requires { options.reserved; })
    reserved = options.reserved != 0;
  if (unknown || reserved)
    return makeError(Code::InvalidArgument, "{} is of a newer moec ({} bytes, here {}) and uses what this one has not",
                     name, size, sizeof(Options));
  return options;
}

/// Fills as much of the caller's struct as this library knows, and the rest with zeros. Error: InvalidArgument (a size
/// of no sense).
template <typename Struct> Status writeStruct(Struct from, Struct *to, const char *name) {
  const size_t size = to->size;
  if (size < 2 * sizeof(uint32_t) || size > kMostStructBytes)
    return makeError(Code::InvalidArgument, "{}.size is {}: set it to sizeof({})", name, size, name);
  from.size = to->size;
  std::memcpy(static_cast<void *>(to), &from, std::min(size, sizeof(Struct)));
  if (size > sizeof(Struct))
    std::memset(reinterpret_cast<char *>(to) + sizeof(Struct), 0, size - sizeof(Struct));
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
