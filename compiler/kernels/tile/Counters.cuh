// Leaving a step's counts where the host finds them, without anybody waiting.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/tile/Warp.cuh"

namespace moec::tile {

/// Writes one sample, count(0) to count(numExperts - 1), into the ring (KernelAbi.h, CountsRing). By one warp.
///
/// The stores are of eight bytes and volatile, so each arrives whole or not yet; its number says which sample it
/// belongs to, so none of them has to wait for another. The number comes from an atomic: steps of several streams may
/// share a ring.
template <class Count>
__device__ void sampleCounts(const CountsRing &ring, uint32_t numExperts, Count count, uint32_t numPairs) {
  if (!ring.words)
    return;
  const uint32_t lane = threadIdx.x % 32;
  uint32_t sequence = lane == 0 ? atomicAdd(ring.sequence, 1u) + 1 : 0;
  sequence = __shfl_sync(allLanes, sequence, 0);
  volatile uint64_t *sample = ring.words + static_cast<uint64_t>(sequence % ring.numSamples) * (numExperts + 1);
  for (uint32_t i = lane; i <= numExperts; i += 32)
    sample[i] = countWord(sequence, i < numExperts ? count(i) : numPairs);
}

} // namespace moec::tile
