// Blocks of a launch that wait for each other, or for the last of them.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/Order.cuh"

namespace moec::tile {

/// Waits until all `blocks` blocks have come here; each sees what the others wrote before. The two words are zero
/// before and after. All threads of blocks that run at the same time: nobody starts a block that others wait for.
inline __device__ void gridBarrier(uint32_t *words, uint32_t blocks) {
  __syncthreads();
  if (threadIdx.x == 0) {
    ptx::addAcquireRelease(words, 1);
    while (ptx::loadAcquire(words) < blocks) {
    }
    if (ptx::addAcquireRelease(words + 1, 1) == blocks - 1) // all have seen the sum
      words[0] = words[1] = 0;
  }
  __syncthreads();
}

/// Whether this block is the last of the grid to come here; it then sees what all the others wrote before. Counts in a
/// word that was zero; who comes last has to clear it. All threads; `shared` is a word of shared memory.
inline __device__ bool isLastBlock(uint32_t *word, uint32_t &shared) {
  __syncthreads();
  if (threadIdx.x == 0)
    shared = ptx::addAcquireRelease(word, 1) == gridDim.x - 1;
  __syncthreads();
  return shared != 0;
}

} // namespace moec::tile
