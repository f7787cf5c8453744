// Gate-up of e4m3 weights for steps of few tokens: eights of gate's and of up's rows, of all experts that the step asks
// for, are shared out evenly over all blocks, each of which quantises the tokens once, while its first weights come.
#pragma once

#include "compiler/kernels/GateUpFewAbi.h"
#include "compiler/kernels/fp8/BlockPart.cuh"
#include "compiler/kernels/fp8/FewProducts.cuh"
#include "compiler/kernels/ptx/Barrier.cuh"
#include "compiler/kernels/ptx/Elect.cuh"
#include "compiler/kernels/ptx/Element.cuh"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/ptx/Load.cuh"
#include "compiler/kernels/ptx/SharedMatrix.cuh"
#include "compiler/kernels/ptx/Tma.cuh"
#include "compiler/kernels/ptx/Wgmma.cuh"
#include "compiler/kernels/tile/Activation.cuh"
#include "compiler/kernels/tile/FewPairs.cuh"
#include "compiler/kernels/tile/Fragment.cuh"
#include "compiler/kernels/tile/Swizzle.cuh"
#include "compiler/kernels/tile/Warp.cuh"

namespace moec {

/// The experts that a step asks for, by number, a joined one first.
struct FewExperts {
  tile::FewPlace place; // of the lane's pair
  uint32_t firsts;      // lanes whose pair is their expert's first
  uint32_t joined, count;

  /// By all lanes of a warp, as all others.
  static __device__ FewExperts find(const FewPairs &few) {
    FewExperts found{tile::fewPlace(few), 0, few.joined, 0};
    const bool isReal = found.place.expert < few.numExperts;
    found.firsts = __ballot_sync(tile::allLanes, isReal && found.place.before() == 0);
    found.count = found.joined + __popc(found.firsts);
    return found;
  }
  /// The lane of the first pair of the `index`-th expert, which is not the joined one.
  __device__ uint32_t laneOf(uint32_t index) const {
    const bool isIt = (firsts >> threadIdx.x % 32 & 1) && __popc(place.lower & firsts) + joined == index;
    return __ffs(static_cast<int>(__ballot_sync(tile::allLanes, isIt))) - 1;
  }
};

/// What a block has to do: units from `first` on, `perProduct` of them at a time.
struct FewUnits {
  uint32_t first, count, perProduct;

