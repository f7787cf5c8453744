// NVRTC for a text of the experiments' own: compiler/jit takes kernel units only, on purpose.
#pragma once

#include "compiler/core/Status.h"

#include <cstdint>
#include <dlfcn.h>
#include <nvrtc.h>
#include <string>
#include <vector>

namespace moec::bench {

/// Compiles `text` for sm_90 with libnvrtc.so.13 (or .12) of the loader's path or of /usr/local/cuda.
///
/// Errors: DeviceMissing (no NVRTC), CompileFailed.
inline Result<std::vector<uint8_t>> compileText(const std::string &text) {
  void *library = nullptr;
  for (const char *name : {"libnvrtc.so.13", "/usr/local/cuda/lib64/libnvrtc.so.13", "libnvrtc.so.12"})
    if (!library)
      library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return makeError(Code::DeviceMissing, "no NVRTC: {}", dlerror());
  const auto create = reinterpret_cast<decltype(&::nvrtcCreateProgram)>(dlsym(library, "nvrtcCreateProgram"));
  const auto compile = reinterpret_cast<decltype(&::nvrtcCompileProgram)>(dlsym(library, "nvrtcCompileProgram"));
  const auto size = reinterpret_cast<decltype(&::nvrtcGetCUBINSize)>(dlsym(library, "nvrtcGetCUBINSize"));
  const auto get = reinterpret_cast<decltype(&::nvrtcGetCUBIN)>(dlsym(library, "nvrtcGetCUBIN"));
  const auto destroy = reinterpret_cast<decltype(&::nvrtcDestroyProgram)>(dlsym(library, "nvrtcDestroyProgram"));
  if (!create || !compile || !size || !get || !destroy)
    return makeError(Code::DeviceMissing, "this libnvrtc lacks a function");
  nvrtcProgram program = nullptr;
  const char *options[] = {"--gpu-architecture=sm_90", "--modify-stack-limit=false"};
  size_t bytes = 0;
  std::vector<uint8_t> cubin;
  bool made = create(&program, text.c_str(), "facts.cu", 0, nullptr, nullptr) == NVRTC_SUCCESS &&
              compile(program, 2, options) == NVRTC_SUCCESS && size(program, &bytes) == NVRTC_SUCCESS;
  if (made) {
    cubin.resize(bytes);
    made = get(program, reinterpret_cast<char *>(cubin.data())) == NVRTC_SUCCESS;
  }
  destroy(&program);
  if (!made)
    return makeError(Code::CompileFailed, "the experiments' kernels do not compile");
  return cubin;
}

} // namespace moec::bench
