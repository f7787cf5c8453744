// What CPU code generation is asked for: one function of a layer's image.
#pragma once

#include "compiler/core/Config.h"
#include "compiler/core/abi/CpuKernels.h"

#include "mlir/IR/Region.h"

#include <cstdint>
#include <string>

namespace moec::codegen {

/// A tile kernel (CpuTileFn).
struct TileKernelSpec {
  CpuRole role = CpuRole::GateUp;
  uint16_t rows = 1;                  // tile height
  uint32_t k = 0;                     // inner dimension
  mlir::Region *activation = nullptr; // GateUp only: scalar f32 region of two arguments
  uint32_t activationIndex = 0;       // which of the layer's distinct activations that is
  bool biased = false;                // panels end with their columns' biases
  bool weighted = false;              // GateUp only: a row's sums are multiplied by its weight
};

/// A packing kernel (CpuPackFn) for operands with inner dimension `k`.
struct PackKernelSpec {
  uint32_t k = 0;
};

/// The exported names: they depend on the spec alone, so that images of one config are interchangeable.
std::string symbolOf(const TileKernelSpec &spec);
std::string symbolOf(const PackKernelSpec &spec);

/// Panels that a tile of `rows` rows works on at a time: enough independent sums to hide the latency of a multiply-add,
/// few enough to keep them in registers beside two weight vectors.
uint32_t panelsPerIteration(uint16_t rows, const CpuConfig &config);

} // namespace moec::codegen