  /// Of a step of so many units.
  static __device__ FewUnits ofBlock(uint32_t total) {
    // (below 2^32 by kGateUpFewMostN, with up to some 900 blocks)
    const auto begin = [&](uint32_t block) { return total * block / gridDim.x; };
    const uint32_t first = begin(blockIdx.x), most = (total + gridDim.x - 1) / gridDim.x;
    // As few products as can be, and of those alike in size: each reads 64 rows, whatever is in use.
    const uint32_t products = (most + kGateUpFewUnits - 1) / kGateUpFewUnits;
    return {tile::uniform(first), tile::uniform(begin(blockIdx.x + 1) - first),
            tile::uniform(products ? (most + products - 1) / products : 1)};
  }
  __device__ uint32_t products() const { return (count + perProduct - 1) / perProduct; }
  __device__ uint32_t unitsOf(uint32_t product) const {
    const uint32_t left = count - product * perProduct;
    return left < perProduct ? left : perProduct;
  }
};

template <GateUpFewConfig C, class Activation> struct GateUpFewBlock {
  static constexpr uint32_t perChunk = kGateUpFewChunk / kFp8Block; // blocks of the scales
  static constexpr uint32_t multipliers = kGateUpFewRings * 128;
  static constexpr uint32_t ahead = 4; // pieces of rows under way in a warp

  const GateUpFewFp8Args &args;
  uint32_t tiles, rows, full, empty; // shared memory: the rings' slots, the quantised tokens, barriers
  float *tokenScales;                // [blocks, kGateUpFewMostTokens], shared
  uint32_t chunks;

  __device__ uint32_t blocks() const { return chunks * perChunk; }
  __device__ uint32_t groups() const { return args.n / kGateUpFewColumns; } // units of an expert

  /// By one thread, before the block's first barrier.
  __device__ void init() const {
    for (uint32_t i = 0; i < kGateUpFewRings * kGateUpFewMostSlots; ++i) {
      ptx::barrierInit(full + i * 8, 1);
      ptx::barrierInit(empty + i * 8, 4);
    }
    ptx::fenceBarrierInit();
  }

  /// A warpgroup's slots, as they are filled and emptied.
  struct Ring {
    uint32_t tiles, full, empty, slotBytes, slots;
    uint32_t slot = 0, parity = 0;

    __device__ uint32_t at() const { return tiles + slot * slotBytes; }
    __device__ uint32_t isFull() const { return full + slot * 8; }
    __device__ uint32_t isEmpty() const { return empty + slot * 8; }
    __device__ void next() {
      if (++slot == slots) {
        slot = 0;
        parity ^= 1;
      }
    }
    __device__ void advance(uint32_t steps) {
      const uint32_t end = slot + steps, rounds = end / slots;
      slot = end - rounds * slots;
      parity ^= rounds % 2;
    }
  };
  __device__ Ring ring(uint32_t number, const FewUnits &units) const {
    // (where there is one product, its warpgroup has all slots)
    const uint32_t bytes = args.ringBytes / (units.products() > 1 ? kGateUpFewRings : 1),
                   slotBytes = units.perProduct * kGateUpFewLoadBytes;
    const uint32_t slots = bytes / slotBytes, of = number * kGateUpFewMostSlots * 8;
    return {tiles + number * bytes, full + of, empty + of, slotBytes,
            slots < kGateUpFewMostSlots ? slots : kGateUpFewMostSlots};
  }

  /// By the loading warp. `experts`: [kFewPairs + 1], shared.
  __device__ void load(const TensorMap *weights, uint32_t *experts) const {
    ptx::waitForPrevious();
    const FewExperts asked = FewExperts::find(args.few);
    if (asked.firsts >> threadIdx.x % 32 & 1)
      experts[__popc(asked.place.lower & asked.firsts) + asked.joined] = asked.place.expert + asked.joined;
    if (asked.joined && threadIdx.x % 32 == 0)
      experts[0] = 0;
    __syncwarp();
    const FewUnits units = FewUnits::ofBlock(asked.count * groups());
    Ring rings[kGateUpFewRings] = {ring(0, units), ring(1, units)};
    for (uint32_t first = 0; first < units.products(); first += kGateUpFewRings) {
      uint32_t from[kGateUpFewRings][kGateUpFewUnits];
      findUnits(experts, units, first, from);
      if (ptx::elect()) {
        Ring at[kGateUpFewRings] = {rings[0], rings[1]};
        for (uint32_t chunk = 0; chunk < chunks; ++chunk) {
          if (chunk == args.startAt && first + kGateUpFewRings >= units.products())
            ptx::startNext();
#pragma unroll
          for (uint32_t r = 0; r < kGateUpFewRings; ++r)
            if (first + r < units.products())
              loadChunk(weights, units.unitsOf(first + r), from[r], chunk, at[r]);
        }
      }
      __syncwarp();
      for (Ring &ring : rings) // (the elected lane went round with rings of its own)
        ring.advance(chunks);
    }
    ptx::startNext();
  }

  /// Where the weights of units begin, as the map counts: those of a product for each ring. By all lanes, one a unit:
  /// found anew for each load, by the thread that loads, they took longer than the loads.
  __device__ void findUnits(const uint32_t *experts, const FewUnits &units, uint32_t product,
                            uint32_t (&from)[kGateUpFewRings][kGateUpFewUnits]) const {
    const uint32_t lane = threadIdx.x % 32, ring = lane / kGateUpFewUnits % kGateUpFewRings,
                   number = (product + ring) * units.perProduct + lane % kGateUpFewUnits;
    const uint32_t unit = units.first + (number < units.count ? number : 0), expert = unit / groups();
    const uint32_t mine = experts[expert] * args.expertGroups + (unit - expert * groups());
#pragma unroll
    for (uint32_t r = 0; r < kGateUpFewRings; ++r)
#pragma unroll
      for (uint32_t i = 0; i < kGateUpFewUnits; ++i)
        from[r][i] = __shfl_sync(tile::allLanes, mine, r * kGateUpFewUnits + i);
  }

  __device__ void loadChunk(const TensorMap *weights, uint32_t count, const uint32_t (&from)[kGateUpFewUnits],
                            uint32_t chunk, Ring &ring) const {
    ptx::barrierWait(ring.isEmpty(), ring.parity ^ 1);
    ptx::barrierArriveExpect(ring.isFull(), count * kGateUpFewLoadBytes);
#pragma unroll
    for (uint32_t i = 0; i < kGateUpFewUnits; ++i)
      if (i < count)
        ptx::tmaLoadGateUpGroups(ring.at() + i * kGateUpFewLoadBytes, weights, chunk * perChunk, from[i],
                                 ring.isFull());
    ring.next();
  }

  static_assert(kGateUpFewMostTokens * kFp8Block == kFewTileBytes);
  __device__ uint32_t rowTile(uint32_t block) const { return rows + block * kFewTileBytes; }

  /// By all multiplying warps, each its share; zeros beyond the rows' end.
  __device__ void quantiseTokens() const {
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = multipliers / 32;
    const uint32_t items = args.few.numTokens * chunks;
    for (uint32_t first = warp; first < items; first += ahead * warps) {
      uint4 parts[ahead];
#pragma unroll
      for (uint32_t i = 0; i < ahead; ++i) {
        const uint32_t item = first + i * warps, token = item / chunks,
                       column = item % chunks * kGateUpFewChunk + lane * 8;
        const bool exists = item < items && column < args.k;
        parts[i] = ptx::load16(tile::elementAt(args.tokens, exists ? token : 0, args.k, exists ? column : 0), exists);
      }
      float most[ahead];
#pragma unroll
      for (uint32_t i = 0; i < ahead; ++i)
        most[i] = BlockPart<C.element>(parts[i]).ownMost();
      sixteenLanesMost(most);
#pragma unroll
      for (uint32_t i = 0; i < ahead; ++i) {
        const uint32_t item = first + i * warps;
        if (item >= items)
          break;
        const uint32_t token = item / chunks, block = item % chunks * perChunk + lane / 16;
        ptx::storeShared8(rowTile(block) + tile::swizzled(token, lane % 16 / 2) + lane % 2 * 8,
                          BlockPart<C.element>(parts[i]).times(kFp8Most / most[i]));
        if (lane % 16 == 0)
          tokenScales[block * kGateUpFewMostTokens + token] = most[i] / kFp8Most;
      }
    }
    for (uint32_t i = threadIdx.x; i < blocks() * kGateUpFewMostTokens; i += multipliers)
      if (i % kGateUpFewMostTokens >= args.few.numTokens)
        tokenScales[i] = 0;
  }

  /// The scales of a unit's weights, a lane those of two blocks.
  struct WeightScales {
    float gate[2], up[2];
  };

  /// A warp's unit of a product.
  struct Unit {
    bool exists;
    uint32_t column, expert; // the first column; as the weights have experts
    uint32_t pairs;          // lanes of those that go to the expert; of a joined one not looked at
    bool isJoined;
    WeightScales scales;
  };

  /// By all lanes of a warp.
  __device__ Unit unitOf(const FewExperts &asked, const FewUnits &units, uint32_t product) const {
    const uint32_t lane = threadIdx.x % 32, number = threadIdx.x / 32 % 4;
    Unit unit{};
    unit.exists = product < units.products() && number < units.unitsOf(product);
    const uint32_t at = unit.exists ? units.first + product * units.perProduct + number : units.first,
                   index = at / groups();
    unit.column = at % groups() * kGateUpFewColumns;
    unit.isJoined = index < asked.joined;
    const uint32_t from = asked.laneOf(index) % 32;
    unit.pairs = __shfl_sync(tile::allLanes, asked.place.alike, from);
    unit.expert = unit.isJoined ? 0 : __shfl_sync(tile::allLanes, asked.place.expert, from) + asked.joined;
    const uint32_t kBlocks = args.k / kFp8Block;
    const uint64_t scales = static_cast<uint64_t>(unit.expert) * args.expertScaleStride +
                            static_cast<uint64_t>(unit.column / kFp8Block) * kBlocks;
#pragma unroll
    for (uint32_t i = 0; i < 2; ++i) {
      const bool has = unit.exists && lane + i * 32 < kBlocks;
      unit.scales.gate[i] = has ? args.weightScales[scales + lane + i * 32] : 0;
      unit.scales.up[i] = has ? args.upWeightScales[scales + lane + i * 32] : 0;
    }
    return unit;
  }

  template <uint32_t Count>
  __device__ void multiplyChunks(Ring &of, uint32_t chunk, const WeightScales &scales, float (&sums)[4]) const {
    float products[Count][perChunk][4];
    Ring filled = of;
    ptx::wgmmaFence();
#pragma unroll
    for (uint32_t i = 0; i < Count; ++i) {
      ptx::barrierWait(filled.isFull(), filled.parity);
      startFewProducts(filled.at(), rowTile((chunk + i) * perChunk), products[i]);
      filled.next();
    }
    ptx::wgmmaCommit();
    ptx::wgmmaWait<0>();
#pragma unroll
    for (uint32_t i = 0; i < Count; ++i) {
      if (threadIdx.x % 32 == 0)
        ptx::barrierArrive(of.isEmpty());
      of.next();
      addProducts(products[i], scales, (chunk + i) * perChunk, sums);
    }
  }

  /// By the multiplying warps.
  __device__ void multiply() const {
    ptx::waitForPrevious();
    const uint32_t group = tile::warpgroup();
    quantiseTokens();
    const FewExperts asked = FewExperts::find(args.few);
    const FewUnits units = FewUnits::ofBlock(asked.count * groups());
    Unit unit = unitOf(asked, units, group);
    ptx::fenceProxyAsync(); // wgmma reads what this lane has written
    ptx::namedBarrier<1, multipliers>();
    Ring of = ring(group, units);
    const uint32_t atOnce = of.slots >= 2 ? 2 : 1;
    for (uint32_t product = group; product < units.products(); product += kGateUpFewRings) {
      const Unit next = unitOf(asked, units, product + kGateUpFewRings);
      float sums[4] = {};
#pragma unroll 1
      for (uint32_t chunk = 0; chunk < chunks; chunk += atOnce)
        if (atOnce == 2 && chunk + 1 < chunks)
          multiplyChunks<2>(of, chunk, unit.scales, sums);
        else
          multiplyChunks<1>(of, chunk, unit.scales, sums);
      if (unit.exists)
        leave(sums, unit, asked);
      unit = next;
    }
  }

  /// Adds the products, times their scales, to the sums. A lane has two tokens; its first weight row is gate's and its
  /// second up's.
  __device__ void addProducts(const float (&products)[perChunk][4], const WeightScales &scales, uint32_t first,
                              float (&sums)[4]) const {
#pragma unroll
    for (uint32_t i = 0; i < perChunk; ++i) {
      const uint32_t block = first + i, lane = block % 32;
      const float gate = __shfl_sync(tile::allLanes, block < 32 ? scales.gate[0] : scales.gate[1], lane),
                  up = __shfl_sync(tile::allLanes, block < 32 ? scales.up[0] : scales.up[1], lane);
      const float *ofTokens = tokenScales + block * kGateUpFewMostTokens + threadIdx.x % 4 * 2;
      const float ofFirst = ofTokens[0], ofSecond = ofTokens[1];
      sums[0] += products[i][0] * (ofFirst * gate);
      sums[1] += products[i][1] * (ofSecond * gate);
      sums[2] += products[i][2] * (ofFirst * up);
      sums[3] += products[i][3] * (ofSecond * up);
    }
  }

  /// Writes the unit's outputs into the rows of its expert.
  __device__ void leave(const float (&sums)[4], const Unit &unit, const FewExperts &asked) const {
    const uint32_t lane = threadIdx.x % 32, column = unit.column + lane / 4;
    const uint32_t both =
        ptx::Convert<C.element>::pack(Activation::apply(sums[0], sums[2]), Activation::apply(sums[1], sums[3]));
    const auto put = [&](uint32_t token, uint32_t slot) {
      if (lane % 4 == token / 2)
        *reinterpret_cast<uint16_t *>(tile::elementAt(args.output, slot, args.n, column)) =
            static_cast<uint16_t>(token % 2 ? both >> 16 : both);
    };
    if (unit.isJoined) {
      for (uint32_t token = 0; token < args.few.numTokens; ++token)
        put(token, token);
      return;
    }
    const int32_t slotOfLane = tile::fewSlot(args.few, asked.place);
    for (uint32_t left = unit.pairs; left; left &= left - 1) {
      const uint32_t pair = __ffs(static_cast<int>(left)) - 1;
      put(pair / args.few.topK, static_cast<uint32_t>(__shfl_sync(tile::allLanes, slotOfLane, pair)));
    }
  }
};

/// output[slot, n] = activation(gate, up) of the slot's token and expert: the bits that groupedGemmFp8 gives.
/// `weights`: gateUpFewTensor() (compiler/core/DownFewTensor.h).
///
/// Launch: any grid of kGateUpFewThreads threads (a block a multiprocessor), gateUpFewSharedBytes(k, args.ringBytes).
template <GateUpFewConfig C, class Activation>
__global__ void __launch_bounds__(kGateUpFewThreads, 2)
    gateUpFewFp8(const __grid_constant__ TensorMap weights, const __grid_constant__ GateUpFewFp8Args args) {
  extern __shared__ uint8_t unaligned[];
  __shared__ __align__(8) uint64_t barriers[2 * kGateUpFewRings * kGateUpFewMostSlots];
  __shared__ __align__(16) float tokenScales[kGateUpFewMostK / kFp8Block * kGateUpFewMostTokens];
  __shared__ uint32_t experts[kFewPairs + 1];
  static_assert(sizeof(barriers) + sizeof(tokenScales) + sizeof(experts) <= kGateUpFewOtherBytes);
  const uint32_t full = ptx::sharedAddress(barriers);
  const uint32_t tiles = (ptx::sharedAddress(unaligned) + 1023) / 1024 * 1024;
  const GateUpFewBlock<C, Activation> block{args,
                                            tiles,
                                            tiles + args.ringBytes,
                                            full,
                                            full + kGateUpFewRings * kGateUpFewMostSlots * 8,
                                            tokenScales,
                                            (args.k + kGateUpFewChunk - 1) / kGateUpFewChunk};
  const uint32_t warp = tile::uniform(threadIdx.x / 32);
  if (warp == kGateUpFewRings * 4 && ptx::elect()) {
    ptx::prefetchTensorMap(&weights);
    block.init();
  }
  __syncthreads();
  if (warp == kGateUpFewRings * 4)
    block.load(&weights, experts);
  else
    block.multiply();
}

} // namespace moec
