// What each launch of a layer has to do on a GPU, whatever kernel does it: bytes and operations, for floors.
#pragma once

#include "compiler/core/Package.h"

namespace moec {

/// The least that a launch moves and computes.
struct CudaWork {
  double bytes = 0; // read and written, each once: the launch's operands, wherever they lie
  double flops = 0;

  /// Nanoseconds below which it cannot take less: the longer of the two at these rates.
  double floorNs(double bytesPerNs, double flopsPerNs) const {
    const double memoryNs = bytes / bytesPerNs, computeNs = flops / flopsPerNs;
    return memoryNs > computeNs ? memoryNs : computeNs;
  }
  CudaWork &operator+=(const CudaWork &other) {
    bytes += other.bytes;
    flops += other.flops;
    return *this;
  }
};

/// One launch of a step of `tokens` tokens whose pairs go to `expertsHit` experts (an average: not whole), in the layer's
/// dtype, with a router weight of that dtype. Rows between launches are counted where they are written and where they
/// are read, though small ones stay in the second-level cache.
CudaWork cudaLaunchWork(LaunchKind kind, const LayerShape &shape, uint32_t tokens, double expertsHit);

/// Laying token rows out by slot before gate-up (compiler/kernels/layRows.cuh): each token read, each pair's row written, and the
/// slot of each pair read.
CudaWork cudaLayRowsWork(const LayerShape &shape, uint32_t tokens);

/// A layer with its routing given: expert weights and hidden states read once, outputs written once, and all arithmetic.
/// Nothing between launches counts, since it need not leave the chip.
CudaWork cudaLayerWork(const LayerShape &shape, uint32_t tokens, double expertsHit);

} // namespace moec
