// A folder of compiled kernels: NAME.cubin and NAME.kernel (the lowered name). Built without a GPU, read where one is.
#pragma once

#include "compiler/jit/ShippedKernels.h"
#include "tools/bench/gpu/Driver.h"

#include <map>
#include <string>

namespace moec::bench {

/// Compiles the kernels shipped for `target` whose names contain `part` into `folder`, on `threads` threads. Prints a
/// line a kernel: registers, spills, seconds. Errors: as Nvrtc::compile; Failure if a kernel spills or a file cannot be
/// written.
Status buildBundle(const std::string &folder, const std::string &target, const std::string &part, uint32_t threads);

/// Adds a kernel to a folder. Errors: Failure if a file cannot be written.
Status writeKernel(const std::string &folder, const std::string &name, const std::vector<uint8_t> &cubin,
                   const std::string &loweredName);

/// Loads kernels of a bundle onto a device, each once.
class Bundle {
public:
  Bundle(Device &device, std::string folder) : device(device), folder(std::move(folder)) {}

  /// Errors: NotFound (no such kernel in the folder), Failure (the driver's).
  Result<Kernel> kernel(const std::string &name, uint32_t sharedBytes);

private:
  Device &device;
  std::string folder;
  std::map<std::string, Kernel> loaded;
};

} // namespace moec::bench
