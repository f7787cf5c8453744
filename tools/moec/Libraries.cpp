#include "tools/moec/Libraries.h"

#include "runtime/CompilerLibrary.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <dlfcn.h>
#include <link.h>

#include <initializer_list>

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

std::string devices(void *library) {
  int count = 0;
  if (!succeeds(symbol<int(unsigned)>(library, "cuInit"), 0u) ||
      !succeeds(symbol<int(int *)>(library, "cuDeviceGetCount"), &count))
    return "no usable device";
  std::string text = fmt::format("{} device{}", count, count == 1 ? "" : "s");
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    int device = 0;
    char name[256] = {};
    if (succeeds(symbol<int(int *, int)>(library, "cuDeviceGet"), &device, ordinal) &&
        succeeds(symbol<int(char *, int, int)>(library, "cuDeviceGetName"), name, static_cast<int>(sizeof name) - 1, device))
      text += fmt::format("{} {}", ordinal == 0 ? ":" : ",", name);
  }
  return text;
}

} // namespace

LibraryReport examineCompiler(const std::string &path) {
  LibraryReport report{"compiler", "compiling what the cache does not have", false, path, "", ""};
  Result<CompilerCall> call = openCompilerLibrary(path);
  if (!call) {
    report.problem = call.status().message();
    return report;
  }
  const std::string request = "{}";
  MoecCompilerCallbacks callbacks{};
  callbacks.size = sizeof callbacks;
  Result<std::vector<uint8_t>> answer =
      (*call)("version", {reinterpret_cast<const uint8_t *>(request.data()), request.size()}, callbacks);
  if (!answer) {
    report.problem = answer.status().message();
    return report;
  }
  nlohmann::json json = nlohmann::json::parse(answer->begin(), answer->end(), nullptr, false);
  const bool tells = json.is_object() && json.contains("llvm") && json["llvm"].is_string();
  report.found = true;
  report.version = tells ? "LLVM " + json["llvm"].get<std::string>() : "of an unknown LLVM";
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
    report.version = fmt::format("CUDA {}.{}, {}", version / 1000, version % 1000 / 10, devices(library));
  else
    report.problem = report.path + ": cuDriverGetVersion fails";
  return report;
}

LibraryReport examineNvrtc() {
  LibraryReport report{"NVRTC", "compiling for a GPU", false, "", "", ""};
  void *library = openFirst({"libnvrtc.so.13", "libnvrtc.so.12", "/usr/local/cuda/lib64/libnvrtc.so.13",
                             "/usr/local/cuda/lib64/libnvrtc.so.12"},
                            report);
  if (!library)
    return report;
  int major = 0, minor = 0;
  report.found = succeeds(symbol<int(int *, int *)>(library, "nvrtcVersion"), &major, &minor);
  if (report.found)
    report.version = fmt::format("{}.{}", major, minor);
  else
    report.problem = report.path + ": nvrtcVersion fails";
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
