#include "runtime/CompilerLibrary.h"

#include <dlfcn.h>

#include <filesystem>
#include <system_error>

namespace moec {
namespace {

Result<std::vector<uint8_t>> callLibrary(MoecCompilerCallFn call, MoecCompilerReleaseFn release, const char *verb,
                                         std::span<const uint8_t> request, const MoecCompilerCallbacks &callbacks) {
  MoecCompilerAnswer answer = call(verb, request.data(), request.size(), &callbacks);
  std::vector<uint8_t> bytes;
  if (answer.bytes)
    bytes.assign(answer.bytes, answer.bytes + answer.size);
  const int32_t code = answer.code; // releasing clears the answer
  release(&answer);
  if (code == static_cast<int32_t>(Code::Ok))
    return bytes;
  const bool known = code > 0 && code <= static_cast<int32_t>(Code::DeviceLost);
  return Status(known ? static_cast<Code>(code) : Code::Failure, std::string(bytes.begin(), bytes.end()));
}

/// The folder of the file that this code was loaded from.
std::filesystem::path folderOfThisCode() {
  Dl_info info;
  std::error_code error;
  if (!dladdr(reinterpret_cast<void *>(&folderOfThisCode), &info) || !info.dli_fname)
    return {};
  return std::filesystem::canonical(info.dli_fname, error).parent_path();
}

} // namespace

Result<CompilerCall> openCompilerLibrary(const std::string &path) {
  void *handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    const char *why = dlerror();
    return makeError(Code::DeviceMissing, "a compile is needed, but the compiler cannot be opened: {}",
                     why ? why : path);
  }
  auto call = reinterpret_cast<MoecCompilerCallFn>(dlsym(handle, MOEC_COMPILER_CALL_SYMBOL));
  auto release = reinterpret_cast<MoecCompilerReleaseFn>(dlsym(handle, MOEC_COMPILER_RELEASE_SYMBOL));
  if (!call || !release)
    return makeError(Code::Failure, "{} has no {} and {}: it belongs to another version", path,
                     MOEC_COMPILER_CALL_SYMBOL, MOEC_COMPILER_RELEASE_SYMBOL);
  // Never closed: LLVM's static objects do not outlive a dlclose gracefully.
  return CompilerCall(
      [call, release](const char *verb, std::span<const uint8_t> request, const MoecCompilerCallbacks &callbacks) {
        return callLibrary(call, release, verb, request, callbacks);
      });
}

std::string defaultCompilerLibrary(const std::string &fromEnvironment) {
  constexpr const char *name = "libmoec-compiler.so";
  if (!fromEnvironment.empty())
    return fromEnvironment;
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  const auto code = folderOfThisCode();
  for (const auto &candidate : {code / name, program / ".." / "lib" / name, code / ".." / "lib" / name})
    if (std::filesystem::exists(candidate, error))
      return candidate.lexically_normal().string();
  return (program / ".." / "lib" / name).lexically_normal().string(); // for the error to name
}

} // namespace moec
