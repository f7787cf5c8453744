// Bugs to plant. Each changes what one instruction does, or how a kernel calls it; the machine must then fail.
#pragma once

#include <cstdint>

namespace moec::emulation {

enum class Bug : uint8_t {
  None,
  SkipBarrierWait, // waits for the `detail`-th barrier of the block's first array do not wait
  SkipLaterWait,   // likewise of the array whose barriers are initialised after a fence (a queue's)
  WrongParity,     // all waits for the other parity
  SkipBarrierInitFence,
  ArrivalsTooMany, // barrierInit with one more
  ArrivalsTooFew,  // barrierInit with one less
  SkipProxyFence,
  SkipGlobalProxyFence,
  BytesTooFew, // expect_tx half of what comes
  BytesTooMany,
  BytesNotExpected,  // arrive without expect_tx
  CopyGroupOffByOne, // cp.async.wait_group N + 1
  SkipCopyCommit,
  SkipCopyArrive,   // one thread's cp.async.mbarrier.arrive
  CopyArriveEarly,  // a plain arrival in its place
  CopyWrongPlace,   // cp.async to the neighbouring 16 bytes
  CopyInvalid,      // the valid flag is ignored
  CopyFromNext,     // cp.async of what lies behind in device memory, where anything does
  SkipSyncThreads,  // the `detail`-th of each thread
  SkipSyncWarp,     // all of them
  SkipNamedBarrier, // bar.sync 1 .. 15: every second of each thread, the first if `detail` is 0
  WgmmaWaitWeak,    // wait_group N + 1
  WgmmaKeepsSum,    // adds where it is to begin a sum
  SkipWgmmaWait,
  SkipWgmmaFence,
  SkipWgmmaCommit,
  SkipRelease,      // barrierArrive is not executed
  DoubleRelease,    // barrierArrive twice
  DescriptorStride, // stride of groups of eight rows is doubled
  DescriptorNoSwizzle,
  DescriptorAdvance, // advance by twice the elements
  TmaWrongRow,       // the box starts a row late
  TmaWrongPlace,     // lands 128 bytes further
  SwizzleWrong,      // tmaLoad3d does not swizzle
  SkipBulkCommit,    // stores belong to no group
  SkipBulkWaitRead,  // cp.async.bulk.wait_group.read
  SkipBulkWait,      // the same without .read
  BulkWaitReads,     // that one waits for the reads alone
  FragmentRow,       // ldmatrix takes the row of the lane next to it
  FragmentTranspose, // movmatrix does not transpose
  MmaOperandOrder,   // mma.sync gets b1 and b0
  LostLane,          // shuffles leave lane 31 out of the mask
  ShuffleStep,       // shfl_xor by twice the step
  ReduceMask,        // reductions see only half of the lanes
  NoWaitForPrevious, // griddepcontrol.wait is missing
  NoOverlappedWait,  // likewise, of the second of two launches that overlap
  UnevenRegisters,   // one warp gives 8 registers fewer
  RegistersNeverGiven,
  RelaxedAtomics,        // atomics neither acquire nor release
  SkipClusterBarrier,    // the `detail`-th of each thread
  RelaxedClusterBarrier, // none releases
  SkipRemoteArrive,      // arrivals at other blocks' barriers
  ArriveAtOwn,           // arrivals at others' come to the block's own
  MulticastToOne,        // multicast copies come to the block alone that asks for them
};

struct Plant {
  Bug bug = Bug::None;
  uint32_t detail = 0;
};

/// What is planted now. Set by tests around a launch.
inline Plant planted;
inline bool isPlanted(Bug bug) { return planted.bug == bug; }

} // namespace moec::emulation
