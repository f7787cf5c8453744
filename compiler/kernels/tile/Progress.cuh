// How blocks of down begin with tiles whose rows are written while gate-up still computes others (GateUpProgress).
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/Order.cuh"
#include "compiler/kernels/ptx/Tma.cuh"
#include "compiler/kernels/tile/Schedule.cuh"

namespace moec::tile {

/// Whether a product says what it has written, and whether one goes by that.
template <class Ring> __device__ bool tellsProgress(const GroupedGemmArgs &args) {
  return Ring::overlaps && Ring::gated && args.progress.counts;
}
template <class Ring> __device__ bool followsProgress(const GroupedGemmArgs &args) {
  return Ring::overlaps && !Ring::gated && args.progress.counts;
}

/// Gate-up, by a thread that stores, once it has begun the stores of all of a tile's rows that are its warp's, behind a
/// barrier of the warp: adds one to `count`. Waits for its copies; those of a tile before are done long since.
inline __device__ void tellWritten(uint32_t *count) {
  ptx::bulkWait();
  ptx::addRelease(count, 1);
}

/// Down, in the thread that finds tiles or is given them. Looking costs a way to the second-level cache, so it is a
/// step of its own, and there is nothing to look at any more once gate-up is seen to have ended.
template <GemmConfig C, class Ring> class ProgressView {
public:
  __device__ explicit ProgressView(const GroupedGemmArgs &args) : args(args), open(followsProgress<Ring>(args)) {}

  /// Whether rows may be missing still.
  __device__ bool isOpen() const { return Ring::overlaps && open; }

  __device__ void look(const Work &work) {
    ended = ptx::loadRelaxed(args.progress.counts);
    ofTile = ptx::loadRelaxed(args.progress.counts + progressCount(C.tileTokens, work.expert, work.firstSlot));
  }

  /// Whether the rows of the work that was looked at are written; then what this thread does from now on comes after
  /// that. (Counts are greater where a benchmark repeats gate-up alone.)
  __device__ bool isWritten() {
    const bool whole = ended >= args.progress.all;
    if (!whole && ofTile < args.progress.ofTile)
      return false;
    ptx::fenceAcquire();
    open = !whole;
    return true;
  }

private:
  const GroupedGemmArgs &args;
  uint32_t ended = 0, ofTile = 0;
  bool open;
};

} // namespace moec::tile
