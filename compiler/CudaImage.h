// The kernels of all layers on a GPU: built or found once each, one cubin an image.
#pragma once

#include "compiler/Compile.h"
#include "compiler/core/Package.h"
#include "compiler/core/Status.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <string>
#include <vector>

namespace moec {

/// Fills launches and images of `package`, whose layers are those of `layers` in phase `launches`, in their order.
/// Images follow the launches that first name them. Adds "nvrtc" to the compile times: the time of all threads
/// together.
///
/// Errors: InvalidModel (as cudaCodeOf), and those of buildKernels.
Status buildCudaImages(const std::vector<mlir::func::FuncOp> &layers, const CompileRequest &request,
                       const CompileHooks &hooks, Package &package);

/// The distinct kernels of the layers as texts, in JSON (docs/formats.md, "Emitted files"): CUDA source for "cuda",
/// else PTX. Errors: as buildCudaImages.
Result<std::string> emitCuda(const std::vector<mlir::func::FuncOp> &layers, const CompileRequest &request);

} // namespace moec
