// A built kernel as the cache keeps it, and the key that names it.
#pragma once

#include "compiler/core/Package.h"
#include "compiler/jit/Nvrtc.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace moec {

/// A kernel to be had, from the cache or by NVRTC.
struct KernelJob {
  std::string name; // for people and files: letters, digits and '-'
  KernelUnit unit;  // one instantiation
  uint32_t threads = 0;
  uint32_t dynamicSharedBytes = 0;
};

struct BuiltKernel {
  std::string key;
  std::string symbol; // lowered name in the cubin
  KernelResources resources;
  std::vector<uint8_t> cubin;
  bool built = false; // by this call; else the cache had it
};

/// The readable text of all that a kernel's cubin depends on. Errors: InvalidArgument, as unitSource and
/// Nvrtc::compileOptions.
Result<std::string> kernelKey(const KernelJob &job, NvrtcVersion nvrtc, const NvrtcOptions &options,
                              const std::string &nvrtcFlags);

/// An artefact's bytes (docs/formats.md, "CUDA kernel artefact").
std::vector<uint8_t> writeArtefact(const BuiltKernel &kernel);
/// Fills symbol, resources and cubin. Errors: CacheCorrupt.
Status readArtefact(std::span<const uint8_t> bytes, BuiltKernel &kernel);

} // namespace moec
