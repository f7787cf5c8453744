// moec-opt: MLIR's optimizer driver with the moe dialect and passes.
#include "ir/Moe.h"
#include "passes/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "mlir/Transforms/Passes.h"

static constexpr const char *kHelp = R"help(moec-opt: MLIR's optimizer driver with the moe dialect and its passes

Examples:
  moec-opt tests/lit/passes/lower.mlir --moe-lower=to=planned
  moec-opt tests/lit/passes/lower.mlir --pass-pipeline="builtin.module(func.func(moe-fuse-routing,moe-fuse-experts))"
)help";

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  registry.insert<moec::moe::MoeDialect, mlir::arith::ArithDialect, mlir::func::FuncDialect, mlir::math::MathDialect>();
  moec::passes::registerAll();
  mlir::registerCanonicalizerPass();
  mlir::registerCSEPass();
  return mlir::asMainReturnCode(mlir::MlirOptMain(argc, argv, kHelp, registry));
}
