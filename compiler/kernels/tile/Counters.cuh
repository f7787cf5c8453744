// Leaving a step's counts where the host finds them, without anybody waiting.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/tile/FewPairs.cuh"
#include "compiler/kernels/tile/Warp.cuh"

namespace moec::tile {

/// One sample in the ring (KernelAbi.h, CountsRing).
///
/// The stores are of eight bytes and volatile, so each arrives whole or not yet; its number says which sample it
/// belongs to, so none of them has to wait for another. The number comes from an atomic: steps of several streams may
/// share a ring.
struct Sample {
  volatile uint64_t *words;
  uint32_t sequence;

  /// The next sample. By one warp.
  static __device__ Sample next(const CountsRing &ring, uint32_t numExperts) {
    uint32_t sequence = threadIdx.x % 32 == 0 ? atomicAdd(ring.sequence, 1u) + 1 : 0;
    sequence = __shfl_sync(allLanes, sequence, 0);
    return {ring.words + static_cast<uint64_t>(sequence % ring.numSamples) * (numExperts + 1), sequence};
  }

  /// Pairs of an expert; of number numExperts: all pairs of the step.
  __device__ void write(uint32_t expert, uint32_t pairs) const { words[expert] = countWord(sequence, pairs); }
};

/// Writes one sample, count(0) to count(numExperts - 1), into the ring. By one warp.
template <class Count>
__device__ void sampleCounts(const CountsRing &ring, uint32_t numExperts, Count count, uint32_t numPairs) {
  if (!ring.words)
    return;
  const Sample sample = Sample::next(ring, numExperts);
  for (uint32_t i = threadIdx.x % 32; i <= numExperts; i += 32)
    sample.write(i, i < numExperts ? count(i) : numPairs);
}

/// Likewise of a step that dispatch did not count.
inline __device__ void sampleFewCounts(const CountsRing &ring, const FewPairs &few) {
  if (!ring.words)
    return;
  const uint32_t lane = threadIdx.x % 32;
  const FewPlace place = fewPlace(few);
  const Sample sample = Sample::next(ring, few.numExperts);
  for (uint32_t first = 0; first < few.numExperts; first += 32) // all lanes count
    if (const uint32_t i = first + lane, count = fewCounts(place, i); i < few.numExperts)
      sample.write(i, count);
  if (lane == 0)
    sample.write(few.numExperts, few.numTokens * few.topK);
}

} // namespace moec::tile
