// Which kernels a layer's launches need on a GPU.
#pragma once

#include "compiler/core/Package.h"
#include "compiler/jit/KernelArtefact.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <vector>

namespace moec::codegen {

/// A kernel to be built, and the launch's reference to it; symbol and image are still to be filled in.
struct LaunchKernel {
  KernelJob job;
  KernelRef ref;
};

/// A launch list, and for each launch its kernels in the order that `Launch` (Package.h) gives.
struct CudaLayerCode {
  std::vector<Launch> launches;
  std::vector<std::vector<LaunchKernel>> kernels; // [launches]
};

/// The kernels of a layer in phase `launches` whose config is for a GPU; `arch` as NVRTC takes it, e.g. "sm_90a".
///
/// Errors: InvalidModel (an activation with an op that the GPU does not have, more experts per token than a warp has
/// lanes), naming it.
Result<CudaLayerCode> cudaCodeOf(mlir::func::FuncOp layer, const std::string &arch);

} // namespace moec::codegen
