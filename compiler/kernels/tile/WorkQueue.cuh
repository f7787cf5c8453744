// Tiles of a block with a ring of stages: one thread finds them, all who work on them take them from a queue. The tile
// table is that of Schedule.cuh.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/Barrier.cuh"
#include "compiler/kernels/ptx/Cluster.cuh"
#include "compiler/kernels/ptx/CpAsync.cuh"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/tile/FewPairs.cuh"
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

/// So many token tiles of an expert at most, of elements of so many bytes, meet all of its weights before its next ones
/// do. Where 132 blocks walked 22 token tiles at a time they read those 33 MB again for every six tiles of weights; a
/// part's 12 MB stay in the second-level cache. Mixtral, 16,384 tokens, an H100: both products read 15.6 GB of memory
/// instead of 22.6.
constexpr uint32_t tilesTogether(uint32_t elementBytes) { return 16 / elementBytes; }

/// Finds the tiles of a block: the first is that of its number, then whichever is next in the launch
/// (args.tileCounter), so that blocks which share weights run at the same time however long their tiles are.
template <GemmConfig C, uint32_t ElementBytes> struct WorkFinder {
  const GroupedGemmArgs &args;
  Work following{};
  WorkOrder order{};
  TokenTile entry{};
  uint32_t ticket = 0, index = 0, phase = 3;

  /// The block's first tile; no rows if there is none.
  __device__ Work first() {
    order = args.few.ids ? WorkOrder{fewTables().tokenTiles * columnTiles<C>(args), 0, 0, 1} : WorkOrder::of<C>(args);
    index = order.itemOf(blockIdx.x / C.clusterBlocks);
    loadTile();
    work();
    return following;
  }

  /// Looks for the next tile, in pieces that each use what the one before has loaded.
  __device__ void restart() { phase = 0; }
  __device__ bool done() const { return phase == 3; }
  template <class Queue> __device__ void advance(Queue &queue) {
    switch (phase++) {
    case 0: draw(); break;
    case 1:
      index = order.itemOf(units() + ticket);
      loadTile();
      break;
    default: work(); queue.put(following);
    }
  }

private:
  /// Who draws tiles: blocks, or clusters of them.
  static __device__ uint32_t units() { return gridDim.x / C.clusterBlocks; }

  /// Where there are more tiles than blocks. All blocks together draw order.items times, the failed draws that end them
  /// included: the counter ends where it began.
  __device__ void draw() {
    if (order.items > units())
      ticket = ptx::drawTicket(args.tileCounter, order.items);
  }

  __device__ void loadTile() {
    if (index >= order.items)
      return;
    const uint32_t tile = index / columnTiles<C>(args);
    entry = args.few.ids ? fewTables().tiles[tile] : args.tiles[tile];
  }

  /// An expert's tiles have the same number of rows, give or take 16: 272 rows are 144 and 128, not 256 and 16, whose
  /// weights would cost nearly as much to load again.
  __device__ void work() {
    following.rows = 0;
    if (index >= order.items)
      return;
    const uint32_t tiles = tilesOf<C>(entry), columns = columnTiles<C>(args), local = index - entry.firstTile * columns;
    uint32_t first = 0, here = tiles, inPart = local; // the part's token tiles, and the place among the part's work
    if (constexpr uint32_t together = tilesTogether(ElementBytes); tiles > together) {
      const uint32_t parts = (tiles + together - 1) / together, most = (tiles + parts - 1) / parts;
      first = local / (most * columns) * most;
      here = tiles - first < most ? tiles - first : most;
      inPart = local - first * columns;
    }
    const uint32_t which = first + inPart % here;
    const uint32_t rows = entry.endSlot - entry.firstSlot, units = (rows + 15) / 16, each = units / tiles,
                   more = units % tiles;
    const uint32_t before = (which * each + (which < more ? which : more)) * 16;
    const uint32_t share = (each + (which < more)) * 16, left = rows - before;
    following.expert = entry.expert;
    following.firstColumn = inPart / here * (outputColumns(C) * C.clusterBlocks);
    following.firstSlot = entry.firstSlot + before;
    following.rows = left < share ? left : share;
  }
};

} // namespace moec::tile
