// Runs a layer of the `moe` dialect on the reference.
#pragma once

#include "ir/reference/Ops.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <functional>
#include <string>
#include <variant>
#include <vector>

namespace moec::reference {

/// The checkpoint: the values of tensor `name`, of the shape given. Where the IR says `{e}`, it is
/// asked once an expert, with the expert's number in the name and without the experts' dimension.
/// An error of its own is passed on.
using WeightProvider = std::function<Result<Tensor>(const std::string &name, const Shape &shape)>;

/// A result of a layer: hidden states and weights, or ids and counts.
using LayerResult = std::variant<Tensor, IdTensor>;

/// Evaluates a verified layer in any phase from `input` to `planned`. What phases choose (slots,
/// configs, packing, order, strides) is not looked at: it must not change a result.
///
/// hidden  [T, H]
/// Returns what the function returns, in order.
///
/// Errors: InvalidArgument (the function is no layer; an op or an activation's op that is not
/// known, by name; a shape), or what the provider says.
Result<std::vector<LayerResult>> evaluateLayer(mlir::func::FuncOp layer, const Tensor &hidden,
                                               const WeightProvider &weights);

} // namespace moec::reference
