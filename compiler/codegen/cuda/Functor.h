// From an activation region to the statements of a device functor.
#pragma once

#include "compiler/core/Status.h"
#include "compiler/jit/KernelText.h"

#include "mlir/IR/Region.h"

#include <string>
#include <vector>

namespace moec::codegen {

/// The functor's name in generated units; each unit has one at most.
inline constexpr const char *kFunctorName = "LayerActivation";

/// The region as the body of `static __device__ float apply(float gate, float up)`: one statement an op, in the
/// region's order, values numbered. Nothing of the region's own names gets in.
///
/// f32 results are within a few units in the last place of the exact ones, exp within 2 + 1.2 |x| units; the output is
/// rounded to 8 or 11 bits after. NaN and infinity do what the ops say, as on a CPU.
///
/// Errors: InvalidModel, naming an op or a type that the GPU's table does not have.
Result<Functor> functorOf(mlir::Region &activation);

/// The names of all ops of the table, "arith.addf" and so on.
std::vector<std::string> functorOps();

} // namespace moec::codegen
