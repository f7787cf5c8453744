// The router's product in large tiles, for many tokens and experts.
//
// Small tiles read each row again for every 64 of the other side: at 256 experts the second-level
// cache is what they wait for. These stage both sides in shared memory for tiles of 128 by 128. The
// sum's order is that of the small ones, whose eight warps each add a share of it and whose sums
// are added after that: here one such sum is formed after the other.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/CpAsync.cuh"
#include "compiler/kernels/ptx/SharedMatrix.cuh"
#include "compiler/kernels/tile/RouterPlace.cuh"

namespace moec {

/// One chunk of the sums, in the order in which they are added: a share of each plane after the
/// other.
struct RouterChunk {
  const uint32_t hiddenSize, planes;
  uint32_t share = 0, plane = 0, chunk = 0;

  __device__ RouterChunk(uint32_t hiddenSize, uint32_t planes) : hiddenSize(hiddenSize), planes(planes) {}

  /// False after the last one. Each share of each plane has one chunk at least, if only one behind
  /// the sum's end.
  __device__ bool next() {
    if (++chunk < tile::RouterShare(hiddenSize, share).end)
      return true;
    if (++plane == planes) {
      plane = 0;
      ++share;
    }
    chunk = tile::RouterShare(hiddenSize, share).begin;
    return share < kRouterWarps;
  }
};

template <RouterGemmConfig C> struct StagedRouterTile {
  static constexpr uint32_t warpsTokens = 2, warpsExperts = 4;
  static constexpr uint32_t warpTokens = C.tileTokens / warpsTokens, warpExperts = C.tileExperts / warpsExperts;
  static constexpr uint32_t rowBlocks = warpTokens / 16, columnBlocks = warpExperts / 8;
  static constexpr uint32_t rowBytes = kRouterChunk * 2,
                            rowsAtOnce = routerThreads(C) / 4; // four threads copy a row
  static constexpr uint32_t tokenLoads = C.tileTokens / rowsAtOnce, weightLoads = C.tileExperts / rowsAtOnce;
  static constexpr uint32_t stages = routerStages(C), stageBytes = routerStageBytes(C);
  static_assert(warpsTokens * warpsExperts == kRouterWarps && warpTokens % 16 == 0 && warpExperts % 8 == 0);
  static_assert(C.tileTokens % rowsAtOnce == 0 && C.tileExperts % rowsAtOnce == 0);

  const tile::RouterPlace<C> &place;
  const uint32_t copied, part;          // the first row that this thread copies, and its quarter
  const uint32_t firstRow, firstColumn; // of this lane in the tile
  const uint8_t *tokens[tokenLoads];
  uint4 token[rowBlocks][2];
  float sums[rowBlocks][columnBlocks][4], total[rowBlocks][columnBlocks][4];

  __device__ explicit StagedRouterTile(const tile::RouterPlace<C> &place)
      : place(place), copied(threadIdx.x / 4), part(threadIdx.x % 4),
        firstRow(threadIdx.x / 32 % warpsTokens * warpTokens + threadIdx.x % 32 / 4),
        firstColumn(threadIdx.x / 32 / warpsTokens * warpExperts + threadIdx.x % 32 / 4), sums{}, total{} {
#pragma unroll
    for (uint32_t i = 0; i < tokenLoads; ++i)
      tokens[i] = place.tokenRow(copied + i * rowsAtOnce) + part * 16;
  }

  /// Starts copying a chunk's rows into a stage.
  __device__ void load(const RouterChunk &at, uint32_t stage) const {
    const uint32_t element = at.chunk * kRouterChunk + part * 8;
    const bool inSum = element < place.args.hiddenSize;
    const uint64_t offset = inSum ? uint64_t{at.chunk} * rowBytes : 0;
    const uint32_t to = stage + copied * rowBytes + part * 16;
#pragma unroll
    for (uint32_t i = 0; i < tokenLoads; ++i)
      ptx::cpAsync16(to + i * rowsAtOnce * rowBytes, tokens[i] + offset, inSum);
#pragma unroll
    for (uint32_t i = 0; i < weightLoads; ++i)
      ptx::cpAsync16(to + (C.tileTokens + i * rowsAtOnce) * rowBytes,
                     place.weightRow(copied + i * rowsAtOnce, at.plane) + part * 16 + offset, inSum);
  }

  static __device__ uint4 load16(uint32_t shared) {
    uint32_t values[4];
    ptx::loadShared16(values, shared);
    return make_uint4(values[0], values[1], values[2], values[3]);
  }

  __device__ void loadTokens(uint4 (&to)[2], uint32_t stage, uint32_t m) const {
#pragma unroll
    for (uint32_t half = 0; half < 2; ++half)
      to[half] = load16(stage + (firstRow + m * 16 + half * 8) * rowBytes + part * 16);
  }
  __device__ void loadWeights(uint4 (&to)[columnBlocks], uint32_t stage) const {
#pragma unroll
    for (uint32_t n = 0; n < columnBlocks; ++n)
      to[n] = load16(stage + (C.tileTokens + firstColumn + n * 8) * rowBytes + part * 16);
  }

  /// Multiplies a chunk whose fragments are in registers, and loads those of the chunk in
  /// `following` meanwhile: weights into the other set, a sixteen of tokens as soon as the last one
  /// is multiplied.
  __device__ void multiply(const uint4 (&weight)[columnBlocks], uint4 (&nextWeight)[columnBlocks], uint32_t following) {
    loadWeights(nextWeight, following);
#pragma unroll
    for (uint32_t m = 0; m < rowBlocks; ++m) {
      tile::multiplyRouterRows<C.element>(sums[m], token[m], weight);
      loadTokens(token[m], following, m);
    }
  }

  /// Adds a share's sums to the total. (The first one's are added to zero, which changes no bit but
  /// a zero's sign.)
  __device__ void addShare() {
#pragma unroll
    for (uint32_t m = 0; m < rowBlocks; ++m)
#pragma unroll
      for (uint32_t n = 0; n < columnBlocks; ++n)
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i) {
          total[m][n][i] += sums[m][n][i];
          sums[m][n][i] = 0;
        }
  }

