// wgmma.mma_async. PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions". A warp's part of an instruction reads
// shared memory as late as it may: when wait_group asks for it. Until then its sums are NaN.
#include "tests/emulation/machine/Collectives.h"
#include "tests/emulation/machine/Elements.h"
#include "tests/emulation/machine/Instructions.h"
#include "tests/emulation/machine/Layouts.h"
#include "tests/emulation/machine/Plants.h"

#include <cstring>
#include <fmt/format.h>
#include <limits>

namespace moec::emulation {
namespace {

struct Operands {
  float *sums;
  uint32_t n;
  uint64_t a, b;
  bool accumulate;
  MatrixType type;

  bool same(const Operands &other) const {
    return n == other.n && a == other.a && b == other.b && accumulate == other.accumulate && type == other.type;
  }
};

/// Elements of the sum of one instruction: 32 bytes of a row.
constexpr uint32_t depthOf(MatrixType type) { return type == MatrixType::E4M3 ? 32 : 16; }
constexpr uint32_t mostDepth = 32;

/// Reads count as done at the instruction's number, which wait_group makes known. Returns the rows that do not count.
std::bitset<256> touchOperand(Block &block, const WarpWgmma &state, uint32_t warp, const MatrixDescriptor &d,
                              uint32_t firstRow, uint32_t numRows, uint32_t rowsThatCount) {
  std::bitset<256> unused;
  for (uint32_t row = firstRow; row < firstRow + numRows; ++row) {
    unused[row - firstRow] =
        row >= rowsThatCount || (block.shape.unwrittenRows && (!block.isWritten(operandPiece(d, row, 0), 16) ||
                                                               !block.isWritten(operandPiece(d, row, 1), 16)));
    for (uint32_t piece = 0; piece < 2 && !unused[row - firstRow]; ++piece) {
      // Every lane must know that the bytes are there; of lanes that know the same, one check is enough.
      const Thread &lane = block.threads[warp * 32 + row % 32];
      const Actor actor{
          {state.issued, state.agent, block.actor(lane).epoch.block, 0}, &lane.known.async, &lane.known.generic};
      block.touchShared(operandPiece(d, row, piece), 16, Use::Read, actor, "wgmma");
    }
  }
  return unused;
}

void checkDescriptor(Block &block, const MatrixDescriptor &d, const char *which) {
  if (d.swizzle != 1)
    block.fail(Fault::Wgmma,
               fmt::format("the descriptor of {} asks for swizzle {}; only 128B is emulated", which, d.swizzle));
  if (d.baseOffset != 0)
    block.fail(Fault::Wgmma,
               fmt::format("the descriptor of {} has a base offset, but its tile starts at a multiple of 1024", which));
}

uint32_t findChain(Block &block, WarpWgmma &state, void *(&operands)[32], uint32_t n, bool accumulate) {
  float *first = static_cast<Operands *>(operands[0])->sums;
  for (uint32_t i = 0; i < state.chains.size(); ++i)
    if (state.chains[i].registers[0] == first && state.chains[i].pending > 0) {
      if (state.chains[i].values.size() != 32 * (n / 2))
        block.fail(Fault::Wgmma, "sums are used with another shape while a wgmma on them is under way");
      return i;
    }
  if (!state.fenced)
    block.fail(Fault::Wgmma, "wgmma on sums that no wgmma.fence has handed over since they were last accessed");
  uint32_t i = 0;
  while (i < state.chains.size() && state.chains[i].pending > 0)
    ++i;
  if (i == state.chains.size())
    state.chains.emplace_back();
  SumChain &chain = state.chains[i];
  chain.values.assign(32 * (n / 2), 0.0f);
  for (uint32_t lane = 0; lane < 32; ++lane) {
    chain.registers[lane] = static_cast<Operands *>(operands[lane])->sums;
    if (accumulate)
      std::memcpy(&chain.values[lane * (n / 2)], chain.registers[lane], n / 2 * 4);
    std::fill_n(chain.registers[lane], n / 2, std::numeric_limits<float>::quiet_NaN());
  }
  return i;
}

void issueAct(Block &block, Warp &warp, void *(&operands)[32]) {
  const auto &first = *static_cast<Operands *>(operands[0]);
  for (void *operand : operands)
    if (!static_cast<Operands *>(operand)->same(first))
      block.fail(Fault::Collective, "the lanes of wgmma disagree about its operands");
  const uint32_t index = block.self().warp;
  const MatrixDescriptor a = decode(first.a), b = decode(first.b);
  checkDescriptor(block, a, "A");
  checkDescriptor(block, b, "B");
  WarpWgmma &state = warp.wgmma;
  if (state.agent == 0)
    state.agent = block.newAgent(fmt::format("wgmma of warp {}", index));
  ++state.issued;
  const auto unusedA = touchOperand(block, state, index, a, index % 4 * 16, 16, block.shape.wgmmaRows);
  const auto unusedB = touchOperand(block, state, index, b, 0, first.n, first.n);
  const uint32_t chain = findChain(block, state, operands, first.n, first.accumulate);
  ++state.chains[chain].pending;
  state.queue.push_back({first.a, first.b, chain, first.accumulate, first.type, first.n, unusedA, unusedB});
  warp.groupLog.insert(warp.groupLog.end(), {first.a, first.b, first.n | uint64_t{first.accumulate} << 32});
}

void loadOperand(Block &block, const MatrixDescriptor &d, uint32_t firstRow, uint32_t rows, MatrixType type,
                 const std::bitset<256> &unused, float *values) {
  const uint32_t depth = depthOf(type);
  for (uint32_t row = 0; row < rows; ++row) {
    if (unused[row])
      std::fill_n(values + row * depth, depth, std::numeric_limits<float>::quiet_NaN());
    for (uint32_t piece = 0; piece < 2 && !unused[row]; ++piece) {
      const uint8_t *bytes = block.hostOf(operandPiece(d, firstRow + row, piece), 16, "wgmma");
      float *to = values + row * depth + piece * depth / 2;
      for (uint32_t i = 0; i < depth / 2; ++i)
        to[i] = type == MatrixType::E4M3 ? e4m3Value(bytes[i])
                                         : elementValue(static_cast<uint16_t>(bytes[i * 2] | bytes[i * 2 + 1] << 8),
                                                        type == MatrixType::BF16);
    }
  }
}

void execute(Block &block, WarpWgmma &state, uint32_t warp, const PendingWgmma &operation) {
  // Not on the stack of a fiber, which is small; no fiber gives way in here.
  static thread_local float a[16 * mostDepth], b[256 * mostDepth], transposed[mostDepth * 256];
  static thread_local double product[16 * 256]; // as in mma.sync
  const uint32_t n = operation.n, depth = depthOf(operation.type);
  loadOperand(block, decode(operation.a), warp % 4 * 16, 16, operation.type, operation.unusedA, a);
  loadOperand(block, decode(operation.b), 0, n, operation.type, operation.unusedB, b);
  for (uint32_t column = 0; column < n; ++column)
    for (uint32_t k = 0; k < depth; ++k)
      transposed[k * n + column] = b[column * depth + k];
  std::fill_n(product, 16 * n, 0.0);
  for (uint32_t row = 0; row < 16; ++row)
    for (uint32_t k = 0; k < depth; ++k)
      for (uint32_t column = 0; column < n; ++column)
        product[row * n + column] += double{a[row * depth + k]} * transposed[k * n + column];
  SumChain &chain = state.chains[operation.chain];
  for (uint32_t lane = 0; lane < 32; ++lane)
    for (uint32_t i = 0; i < n / 2; ++i) {
      const Place place = placeInWgmmaD(lane, i);
      float &sum = chain.values[lane * (n / 2) + i];
      sum = (operation.accumulate ? sum : 0.0f) + static_cast<float>(product[place.row * n + place.column]);
    }
  if (--chain.pending > 0)
    return;
  for (uint32_t lane = 0; lane < 32; ++lane)
    std::memcpy(chain.registers[lane], &chain.values[lane * (n / 2)], n / 2 * 4);
}

void fenceAct(Block &, Warp &warp, void *(&)[32]) {
  warp.wgmma.fenced = true;
  warp.groupLog.push_back(1);
}

void commitAct(Block &, Warp &warp, void *(&)[32]) {
  warp.wgmma.groups.push_back(warp.wgmma.issued);
  warp.groupLog.push_back(2);
}

struct WaitOperands {
  uint32_t pending;
};

void waitAct(Block &block, Warp &warp, void *(&operands)[32]) {
  const uint32_t pending = static_cast<WaitOperands *>(operands[0])->pending, index = block.self().warp;
  WarpWgmma &state = warp.wgmma;
  warp.groupLog.push_back(3 | uint64_t{pending} << 32);
  if (state.groups.size() <= pending)
    return;
  const uint32_t last = state.groups[state.groups.size() - 1 - pending];
  size_t count = last > state.done ? last - state.done : 0;
  for (size_t i = 0; i < count; ++i)
    execute(block, state, index, state.queue[i]);
  state.queue.erase(state.queue.begin(), state.queue.begin() + static_cast<std::ptrdiff_t>(count));
  state.done += static_cast<uint32_t>(count);
  for (uint32_t lane = 0; lane < 32; ++lane)
    if (last > 0)
      block.threads[index * 32 + lane].known.generic.raise(state.agent, last);
  if (state.queue.empty())
    state.fenced = false; // the kernel may now read and write its sums
}

} // namespace

void wgmmaFence() {
  if (!isPlanted(Bug::SkipWgmmaFence))
    meet("wgmma.fence", allLanes, nullptr, fenceAct);
}

void wgmmaCommit() {
  if (!isPlanted(Bug::SkipWgmmaCommit))
    meet("wgmma.commit_group", allLanes, nullptr, commitAct);
}

void wgmmaWait(uint32_t pending) {
  if (isPlanted(Bug::SkipWgmmaWait) && pending == planted.detail)
    return;
  WaitOperands operands{isPlanted(Bug::WgmmaWaitWeak) && pending == planted.detail ? pending + 1 : pending};
  meet("wgmma.wait_group", allLanes, &operands, waitAct);
}

namespace {

/// A descriptor as a kernel with the planted bug makes it.
uint64_t planting(uint64_t descriptor) {
  if (isPlanted(Bug::DescriptorStride))
    descriptor += descriptor & uint64_t{0x3fff} << 32;
  if (isPlanted(Bug::DescriptorNoSwizzle))
    descriptor &= ~(uint64_t{3} << 62);
  if (isPlanted(Bug::DescriptorAdvance)) // the step within a row, in pieces of 16 bytes
    descriptor += descriptor & 7;
  return descriptor;
}

} // namespace

void wgmma(float *sums, uint32_t n, uint64_t a, uint64_t b, bool accumulate, MatrixType type) {
  a = planting(a);
  b = planting(b);
  accumulate |= isPlanted(Bug::WgmmaKeepsSum);
  Operands operands{sums, n, a, b, accumulate, type};
  meet("wgmma.mma_async", allLanes, &operands, issueAct);
}

} // namespace moec::emulation
