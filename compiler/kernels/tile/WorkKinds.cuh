// The tiles of a launch in two kinds, and which blocks begin with which.
#pragma once

#include "compiler/kernels/KernelAbi.h"

namespace moec::tile {

/// Work items that follow each other in the table, and so many of them that blocks begin with; the others are drawn.
struct WorkKind {
  uint32_t begin = 0, items = 0, given = 0;
  uint32_t counter = 0; ///< of args.tileCounters

  /// How often all blocks together draw: what they do not begin with, and each once in vain. Then the counter is where
  /// it began.
  __device__ uint32_t draws(uint32_t units) const { return items - given + units; }
};

/// Weights of an expert with one token tile are read for few rows, so its tiles wait for memory; tiles of experts with
/// several share theirs in the second-level cache and wait for products. Where one kind comes after the other, memory
/// rests first and tensor cores then. So where dispatch says that both count (TileHead) each has a share of the blocks.
/// Blocks of one kind take tiles of one length, so those that begin with the same weights end with them as well and go
/// on to the next ones together, while the second-level cache still has what they share. (In one order for both kinds
/// they drifted apart within a round: gate-up of the DSv3 slice, zipf 3, 4,096 tokens, read 1.36 GB where its weights
/// and tokens are 1.06.)
struct WorkKinds {
  WorkKind several, single;

  /// All of them in the order of the table.
  static __device__ WorkKinds alike(uint32_t items, uint32_t units) {
    return {{.begin = 0, .items = items, .given = units, .counter = 0}, {}};
  }

  /// `columns`: of tiles; `units`: blocks, or clusters of them.
  static __device__ WorkKinds of(const TileHead &head, uint32_t columns, uint32_t units) {
    const uint32_t items = head.tokenTiles * columns, inFront = head.severalTiles * columns;
    if (head.severalTiles == 0 || items <= units)
      return alike(items, units);
    const uint32_t given = givenSeveral(head, units), most = inFront < units ? inFront : units;
    const uint32_t first = given < most ? given : most;
    return {{.begin = 0, .items = inFront, .given = first, .counter = 0},
            {.begin = inFront, .items = items - inFront, .given = units - first, .counter = 1}};
  }

  /// What a unit begins with: its kind, the one that it goes on with, and its first item.
  struct Start {
    WorkKind own, other;
    uint32_t item;
  };
  __device__ Start startOf(uint32_t unit) const {
    const bool isSingle = unit >= several.given; // (selects, not branches)
    const WorkKind &own = isSingle ? single : several, &other = isSingle ? several : single;
    return {own, other, own.begin + unit - (isSingle ? several.given : 0)};
  }

private:
  /// So that both kinds end at about the same time (and, with a ratio of 1 or more, never fewer than leave each other
  /// unit a tile of its own): a tile of an expert with several takes some 4/3 of another's time
  /// (125 us and 92 in one order for both; 1.4 to 2 times with blocks for each). With 1 instead some layers are up to 7
  /// % slower, with 5/3 or 2 as many slower as quicker (docs/performance-log.md).
  static __device__ uint32_t givenSeveral(const TileHead &head, uint32_t units) {
    const float time = 4.0f * static_cast<float>(head.severalTiles),
                all = time + 3.0f * static_cast<float>(head.tokenTiles - head.severalTiles);
    return static_cast<uint32_t>(static_cast<float>(units) * time / all + 0.5f);
  }
};

} // namespace moec::tile
