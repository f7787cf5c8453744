// Errors as values: Status, and Result<T> for a value or the Status that stands in its place.
#pragma once

#include <fmt/format.h>

#include <cassert>
#include <optional>
#include <string>
#include <utility>

namespace moec {

/// What kind of thing went wrong. The numbers are internal; exitCode() maps them to the tools' exit codes.
enum class Code : int {
  Ok = 0,
  Failure,
  InvalidArgument,
  InvalidModel,
  CompileFailed,
  DeviceMissing,
  CacheCorrupt,
  VerificationMismatch,
  PeerFailed,
  CompileForbidden,
  ResourceExhausted,
  NotFound,
  Cancelled,
  DeviceLost,
};

/// The name of a code as traces and messages show it, e.g. "invalid-model".
const char *codeName(Code code);

/// The exit code that a tool ends with (docs/architecture.md, "Tools"): 0 ok, 1 other failure, 2 usage,
/// 3 invalid model or IR, 4 compile failed, 5 device missing, 6 cache corrupt, 7 verification mismatch,
/// 8 peer failed, 9 compile forbidden but needed.
int exitCode(Code code);

class [[nodiscard]] Status {
public:
  Status() = default;
  Status(Code code, std::string message) : errorCode(code), text(std::move(message)) {}

  bool ok() const { return errorCode == Code::Ok; }
  Code code() const { return errorCode; }
  const std::string &message() const { return text; }

  /// The same error with "context: " before its message; a success stays a success.
  template <typename... Args> Status withContext(fmt::format_string<Args...> format, Args &&...args) const {
    if (ok())
      return *this;
    return Status(errorCode, fmt::format(format, std::forward<Args>(args)...) + ": " + text);
  }

private:
  Code errorCode = Code::Ok;
  std::string text;
};

/// An error with a formatted message: `return makeError(Code::InvalidModel, "layer {} has no router", layer);`
template <typename... Args> Status makeError(Code code, fmt::format_string<Args...> format, Args &&...args) {
  return Status(code, fmt::format(format, std::forward<Args>(args)...));
}

template <typename T> class [[nodiscard]] Result {
public:
  Result(T value) : held(std::move(value)) {}
  Result(Status status) : error(std::move(status)) { assert(!error.ok() && "a Result without a value needs an error"); }

  bool ok() const { return held.has_value(); }
  explicit operator bool() const { return ok(); }
  const Status &status() const { return error; }

  T &operator*() { return *held; }
  const T &operator*() const { return *held; }
  T *operator->() { return &*held; }
  const T *operator->() const { return &*held; }

private:
  std::optional<T> held;
  Status error;
};

} // namespace moec
