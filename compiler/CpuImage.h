// The kernels of one layer on a CPU: which ones a launch list needs, and the image that holds them.
#pragma once

#include "compiler/codegen/cpu/KernelSpec.h"
#include "compiler/core/Package.h"
#include "compiler/core/Status.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <map>
#include <string>
#include <vector>

namespace moec {

/// What a layer's image holds, and the launch list that names it.
struct LayerCode {
  mlir::MLIRContext *context = nullptr; // of the regions that the specs point into
  CpuConfig config;
  std::vector<codegen::TileKernelSpec> tiles;
  std::vector<codegen::PackKernelSpec> packs;
  std::vector<Launch> launches;
  std::vector<std::string> activations; // canonical texts of the distinct activation regions
};

/// Collects the code of a layer in phase `launches`. The specs point into the layer's regions.
LayerCode codeOf(mlir::func::FuncOp layer);

/// The key of the image: everything that its bytes depend on.
std::string imageKey(const LayerCode &code);

/// Milliseconds by stage, added up over images: "mlir", "llvm", "link".
using StageTimes = std::map<std::string, double>;

/// Generates, lowers, optimises and links. Errors: CompileFailed with the diagnostics.
Result<std::vector<uint8_t>> buildImage(const LayerCode &code, StageTimes &times);

/// The kernels as text: LLVM dialect MLIR for "llvm", x86 assembly for "asm", the kernel module for "kernels".
Result<std::string> emitText(const LayerCode &code, const std::string &kind);

} // namespace moec
