// ldmatrix, movmatrix, mma.sync.
#include "tests/emulation/machine/Collectives.h"
#include "tests/emulation/machine/Elements.h"
#include "tests/emulation/machine/Instructions.h"
#include "tests/emulation/machine/Layouts.h"
#include "tests/emulation/machine/Plants.h"

#include <cstring>
#include <fmt/format.h>

namespace moec::emulation {
namespace {

uint32_t halfOf(uint32_t packed, uint32_t half) { return half ? packed >> 16 : packed & 0xffff; }

struct LoadOperands {
  uint32_t (*matrix)[4];
  uint32_t address;
};

/// The read is the warp's: once the instruction is done, it is done for every lane.
void loadAct(Block &block, Warp &warp, void *(&operands)[32]) {
  const uint32_t warpIndex = block.self().warp;
  if (warp.agent == 0)
    warp.agent = block.newAgent(fmt::format("ldmatrix or stmatrix of warp {}", warpIndex));
  ++warp.numReads;
  uint16_t rows[32][8];
  for (uint32_t lane = 0; lane < 32; ++lane) {
    const uint32_t address =
        static_cast<LoadOperands *>(operands[isPlanted(Bug::FragmentRow) ? lane ^ 1 : lane])->address;
    if (address % 16 != 0)
      block.fail(Fault::Collective, fmt::format("ldmatrix of {:#x}: not a multiple of 16", address));
    Actor actor = block.actor(block.threads[warpIndex * 32 + lane]);
    actor.epoch.agent = warp.agent;
    actor.epoch.time = warp.numReads;
    block.touchShared(address, 16, Use::Read, actor, "ldmatrix");
    std::memcpy(rows[lane], block.hostOf(address, 16, "ldmatrix"), 16);
  }
  for (uint32_t lane = 0; lane < 32; ++lane) {
    auto &matrix = *static_cast<LoadOperands *>(operands[lane])->matrix;
    for (uint32_t i = 0; i < 4; ++i) {
      const Place low = placeIn8x8(lane, 0), high = placeIn8x8(lane, 1);
      matrix[i] = rows[i * 8 + low.row][low.column] | static_cast<uint32_t>(rows[i * 8 + high.row][high.column]) << 16;
    }
    block.threads[warpIndex * 32 + lane].known.generic.raise(warp.agent, warp.numReads);
  }
}

struct StoreOperands {
  const uint32_t *matrix;
  uint32_t address, matrices;
};

/// As loadAct, the other way, transposed: row r in memory is column r of the fragment.
void storeAct(Block &block, Warp &warp, void *(&operands)[32]) {
  const uint32_t first = block.self().warp * 32;
  if (warp.agent == 0)
    warp.agent = block.newAgent(fmt::format("ldmatrix or stmatrix of warp {}", first / 32));
  ++warp.numReads;
  const uint32_t matrices = static_cast<StoreOperands *>(operands[0])->matrices;
  uint16_t rows[32][8];
  for (uint32_t lane = 0; lane < 32; ++lane)
    for (uint32_t i = 0; i < matrices; ++i)
      for (uint32_t half = 0; half < 2; ++half) {
        const Place place = placeIn8x8(lane, half);
        rows[i * 8 + place.column][place.row] =
            static_cast<uint16_t>(halfOf(static_cast<StoreOperands *>(operands[lane])->matrix[i], half));
      }
  for (uint32_t lane = 0; lane < matrices * 8; ++lane) {
    const uint32_t address = static_cast<StoreOperands *>(operands[lane])->address;
    if (address % 16 != 0)
      block.fail(Fault::Collective, fmt::format("stmatrix of {:#x}: not a multiple of 16", address));
    Actor actor = block.actor(block.threads[first + lane]);
    actor.epoch.agent = warp.agent;
    actor.epoch.time = warp.numReads;
    block.touchShared(address, 16, Use::Write, actor, "stmatrix");
    std::memcpy(block.hostOf(address, 16, "stmatrix"), rows[lane], 16);
  }
  for (uint32_t lane = 0; lane < 32; ++lane)
    block.threads[first + lane].known.generic.raise(warp.agent, warp.numReads);
}

struct MoveOperands {
  uint32_t matrix, result;
};

void moveAct(Block &, Warp &, void *(&operands)[32]) {
  uint32_t elements[8][8];
  for (uint32_t lane = 0; lane < 32; ++lane)
    for (uint32_t half = 0; half < 2; ++half) {
      const Place place = placeIn8x8(lane, half);
      elements[place.row][place.column] = halfOf(static_cast<MoveOperands *>(operands[lane])->matrix, half);
    }
  for (uint32_t lane = 0; lane < 32; ++lane) {
    const Place low = placeIn8x8(lane, 0), high = placeIn8x8(lane, 1);
    static_cast<MoveOperands *>(operands[lane])->result =
        elements[low.column][low.row] | elements[high.column][high.row] << 16;
  }
}

struct MmaOperands {
  float *sum;
  const uint32_t *a;
  uint32_t b[2];
  bool bf16;
};

void mmaAct(Block &block, Warp &, void *(&operands)[32]) {
  float a[16][16], b[8][16];
  const bool bf16 = static_cast<MmaOperands *>(operands[0])->bf16;
  for (uint32_t lane = 0; lane < 32; ++lane) {
    const auto &mine = *static_cast<MmaOperands *>(operands[lane]);
    if (mine.bf16 != bf16)
      block.fail(Fault::Collective, "the lanes of mma.sync disagree about its type");
    for (uint32_t half = 0; half < 2; ++half) {
      for (uint32_t i = 0; i < 4; ++i) {
        const Place place = placeInA(lane, i, half);
        a[place.row][place.column] = elementValue(static_cast<uint16_t>(halfOf(mine.a[i], half)), bf16);
      }
      for (uint32_t i = 0; i < 2; ++i) {
        const Place place = placeInB(lane, i, half);
        b[place.column][place.row] = elementValue(static_cast<uint16_t>(halfOf(mine.b[i], half)), bf16);
      }
    }
  }
  for (uint32_t lane = 0; lane < 32; ++lane)
    for (uint32_t i = 0; i < 4; ++i) {
      const Place place = placeInD(lane, i);
      double product = 0; // tensor cores add all sixteen at once: their order must not show
      for (uint32_t k = 0; k < 16; ++k)
        product += double{a[place.row][k]} * b[place.column][k];
      static_cast<MmaOperands *>(operands[lane])->sum[i] += static_cast<float>(product);
    }
}

} // namespace

void ldmatrix4(uint32_t (&matrix)[4], uint32_t shared) {
  LoadOperands operands{&matrix, shared};
  meet("ldmatrix", allLanes, &operands, loadAct);
}

void storeTransposed(uint32_t shared, const uint32_t *matrix, uint32_t matrices) {
  StoreOperands operands{matrix, shared, matrices};
  meet("stmatrix", allLanes, &operands, storeAct);
}

void loadShared16(uint32_t (&values)[4], uint32_t shared) {
  Block &block = Block::current();
  if (shared % 16 != 0)
    block.fail(Fault::OutOfBounds, fmt::format("ld.shared.v4 of {:#x}: not a multiple of 16", shared));
  block.touchShared(shared, 16, Use::Read, block.actor(block.self()), "ld.shared");
  std::memcpy(values, block.hostOf(shared, 16, "ld.shared"), 16);
}

float loadShared4(uint32_t shared) {
  Block &block = Block::current();
  if (shared % 4 != 0)
    block.fail(Fault::OutOfBounds, fmt::format("ld.shared of {:#x}: not a multiple of 4", shared));
  block.touchShared(shared, 4, Use::Read, block.actor(block.self()), "ld.shared");
  float value;
  std::memcpy(&value, block.hostOf(shared, 4, "ld.shared"), 4);
  return value;
}

void storeShared4(uint32_t shared, uint32_t value) {
  Block &block = Block::current();
  if (shared % 4 != 0)
    block.fail(Fault::OutOfBounds, fmt::format("st.shared of {:#x}: not a multiple of 4", shared));
  block.touchShared(shared, 4, Use::Write, block.actor(block.self()), "st.shared");
  std::memcpy(block.hostOf(shared, 4, "st.shared"), &value, 4);
}

void storeShared8(uint32_t shared, const uint32_t (&values)[2]) {
  Block &block = Block::current();
  if (shared % 8 != 0)
    block.fail(Fault::OutOfBounds, fmt::format("st.shared.v2 of {:#x}: not a multiple of 8", shared));
  block.touchShared(shared, 8, Use::Write, block.actor(block.self()), "st.shared");
  std::memcpy(block.hostOf(shared, 8, "st.shared"), values, 8);
}

void loadShared8(float (&values)[2], uint32_t shared) {
  Block &block = Block::current();
  if (shared % 8 != 0)
    block.fail(Fault::OutOfBounds, fmt::format("ld.shared.v2 of {:#x}: not a multiple of 8", shared));
  block.touchShared(shared, 8, Use::Read, block.actor(block.self()), "ld.shared");
  std::memcpy(values, block.hostOf(shared, 8, "ld.shared"), 8);
}

uint32_t transpose8x8(uint32_t matrix) {
  MoveOperands operands{matrix, 0};
  meet("movmatrix", allLanes, &operands, moveAct);
  return isPlanted(Bug::FragmentTranspose) ? matrix : operands.result;
}

void mma16816(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, bool bf16) {
  if (isPlanted(Bug::MmaOperandOrder))
    std::swap(b0, b1);
  MmaOperands operands{sum, a, {b0, b1}, bf16};
  meet("mma.sync", allLanes, &operands, mmaAct);
}

} // namespace moec::emulation
