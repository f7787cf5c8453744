// cp.async and bulk tensor copies. A copy takes place when the schedule says so: bytes that nobody has waited for are a
// pattern until then.
#include "tests/emulation/machine/Instructions.h"
#include "tests/emulation/machine/Layouts.h"
#include "tests/emulation/machine/Plants.h"
#include "tests/emulation/machine/TensorMap.h"
#include "tests/emulation/machine/Block.h"

#include <cstring>
#include <fmt/format.h>

namespace moec::emulation {
namespace {

constexpr int notThere = 0xff; // NaN as bf16, f16 and f32

Actor writer(const Thread &thread, Agent agent, uint32_t number, uint16_t block, bool async) {
  return {{number, agent, block, 0}, async ? &thread.known.async : &thread.known.generic, &thread.known.generic};
}

} // namespace

uint32_t sharedAddress(const void *shared) {
  Block &block = Block::current();
  const uint32_t address = block.shared.address(shared);
  if (address == 0)
    block.fail(Fault::OutOfBounds, "the shared address of what is not in shared memory");
  return address;
}

// PTX ISA, "Data Movement and Conversion Instructions: cp.async". Generic proxy, but seen by the issuing thread only after
// wait_group, and by others through an mbarrier or what that thread does after its wait.
void cpAsync16(uint32_t address, const void *global, bool valid) {
  Block &block = Block::current();
  Thread &thread = block.self();
  if (isPlanted(Bug::CopyWrongPlace))
    address ^= 16;
  if (isPlanted(Bug::CopyInvalid))
    valid = true;
  if (address % 16 != 0 || reinterpret_cast<uintptr_t>(global) % 16 != 0)
    block.fail(Fault::Copy, fmt::format("cp.async of 16 bytes to {:#x} from an address that ends in {:#x}: not aligned", address,
                                        reinterpret_cast<uintptr_t>(global) % 16));
  Copies &copies = thread.copies;
  if (copies.agent == 0)
    copies.agent = block.newAgent(fmt::format("a cp.async of thread {}", thread.index));
  const uint32_t number = ++copies.issued;
  const Actor actor = block.actor(thread);
  if (valid)
    block.touchGlobal(global, 16, Use::Read, actor, "cp.async");
  block.touchShared(address, 16, Use::Write, writer(thread, copies.agent, number, actor.epoch.block, false), "cp.async");
  std::memset(block.hostOf(address, 16, "cp.async"), notThere, 16);
  copies.underWay.push_back(number);
  block.start({.kind = AsyncOperation::Piece,
               .thread = &thread,
               .number = number,
               .shared = address,
               .global = valid ? static_cast<const uint8_t *>(global) : nullptr});
  block.pause();
}

void cpAsyncCommit() {
  if (isPlanted(Bug::SkipCopyCommit))
    return;
  Copies &copies = Block::current().self().copies;
  copies.groups.push_back(copies.issued);
}

void cpAsyncWait(uint32_t pending) {
  Block &block = Block::current();
  Thread &thread = block.self();
  block.pause();
  if (isPlanted(Bug::CopyGroupOffByOne))
    ++pending;
  const std::vector<uint32_t> &groups = thread.copies.groups;
  if (groups.size() <= pending)
    return;
  const uint32_t last = groups[groups.size() - 1 - pending];
  block.finishCopies(thread, last);
  if (last > 0)
    thread.known.generic.raise(thread.copies.agent, last);
}

void cpAsyncArrive(uint32_t address) {
  Block &block = Block::current();
  Thread &thread = block.self();
  if (isPlanted(Bug::SkipCopyArrive) && thread.index == 7)
    return;
  if (isPlanted(Bug::CopyArriveEarly))
    return barrierArrive(address, 0);
  block.barrierAt(address, "cp.async.mbarrier.arrive");
  AsyncOperation arrival{
      .kind = AsyncOperation::Arrive, .thread = &thread, .number = thread.copies.issued, .barrier = address};
  if (thread.copies.underWay.empty())
    block.start(std::move(arrival));
  else
    thread.copies.arrivals.push_back({arrival.number, address});
  block.pause();
}

void Block::finishCopies(Thread &thread, uint32_t number) {
  for (;;) {
    std::vector<size_t> candidates;
    for (size_t i = 0; i < underWay.size(); ++i)
      if (underWay[i].kind == AsyncOperation::Piece && underWay[i].thread == &thread && underWay[i].number <= number)
        candidates.push_back(i);
    if (candidates.empty())
      return;
    finishOne(candidates[random.below(static_cast<uint32_t>(candidates.size()))]);
  }
}

void Block::finishOne(size_t which) {
  AsyncOperation operation = std::move(underWay[which]);
  if (which + 1 != underWay.size())
    underWay[which] = std::move(underWay.back());
  underWay.pop_back();
  land(std::move(operation));
}

void Block::land(AsyncOperation operation) {
  Copies &copies = operation.thread->copies;
  switch (operation.kind) {
  case AsyncOperation::Piece: {
    uint8_t *to = shared.at(operation.shared, 16).host;
    if (operation.global)
      std::memcpy(to, operation.global, 16);
    else
      std::memset(to, 0, 16);
    copies.underWay.erase(std::find(copies.underWay.begin(), copies.underWay.end(), operation.number));
    const uint32_t oldest = copies.underWay.empty() ? UINT32_MAX
                                                    : *std::min_element(copies.underWay.begin(), copies.underWay.end());
    for (size_t i = 0; i < copies.arrivals.size();) {
      if (copies.arrivals[i].after >= oldest) {
        ++i;
        continue;
      }
      underWay.push_back({.kind = AsyncOperation::Arrive,
                          .thread = operation.thread,
                          .number = copies.arrivals[i].after,
                          .barrier = copies.arrivals[i].barrier});
      copies.arrivals.erase(copies.arrivals.begin() + static_cast<std::ptrdiff_t>(i));
    }
    break;
  }
  case AsyncOperation::Arrive: {
    Knowledge known;
    if (operation.number > 0)
      known.generic.raise(copies.agent, operation.number);
    arrive(barriers[operation.barrier], operation.barrier, known);
    break;
  }
  case AsyncOperation::Bulk: {
    operation.move();
    Barrier &barrier = barriers[operation.barrier];
    barrier.bulkUnderWay.erase(std::find(barrier.bulkUnderWay.begin(), barrier.bulkUnderWay.end(), operation.number));
    barrier.bytes -= operation.bytes;
    completePhase(barrier);
    break;
  }
  }
}

namespace {

/// Copies a box row by row. PTX ISA, "Tensors", "Swizzling Modes", 128B: bits 4-6 of the shared address are XORed with
/// bits 7-9. Elements outside of the tensor are zeros.
void moveBox(Block &block, const Box &map, uint32_t address, uint32_t k, uint32_t row, uint32_t expert) {
  for (uint32_t r = 0; r < map.boxRows; ++r)
    for (uint32_t i = 0; i < map.boxK; ++i) {
      const bool inside = k + i < map.k && row + r < map.rows && expert < map.experts;
      uint16_t element = 0;
      if (inside)
        std::memcpy(&element, map.base + (expert * map.expertStride + uint64_t{row + r} * map.k + k + i) * 2, 2);
      const uint32_t linear = address + r * map.boxK * 2 + i * 2;
      const uint32_t to = isPlanted(Bug::SwizzleWrong) ? linear : swizzle128(linear);
      std::memcpy(block.shared.at(to, 2).host, &element, 2);
    }
}

} // namespace

// PTX ISA, "cp.async.bulk.tensor"
void tmaLoad3d(uint32_t address, const void *tensorMap, uint32_t k, uint32_t row, uint32_t expert, uint32_t barrierAddress) {
  Block &block = Block::current();
  Thread &thread = block.self();
  if (isPlanted(Bug::TmaWrongRow))
    ++row;
  if (isPlanted(Bug::TmaWrongPlace))
    address += 1024;
  Box map;
  if (!readBox(tensorMap, map))
    block.fail(Fault::Copy, "the tensor map is none");
  if (address % 128 != 0)
    block.fail(Fault::Copy, fmt::format("a bulk tensor copy to {:#x}: not a multiple of 128", address));
  Barrier &barrier = block.barrierAt(barrierAddress, "cp.async.bulk.tensor");
  if (!barrier.fenced)
    block.fail(Fault::Barrier, fmt::format("a bulk copy completes on mbarrier {:#x}, which was initialised without "
                                           "fence.mbarrier_init", barrierAddress));
  if (barrier.agent == 0)
    barrier.agent = block.newAgent(fmt::format("a bulk copy that completes on mbarrier {:#x}", barrierAddress));
  const uint32_t number = ++barrier.bulkIssued, bytes = map.boxRows * map.boxK * 2;
  const Actor actor = block.actor(thread);
  // Whole rows of the tensor that the box meets.
  for (uint32_t r = row; expert < map.experts && r < std::min(row + map.boxRows, map.rows); ++r)
    block.touchGlobal(map.base + (expert * map.expertStride + uint64_t{r} * map.k) * 2, map.k * 2, Use::Read, actor,
                      "cp.async.bulk.tensor");
  block.touchShared(address, bytes, Use::Write, writer(thread, barrier.agent, number, actor.epoch.block, true),
                    "cp.async.bulk.tensor");
  std::memset(block.hostOf(address, bytes, "cp.async.bulk.tensor"), notThere, bytes);
  barrier.bulkUnderWay.push_back(number);
  block.start({.kind = AsyncOperation::Bulk,
               .thread = &thread,
               .number = number,
               .shared = address,
               .barrier = barrierAddress,
               .move = [&block, map, address, k, row, expert] { moveBox(block, map, address, k, row, expert); },
               .bytes = bytes});
  block.pause();
}

} // namespace moec::emulation
