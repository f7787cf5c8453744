// The kernels that KernelBuilder puts into a module.
#pragma once

#include "compiler/codegen/cpu/Emitter.h"
#include "compiler/codegen/cpu/KernelSpec.h"

namespace moec::codegen {

void buildTileKernel(Emitter &emitter, mlir::ModuleOp module, const CpuConfig &config, const TileKernelSpec &spec);
void buildPackKernel(Emitter &emitter, mlir::ModuleOp module, const CpuConfig &config, const PackKernelSpec &spec);

} // namespace moec::codegen
