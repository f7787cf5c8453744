// A ring of stages in shared memory, with a barrier that says "full" and one that says "empty" for each.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/Barrier.cuh"
#include "compiler/kernels/ptx/Descriptor.cuh"

namespace moec::tile {

/// Who fills stages and who empties them each have a copy and go round by themselves.
template <uint32_t Count, uint32_t Bytes> struct Stages {
  static constexpr uint32_t bytes = Bytes; // of a stage

  uint32_t tiles, barriers; // shared memory, `tiles` at a multiple of 1024 bytes
  uint32_t stage = 0, parity = 0;

  __device__ uint32_t at(uint32_t which) const { return tiles + which * bytes; }
  /// The matrix descriptor of what begins so many times 16 bytes behind the present stage's begin. Sums of sixteenths,
  /// for few instructions: between two products of e4m3 nothing else hides them.
  __device__ uint64_t tileAt(uint32_t sixteens) const {
    return ptx::tileBehind(ptx::swizzledTile(tiles), stage * (bytes / 16) + sixteens);
  }
  __device__ uint32_t full() const { return barriers + stage * 8; }
  __device__ uint32_t emptyOf(uint32_t which) const { return barriers + (Count + which) * 8; }
  __device__ void waitEmpty() const { ptx::barrierWait(emptyOf(stage), parity ^ 1); }

  __device__ void next() {
    if (++stage == Count) {
      stage = 0;
      parity ^= 1;
    }
  }
  /// As next(), so many times.
  __device__ void advance(uint32_t times) {
    const uint32_t sum = stage + times, rounds = sum / Count;
    stage = sum - rounds * Count;
    parity ^= rounds & 1;
  }
  /// The stage `back` before the present one.
  __device__ uint32_t before(uint32_t back) const { return stage >= back ? stage - back : stage + Count - back; }

  /// By one thread, before the block's first barrier. So many arrivals fill a stage, so many empty it.
  __device__ void init(uint32_t fillers, uint32_t releases) const {
    for (uint32_t i = 0; i < Count; ++i) {
      ptx::barrierInit(barriers + i * 8, fillers);
      ptx::barrierInit(emptyOf(i), releases);
    }
    ptx::fenceBarrierInit();
  }
};

} // namespace moec::tile
