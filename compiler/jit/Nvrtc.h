// NVRTC, opened at run time: from a kernel unit to a cubin, in memory.
#pragma once

#include "compiler/core/Status.h"
#include "compiler/jit/EmbeddedKernels.h"
#include "compiler/jit/KernelText.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace moec {

/// What ptxas reports of one kernel.
struct ResourceUse {
  std::string loweredName;
  uint32_t registers = 0;
  uint32_t stackBytes = 0; // local memory of the frame
  uint32_t spillStoreBytes = 0;
  uint32_t spillLoadBytes = 0;
  uint32_t staticSharedBytes = 0;
};

/// Places to look for libnvrtc in. A place is a library, a folder of libraries, a prefix with lib/ in it, a Python
/// environment, or a folder of Python packages (nvidia/cu13/lib, nvidia/cuda_nvrtc/lib).
struct NvrtcSearch {
  std::vector<std::string> only; // nowhere else
  std::vector<std::string> also; // after the usual places
};

struct NvrtcOptions {
  std::string target = "sm_90a"; // sm_<number>, with suffix a or f
  bool lineInfo = false;         // for profilers
  bool cubin = true;             // false: PTX alone, in a fraction of the time; `resources` stays empty
  bool ptx = true;               // hand the PTX out as well
  std::span<const EmbeddedHeader> moreHeaders = {}; // ours, beside the kernels; every unit includes all of them
  std::function<bool()> cancelled = {}; // asked during compilation, from the compiling thread; must not call NVRTC
};

struct CompiledUnit {
  std::vector<uint8_t> cubin;
  std::string ptx;
  std::string log;                       // data, not to be parsed by others; the report in it is in `resources`
  std::vector<std::string> loweredNames; // of KernelUnit::kernels, in their order
  std::vector<ResourceUse> resources;    // of KernelUnit::kernels, in their order
  bool wgmmaSerialised = false; // ptxas put waits between wgmma instructions (C7510 and its like): several times slower
};

/// Reads ptxas's report (-v) out of a compile log; one entry a kernel, in the log's order.
std::vector<ResourceUse> parsePtxasReport(const std::string &log);
/// Whether a log says that wgmma instructions were serialised.
bool reportsSerialisedWgmma(const std::string &log);

struct NvrtcVersion {
  int major = 0, minor = 0;
  bool operator==(const NvrtcVersion &) const = default;
};

/// A loaded libnvrtc. Copyable; stays loaded until the process ends. All functions may be called by several threads.
class Nvrtc {
public:
  /// Opens libnvrtc.so.13, else .12, of the first place that has one: the loader's own path, /usr/local/cuda, those in
  /// `search.also`, the system's Python packages; or one of `search.only`, if there are any.
  ///
  /// Errors: NotFound, with all that was tried.
  static Result<Nvrtc> open(const NvrtcSearch &search = {});
  /// All that `open` tries, in order: paths, and names without a folder for the loader to find.
  static std::vector<std::string> candidates(const NvrtcSearch &search);

  const NvrtcVersion &version() const { return libraryVersion; }
  const std::string &path() const { return libraryPath; } // of the library

  /// The options of a compile in order, as they go to NVRTC and into the artefact key.
  static Result<std::vector<std::string>> compileOptions(const NvrtcOptions &options);

  /// Compiles a unit against the embedded kernels.
  ///
  /// Errors: InvalidArgument (text that may not reach a kernel, a target that is none), CompileFailed (with the log's
  /// first lines), Cancelled.
  Result<CompiledUnit> compile(const KernelUnit &unit, const NvrtcOptions &options) const;

  struct Functions; // the entry points; in Nvrtc.cpp

private:
  std::shared_ptr<const Functions> functions;
  std::string libraryPath;
  NvrtcVersion libraryVersion;
};

} // namespace moec
