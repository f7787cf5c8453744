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

/// Down, in the thread that finds tiles. Looking costs a way to the second-level cache, so it is a step of its own, and
/// there is nothing to look at any more once gate-up is seen to have ended.
template <GemmConfig C, class Ring> class ProgressView {
public:
  __device__ explicit ProgressView(const GroupedGemmArgs &args) : args(args), open(followsProgress<Ring>(args)) {}

  /// Whether rows may be missing still.
  __device__ bool isOpen() const { return Ring::overlaps && open; }

  __device__ void look(uint32_t expert) {
    ended = ptx::loadRelaxed(args.progress.counts);
    ofExpert = ptx::loadRelaxed(args.progress.counts + 1 + expert);
  }

  /// Whether all rows of the entry's expert, which was looked at, are written; then what this thread does from now on
  /// comes after that.
  __device__ bool isWritten(const TokenTile &entry) {
    if (!isWhole() && ofExpert < tilesOf<C>(entry) * args.progress.ofTile)
      return false;
    see();
    return true;
  }

  /// By a thread that was told by another block of its cluster, which has looked, that an expert's rows are written. It
  /// looks for itself, since st.async hands on nothing of what its sender has seen; not whether counts are full: a look
  /// after the message reads what the sender's look did, or later (both are at the second-level cache).
  __device__ void seeTold(uint32_t expert) {
    look(expert);
    see();
  }

private:
  /// (More than all, where a benchmark repeats gate-up alone.)
  __device__ bool isWhole() const { return ended >= args.progress.all; }
  __device__ void see() {
    ptx::fenceAcquire();
    open = !isWhole();
  }

  const GroupedGemmArgs &args;
  uint32_t ended = 0, ofExpert = 0;
  bool open;
};

} // namespace moec::tile
