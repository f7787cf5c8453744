// From IR to numbers: what a package's manifest says of a layer.
#pragma once

#include "compiler/core/ModelDescription.h"
#include "compiler/core/Package.h"
#include "compiler/core/Status.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"

namespace moec {

/// Shape, router and weights of a layer in phase `grouped` or later, before `launches`.
/// Errors: InvalidModel where the layer is not one route and one grouped FFN over weights by name.
Result<LayerDescription> describeLayer(mlir::func::FuncOp layer);

/// The plan that a layer in phase `planned` carries, and the histogram that it was made for.
LayerPlan planOfLayer(mlir::func::FuncOp layer);

/// All layers of a module in phase `grouped` to `planned`, by ascending number.
Result<ModelDescription> describeModel(mlir::ModuleOp module);

} // namespace moec