  __device__ void store() const {
#pragma unroll
    for (uint32_t m = 0; m < rowBlocks; ++m)
#pragma unroll
      for (uint32_t n = 0; n < columnBlocks; ++n)
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i)
          place.store(firstRow + m * 16 + i / 2 * 8, firstColumn / 8 * 8 + n * 8 + part * 2 + i % 2, total[m][n][i]);
  }

  /// Ends with a barrier.
  __device__ void run() {
    extern __shared__ uint8_t unaligned[]; // but for 16 bytes, which is what is copied at a time
    const uint32_t ring = ptx::sharedAddress(unaligned);
    RouterChunk loading(place.args.hiddenSize, place.args.planes), adding = loading;
    bool more = true, any = true;
    uint32_t loadStage = 0, stage = 0;
    const auto after = [](uint32_t which) { return which + 1 == stages ? 0 : which + 1; };
    const auto loadNext = [&] {
      if (more) {
        load(loading, ring + loadStage * stageBytes);
        loadStage = after(loadStage);
        more = loading.next();
      }
      ptx::cpAsyncCommit(); // also where there is nothing: groups are counted
    };
    for (uint32_t i = 0; i + 1 < stages; ++i)
      loadNext();
    ptx::cpAsyncWait<stages - 2>();
    __syncthreads(); // the first chunk is there
    uint4 weights[2][columnBlocks];
    loadWeights(weights[0], ring);
#pragma unroll
    for (uint32_t m = 0; m < rowBlocks; ++m)
      loadTokens(token[m], ring, m);
    const auto step = [&](const uint4(&weight)[columnBlocks], uint4(&nextWeight)[columnBlocks]) {
      stage = after(stage);
      ptx::cpAsyncWait<stages - 3>();
      __syncthreads(); // the next chunk is there for all, and all have this one in registers
      loadNext();
      multiply(weight, nextWeight,
               ring + stage * stageBytes); // behind the last chunk: what some earlier one left
      const uint32_t share = adding.share;
      any = adding.next();
      if (adding.share != share)
        addShare();
    };
    while (any) {
      step(weights[0], weights[1]);
      if (any)
        step(weights[1], weights[0]);
    }
    ptx::cpAsyncWait<0>();
    store();
    __syncthreads();
  }
};

} // namespace moec
