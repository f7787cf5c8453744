// Tiles of a block with a ring of stages: one thread finds them (WorkFinder.cuh), all who work on them take them from a
// queue.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/Barrier.cuh"
#include "compiler/kernels/ptx/Cluster.cuh"
#include "compiler/kernels/ptx/SharedMatrix.cuh"
#include "compiler/kernels/tile/Schedule.cuh"
#include "compiler/kernels/tile/Warp.cuh"

namespace moec::tile {

/// Two tiles, each with barriers that say "full" and "empty". A tile without rows ends the queue.
struct SharedWork {
  uint4 work[2]; // the fields of Work in their order: one access
  uint64_t full[2], empty[2];
};

/// `Takers` warps of a block take each tile. Blocks of a cluster (`Blocks` of them) have the same tiles, which the
/// first one gives to all; then the loading thread of each takes them as well.
template <uint32_t Takers, uint32_t Blocks> struct WorkQueue {
  static constexpr bool shares = Blocks > 1;

  SharedWork *shared;
  uint32_t place = 0, parity = 0;

  /// By one thread, before the block's first barrier.
  __device__ void init() const {
    for (uint32_t i = 0; i < 2; ++i) {
      ptx::barrierInit(ptx::sharedAddress(&shared->full[i]), 1);
      ptx::barrierInit(ptx::sharedAddress(&shared->empty[i]), shares ? Blocks * (Takers + 1) : Takers);
    }
    ptx::fenceBarrierInit();
  }

  /// By the loading thread of each block in a cluster, once what the block reads for its tiles is there: tiles come
  /// from another block, and say nothing of this one's tables.
  __device__ void open() const {
    for (uint32_t i = 0; i < 2; ++i)
      ptx::barrierArriveExpect(ptx::sharedAddress(&shared->full[i]), sizeof(uint4));
  }

  /// By one thread.
  __device__ void put(const Work &work) {
    const uint4 value = make_uint4(work.expert, work.firstSlot, work.rows, work.firstColumn);
    const uint32_t full = ptx::sharedAddress(&shared->full[place]);
    ptx::barrierWait(ptx::sharedAddress(&shared->empty[place]), parity ^ 1);
    if constexpr (shares) {
      for (uint32_t rank = 0; rank < Blocks; ++rank)
        ptx::storeAsync16(ptx::sharedAddress(&shared->work[place]), value, full, rank);
    } else {
      shared->work[place] = value;
      ptx::barrierArrive(full);
    }
    next();
  }

  /// By all lanes of a warp.
  __device__ Work take() {
    ptx::barrierWait(ptx::sharedAddress(&shared->full[place]), parity);
    const uint4 work = shared->work[place];
    __syncwarp();
    if (threadIdx.x % 32 == 0)
      giveBack();
    next();
    return {work.x, work.y, uniform(work.z), work.w}; // rows decide what the warp does
  }

  /// By the loading thread of a block in a cluster.
  __device__ Work takeAlone() {
    const uint32_t full = ptx::sharedAddress(&shared->full[place]);
    ptx::barrierWait(full, parity);
    const uint4 work = shared->work[place];
    ptx::barrierArriveExpect(full, sizeof(uint4)); // of the tile after the next
    giveBack();
    next();
    return {work.x, work.y, work.z, work.w};
  }

  __device__ void next() {
    parity ^= place;
    place ^= 1;
  }

private:
  __device__ void giveBack() const {
    const uint32_t empty = ptx::sharedAddress(&shared->empty[place]);
    if constexpr (shares)
      ptx::barrierArriveAt(empty, 0);
    else
      ptx::barrierArrive(empty);
  }
};

} // namespace moec::tile
