// How a block with a ring of stages finds its tiles. The tile table is that of Schedule.cuh.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/tile/FewPairs.cuh"
#include "compiler/kernels/tile/Progress.cuh"
#include "compiler/kernels/tile/Schedule.cuh"
#include "compiler/kernels/tile/WorkKinds.cuh"

namespace moec::tile {

/// So many token tiles of an expert at most, of elements of so many bytes, meet all of its weights before its next ones
/// do; its tiles are shared out evenly among as few parts as that takes. Where 132 blocks walked 22 token tiles at a
/// time they read those 33 MB again for every six tiles of weights; a part's 12 MB stay in the second-level cache (rows
/// of e4m3 are half as long). Mixtral, 16,384 tokens, an H100: both products read 15.6 GB of memory instead of 22.6.
/// Where kinds mix, clusters of hot experts keep step, and a round of some 40 of them reads least with parts of about
/// ten.
constexpr uint32_t tilesTogether(uint32_t elementBytes, bool mixed) { return elementBytes == 1 ? 16 : mixed ? 12 : 8; }

/// Finds the tiles of a block: the first is that of its number, then whichever is next of its kind (WorkKinds), so that
/// blocks which share weights run at the same time however long their tiles are. Who finds its own kind used up goes on
/// with the other.
template <GemmConfig C, class Ring> struct WorkFinder {
  const GroupedGemmArgs &args;
  Work following{};
  TokenTile entry{};
  WorkKind own{}, other{};
  uint32_t items = 0, ticket = 0, index = 0, phase = end;
  bool mixed = false;
  ProgressView<C, Ring> view{args};

  /// The block's first tile; no rows if there is none.
  __device__ Work first() {
    const uint32_t unit = blockIdx.x / C.clusterBlocks;
    const WorkKinds kinds = findKinds();
    items = kinds.several.items + kinds.single.items;
    mixed = kinds.single.items > 0;
    const WorkKinds::Start start = kinds.startOf(unit);
    own = start.own;
    other = start.other;
    index = start.item;
    loadTile();
    work();
    return following;
  }

  /// Whether there are so many tiles for each block; after first().
  __device__ bool hasRounds(uint32_t rounds) const { return items >= rounds * units(); }

  /// Looks for the next tile, in pieces that each use what the one before has loaded.
  __device__ void restart() { phase = 0; }
  __device__ bool done() const { return phase == end; }
  template <class Queue> __device__ void advance(Queue &queue) {
    switch (phase++) { // (of few cases, so that they are compared and not jumped to through a table)
    case 0: return draw();
    case 1: return pick();
    default:
      if (!isReady())
        return;
      queue.put(following);
      phase = end;
    }
  }

  /// Waits until the rows of the tile found last are written, if it goes by that.
  __device__ void waitForRows() {
    if (!mayBeUnwritten())
      return;
    do
      view.look(following);
    while (!view.isWritten());
  }

  /// As if it had found and looked at a tile which another block of the cluster gave this one: st.async hands on
  /// nothing of what its sender has seen.
  __device__ void seeGiven(const Work &work) {
    following = work;
    waitForRows();
  }

private:
  static constexpr uint32_t looked = 3, end = Ring::overlaps ? 4 : 3; // phases

  __device__ bool mayBeUnwritten() const { return view.isOpen() && following.rows > 0; }

  /// Finds the tile, in the first of these pieces, and says whether its rows are there: a look's answer is used in the
  /// piece after it. (`phase` is past that piece's already, so who returns false sets it back.)
  __device__ bool isReady() {
    const bool first = !Ring::overlaps || phase == looked;
    if (first)
      work();
    if (first ? !mayBeUnwritten() : view.isWritten())
      return true;
    view.look(following);
    phase = looked;
    return false;
  }

  /// Who draws tiles: blocks, or clusters of them.
  static __device__ uint32_t units() { return gridDim.x / C.clusterBlocks; }

  __device__ WorkKinds findKinds() const {
    const uint32_t columns = columnTiles<C>(args);
    if (args.few.ids)
      return WorkKinds::alike(fewTables<C>().tokenTiles * columns, units());
    const TileHead head = *args.tileHead; // one access
    return WorkKinds::of(head, columns, units());
  }

  /// Where there are more tiles than blocks.
  __device__ void draw() {
    if (items > units())
      ticket = ptx::drawTicket(args.tileCounters + own.counter, own.draws(units()));
    else
      ticket = own.items; // (all are given)
  }

  __device__ void pick() {
    const uint32_t place = own.given + ticket;
    if (place >= own.items && other.items > 0) {
      own = other;
      other.items = 0;
      restart();
      return;
    }
    index = place < own.items ? own.begin + place : items;
    loadTile();
  }

  __device__ void loadTile() {
    if (index >= items)
      return;
    const uint32_t tile = index / columnTiles<C>(args);
    entry = args.few.ids ? unpackTile(fewTables<C>().tiles[tile]) : args.tiles[tile];
  }

  /// An expert's tiles have the same number of rows, give or take 16: 272 rows are 144 and 128, not 256 and 16, whose
  /// weights would cost nearly as much to load again.
  __device__ void work() {
    following.rows = 0;
    if (index >= items)
      return;
    const uint32_t tiles = tilesOf<C>(entry), columns = columnTiles<C>(args), local = index - entry.firstTile * columns;
    uint32_t first = 0, here = tiles, inPart = local; // the part's token tiles, and the place among the part's work
    if (const uint32_t together = tilesTogether(Ring::elementBytes, mixed); tiles > together) {
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
