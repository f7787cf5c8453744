#include "tools/moec/Libraries.h"

#include "runtime/CompilerLibrary.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <dlfcn.h>
#include <link.h>

#include <initializer_list>
#include <vector>

namespace moec::tool {
namespace {

/// Opens the first of `names`; a library stays open to the process's end, since some do not survive being closed.
void *openFirst(std::initializer_list<const char *> names, LibraryReport &report) {
  for (const char *name : names) {
    if (void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL)) {
      link_map *map = nullptr;
      report.path = dlinfo(library, RTLD_DI_LINKMAP, &map) == 0 && map && *map->l_name ? map->l_name : name;
      return library;
    }
    const char *why = dlerror();
    if (report.problem.empty())
      report.problem = why ? why : name;
  }
  return nullptr;
}

template <typename Function> Function *symbol(void *library, const char *name) {
  return reinterpret_cast<Function *>(dlsym(library, name));
}

/// Calls a C function that answers 0 for success.
template <typename... Parameters, typename... Arguments>
bool succeeds(int (*function)(Parameters...), Arguments... arguments) {
  return function && function(arguments...) == 0;
}

/// The answer of the compiler's "version" verb to `request`.
Result<nlohmann::json> compilerVersion(const std::string &path, const nlohmann::json &request) {
  Result<CompilerCall> call = openCompilerLibrary(path);
  if (!call)
    return call.status();
  const std::string text = request.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  MoecCompilerCallbacks callbacks{};
  callbacks.size = sizeof callbacks;
  Result<std::vector<uint8_t>> answer =
      (*call)("version", {reinterpret_cast<const uint8_t *>(text.data()), text.size()}, callbacks);
  if (!answer)
    return answer.status();
  nlohmann::json json = nlohmann::json::parse(answer->begin(), answer->end(), nullptr, false);
  if (!json.is_object())
    return makeError(Code::Failure, "{} does not tell its version", path);
  return json;
}

/// The text at `key`, empty where there is none.
std::string textAt(const nlohmann::json &json, const char *key) {
  return json.is_object() && json.contains(key) && json[key].is_string() ? json[key].get<std::string>() : "";
}

} // namespace

LibraryReport examineCompiler(const std::string &path) {
  LibraryReport report{"compiler", "compiling what the cache does not have", false, path, "", ""};
  Result<nlohmann::json> json = compilerVersion(path, nlohmann::json::object());
  if (!json) {
    report.problem = json.status().message();
    return report;
  }
  report.found = true;
  const std::string llvm = textAt(*json, "llvm");
  report.version = llvm.empty() ? "of an unknown LLVM" : "LLVM " + llvm;
  return report;
}

LibraryReport examineNvrtc(const std::string &compilerPath, const JitOptions &jit) {
  LibraryReport report{"NVRTC", "compiling for a GPU", false, "", "", ""};
  Result<nlohmann::json> json =
      compilerVersion(compilerPath, {{"nvrtc_only", jit.nvrtcOnly}, {"nvrtc_also", jit.nvrtcAlso}});
  if (!json) {
    report.problem = "the compiler would look for it, and is missing";
    return report;
  }
  const nlohmann::json nvrtc = json->contains("nvrtc") ? (*json)["nvrtc"] : nlohmann::json();
  report.path = textAt(nvrtc, "path");
  report.version = textAt(nvrtc, "version");
  report.problem = textAt(nvrtc, "problem");
  report.found = !report.version.empty();
  return report;
}

LibraryReport examineDriver() {
  LibraryReport report{"NVIDIA driver", "running on a GPU", false, "", "", ""};
  void *library = openFirst({"libcuda.so.1"}, report);
  if (!library)
    return report;
  int version = 0;
  report.found = succeeds(symbol<int(int *)>(library, "cuDriverGetVersion"), &version);
  if (report.found)
    report.version = fmt::format("CUDA {}.{}", version / 1000, version % 1000 / 10);
  else
    report.problem = report.path + ": cuDriverGetVersion fails";
  return report;
}

LibraryReport examineNccl() {
  LibraryReport report{"NCCL", "several GPUs", false, "", "", ""};
  void *library = openFirst({"libnccl.so.2"}, report);
  if (!library)
    return report;
  int version = 0;
  report.found = succeeds(symbol<int(int *)>(library, "ncclGetVersion"), &version);
  if (report.found) // 2.28.9 is 22809
    report.version = fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
  else
    report.problem = report.path + ": ncclGetVersion fails";
  return report;
}

} // namespace moec::tool
