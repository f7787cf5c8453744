// What each launch of a layer has to do on a GPU, whatever kernel does it: bytes and operations, for floors.
#pragma once

#include "compiler/core/Package.h"

namespace moec {

/// The least that a launch moves and computes.
struct CudaWork {
  double bytes = 0; // read and written, each once: the launch's operands, wherever they lie
  double flops = 0;
  double e4m3Flops = 0; // those of them that go at twice the rate

  /// Nanoseconds below which it cannot take less: the longer of the two at these rates, the second of two-byte
  /// elements.
  double floorNs(double bytesPerNs, double flopsPerNs) const {
    const double memoryNs = bytes / bytesPerNs, computeNs = (flops - e4m3Flops / 2) / flopsPerNs;
    return memoryNs > computeNs ? memoryNs : computeNs;
  }
  CudaWork &operator+=(const CudaWork &other) {
    bytes += other.bytes;
    flops += other.flops;
    e4m3Flops += other.e4m3Flops;
    return *this;
  }
};

/// One launch of a step of `tokens` tokens whose pairs go to `expertsHit` routed experts (an average: not whole), in
/// the layer's dtype, a shared expert that joins them counted with them (JoinedShared.h), with a router weight of that
/// dtype. Rows between launches are counted where they are written and where they are read, though small ones stay in
/// the second-level cache. `e4m3`: the routed experts' products are of e4m3 elements (multipliesE4M3, CudaTiles.h), and
/// take rows that were quantised; scales do not count, which are below 1 %.
CudaWork cudaLaunchWork(LaunchKind kind, const LayerShape &shape, uint32_t tokens, double expertsHit,
                        bool e4m3 = false);

/// Quantising (compiler/kernels/quantise.cuh) tokens into rows by slot before gate-up, and what is activated before
/// down.
CudaWork cudaQuantiseTokensWork(const LayerShape &shape, uint32_t tokens);
CudaWork cudaQuantiseActivatedWork(const LayerShape &shape, uint32_t tokens);

/// A layer with its routing given: expert weights and hidden states read once, outputs written once, and all
/// arithmetic. Nothing between launches counts, since it need not leave the chip.
CudaWork cudaLayerWork(const LayerShape &shape, uint32_t tokens, double expertsHit, bool e4m3 = false);

} // namespace moec
