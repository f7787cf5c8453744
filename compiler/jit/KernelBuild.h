// Kernels of one compile: each looked up in the cache, the missing ones built by a few threads.
#pragma once

#include "compiler/core/CompileRequest.h"
#include "compiler/jit/KernelArtefact.h"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace moec {

/// What a build may ask of its caller. Empty functions do nothing. All may be called from several threads, `cancelled`
/// at the same time, the others one after the other.
struct KernelBuildHooks {
  std::function<bool()> cancelled;
  std::function<std::optional<std::vector<uint8_t>>(const std::string &key)> find;
  std::function<void(const std::string &key, const std::vector<uint8_t> &artefact)> put;
  /// The same for what is known of this machine's NVRTC (NvrtcIdentity.h). Without them it is opened to ask its
  /// version.
  std::function<std::optional<std::vector<uint8_t>>(const std::string &key)> findNvrtc;
  std::function<void(const std::string &key, const std::vector<uint8_t> &answer)> putNvrtc;
};

/// What of a compiled kernel makes it unfit: registers that spill, sums in local memory, wgmma that waits. Empty:
/// nothing.
std::string unfitness(const CompiledUnit &compiled);

/// The kernels in the order of `jobs`, each in a cubin of its own for `arch` ("sm_90a"). What is finished goes to the
/// cache at once, so a build that was cancelled half-way is half done when it comes back. Where the cache has all of
/// them, and the version of this machine's NVRTC, NVRTC is not opened.
///
/// No kernel has a time limit unless the options set one: it is wall time, and builds beside steps run in the system's
/// idle class, where a healthy compile waits for as long as steps keep the cores. `cancelled` ends one at any time.
///
/// Errors: DeviceMissing (no libnvrtc, with all that was tried), CompileFailed (naming the kernel and, where it spills,
/// the figures; or the time limit), Cancelled.
Result<std::vector<BuiltKernel>> buildKernels(const std::vector<KernelJob> &jobs, const std::string &arch,
                                              const JitOptions &options, const KernelBuildHooks &hooks);

/// The PTX of a kernel, for people to read. Errors as above; looks nothing up.
Result<std::string> kernelPtx(const KernelJob &job, const std::string &arch, const JitOptions &options);

/// libnvrtc, by the options' search. Error: DeviceMissing, naming what was tried and what to do.
Result<Nvrtc> openNvrtc(const JitOptions &options);

} // namespace moec
