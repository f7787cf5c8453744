// The libraries that are opened at run time, looked at without using them.
#pragma once

#include "compiler/core/CompileRequest.h"

#include <string>

namespace moec::tool {

struct LibraryReport {
  std::string name, neededFor;
  bool found = false;
  std::string path;    // where it was found
  std::string version; // as people write it; the driver's: of CUDA
  std::string problem; // why it was not found, or cannot be used
};

/// libmoec-compiler.so at `path`; its version is that of its LLVM.
LibraryReport examineCompiler(const std::string &path);
/// The NVIDIA driver's libcuda.
LibraryReport examineDriver();
/// NVRTC, as the compiler at `compilerPath` would find and open it.
LibraryReport examineNvrtc(const std::string &compilerPath, const JitOptions &jit);
LibraryReport examineNccl();

} // namespace moec::tool
