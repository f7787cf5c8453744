// Activation regions as plain functions.
#pragma once

#include "ir/reference/Ops.h"

#include "mlir/IR/Region.h"

namespace moec::reference {

/// The function that an activation region computes, in float64: `arith` and `math` on scalars; i1
/// values are 0 or 1. The function stands alone and may outlive the region; it is thread-safe.
///
/// `region` passed the verifier of its op. Errors: InvalidArgument, naming an op that has no
/// meaning here.
Result<Activation> activationOf(mlir::Region &region);

} // namespace moec::reference
