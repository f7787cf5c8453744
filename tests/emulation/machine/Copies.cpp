// cp.async and bulk tensor copies. A copy takes place when the schedule says so: bytes that nobody has waited for are a
// pattern until then.
#include "tests/emulation/machine/Instructions.h"
#include "tests/emulation/machine/Layouts.h"
#include "tests/emulation/machine/Plants.h"
#include "tests/emulation/machine/TensorMap.h"
#include "tests/emulation/machine/Block.h"

#include <algorithm>
#include <array>
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
  block.finish(AsyncOperation::Piece, thread, last);
  if (last > 0)
    thread.known.generic.raise(thread.copies.agent, last);
}

void cpAsyncArrive(uint32_t address) {
  Block &block = Block::current();
  Thread &thread = block.self();
  if (isPlanted(Bug::SkipCopyArrive) && thread.index == 7)
    return;
  if (isPlanted(Bug::CopyArriveEarly))
    return barrierArrive(address, 1, 0);
  block.barrierAt(address, "cp.async.mbarrier.arrive");
  AsyncOperation arrival{
      .kind = AsyncOperation::Arrive, .thread = &thread, .number = thread.copies.issued, .barrier = address};
  if (thread.copies.underWay.empty())
    block.start(std::move(arrival));
  else
    thread.copies.arrivals.push_back({arrival.number, address});
  block.pause();
}

void Block::finish(AsyncOperation::Kind kind, Thread &thread, uint32_t number) {
  for (;;) {
    std::vector<size_t> candidates;
    for (size_t i = 0; i < underWay.size(); ++i)
      if (underWay[i].kind == kind && underWay[i].thread == &thread && underWay[i].number <= number)
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
    arrive(barriers[operation.barrier], operation.barrier, 1, known);
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
  case AsyncOperation::Store: operation.move(); break;
  }
}

namespace {

/// Calls `row(shared offset, coordinates of its first element)` for each row of 64 elements of a box at `at`.
template <class Row> void forRows(const Box &map, const int32_t *at, Row row) {
  int32_t position[Box::maxRank];
  std::copy_n(at, map.rank, position);
  for (uint32_t offset = 0; offset < map.bytes(); offset += 128) {
    row(offset, position);
    for (uint32_t i = 1; i < map.rank; ++i) {
      if (++position[i] < at[i] + map.box[i])
        break;
      position[i] = at[i];
    }
  }
}

/// The first element of a row, or null if no element of it is in the tensor; `count` of them are.
const uint8_t *rowInTensor(const Box &map, const int32_t *position, uint32_t &count) {
  const uint8_t *from = map.base;
  for (uint32_t i = 1; i < map.rank; ++i) {
    if (position[i] < 0 || static_cast<uint32_t>(position[i]) >= map.size[i])
      return nullptr;
    from += static_cast<uint32_t>(position[i]) * map.stride[i];
  }
  if (position[0] < 0 || static_cast<uint32_t>(position[0]) >= map.size[0])
    return nullptr; // boxes of ours start at a multiple of 64 elements
  count = std::min<uint32_t>(map.box[0], map.size[0] - static_cast<uint32_t>(position[0]));
  return from + position[0] * 2;
}

/// PTX ISA, "Tensors", "Swizzling Modes", 128B: bits 4-6 of the shared address are XORed with bits 7-9. Elements outside
/// of the tensor are zeros.
void moveBox(Block &block, const Box &map, uint32_t address, const int32_t *at) {
  forRows(map, at, [&](uint32_t offset, const int32_t *position) {
    uint16_t elements[64] = {};
    uint32_t count = 0;
    if (const uint8_t *from = rowInTensor(map, position, count))
      std::memcpy(elements, from, count * 2);
    for (uint32_t piece = 0; piece < 8; ++piece) {
      const uint32_t linear = address + offset + piece * 16;
      const uint32_t to = isPlanted(Bug::SwizzleWrong) ? linear : swizzle128(linear);
      std::memcpy(block.shared.at(to, 16).host, &elements[piece * 8], 16);
    }
  });
}

/// The other way: bytes outside of the tensor stay as they are.
void moveBoxOut(Block &block, const Box &map, uint32_t address, const int32_t *at) {
  forRows(map, at, [&](uint32_t offset, const int32_t *position) {
    uint32_t count = 0;
    uint8_t *to = const_cast<uint8_t *>(rowInTensor(map, position, count));
    for (uint32_t i = 0; to && i < count; ++i)
      std::memcpy(to + i * 2, block.shared.at(swizzle128(address + offset + i * 2), 2).host, 2);
  });
}

/// Checks what all bulk tensor copies must keep to.
Box boxOf(Block &block, const void *tensorMap, uint32_t rank, uint32_t address) {
  Box map;
  if (!readBox(tensorMap, map) || map.rank != rank || map.box[0] != 64)
    block.fail(Fault::Copy, fmt::format("no tensor map of {} dimensions", rank));
  if (address % 128 != 0)
    block.fail(Fault::Copy, fmt::format("a bulk tensor copy to or from {:#x}: not a multiple of 128", address));
  return map;
}

} // namespace

// PTX ISA, "cp.async.bulk.tensor", .global.shared::cta. Reads through the async proxy.
void tmaStore(const void *tensorMap, std::initializer_list<uint32_t> coordinates, uint32_t address) {
  Block &block = Block::current();
  Thread &thread = block.self();
  const Box map = boxOf(block, tensorMap, static_cast<uint32_t>(coordinates.size()), address);
  std::array<int32_t, Box::maxRank> at{};
  std::copy(coordinates.begin(), coordinates.end(), at.begin());
  BulkStores &stores = thread.stores;
  if (stores.reads == 0) {
    stores.reads = block.newAgent(fmt::format("a bulk store of thread {}", thread.index));
    stores.writes = block.newAgent(fmt::format("a bulk store of thread {}", thread.index));
  }
  const uint32_t number = ++stores.issued;
  const uint16_t id = block.actor(thread).epoch.block;
  block.touchShared(address, map.bytes(), Use::Read, writer(thread, stores.reads, number, id, true),
                    "cp.async.bulk.tensor to device memory");
  forRows(map, at.data(), [&](uint32_t, const int32_t *position) {
    uint32_t count = 0;
    if (const uint8_t *to = rowInTensor(map, position, count))
      block.touchGlobal(to, count * 2, Use::Write, writer(thread, stores.writes, number, id, false),
                        "cp.async.bulk.tensor to device memory");
  });
  block.start({.kind = AsyncOperation::Store,
               .thread = &thread,
               .number = number,
               .move = [&block, map, address, at] { moveBoxOut(block, map, address, at.data()); }});
  block.pause();
}

void bulkCommit() {
  BulkStores &stores = Block::current().self().stores;
  stores.groups.push_back(stores.issued);
}

// PTX ISA, "cp.async.bulk.wait_group"; .read: shared memory has been read, device memory need not be written.
void bulkWait(uint32_t pending, bool readsAlone) {
  Block &block = Block::current();
  Thread &thread = block.self();
  block.pause();
  if (isPlanted(readsAlone ? Bug::SkipBulkWaitRead : Bug::SkipBulkWait))
    return;
  const std::vector<uint32_t> &groups = thread.stores.groups;
  if (groups.size() <= pending || groups[groups.size() - 1 - pending] == 0)
    return;
  const uint32_t last = groups[groups.size() - 1 - pending];
  block.finish(AsyncOperation::Store, thread, last);
  for (Clock *clock : {&thread.known.generic, &thread.known.async}) {
    clock->raise(thread.stores.reads, last);
    if (!readsAlone)
      clock->raise(thread.stores.writes, last);
  }
}

// PTX ISA, "cp.async.bulk.tensor", .shared::cluster.global
void tmaLoad(uint32_t address, const void *tensorMap, std::initializer_list<uint32_t> coordinates, uint32_t barrierAddress) {
  Block &block = Block::current();
  Thread &thread = block.self();
  if (isPlanted(Bug::TmaWrongPlace))
    address += 1024;
  const Box map = boxOf(block, tensorMap, static_cast<uint32_t>(coordinates.size()), address);
  std::array<int32_t, Box::maxRank> at{};
  std::copy(coordinates.begin(), coordinates.end(), at.begin());
  if (isPlanted(Bug::TmaWrongRow))
    ++at[1];
  Barrier &barrier = block.barrierAt(barrierAddress, "cp.async.bulk.tensor");
  if (!barrier.fenced)
    block.fail(Fault::Barrier, fmt::format("a bulk copy completes on mbarrier {:#x}, which was initialised without "
                                           "fence.mbarrier_init", barrierAddress));
  if (barrier.agent == 0)
    barrier.agent = block.newAgent(fmt::format("a bulk copy that completes on mbarrier {:#x}", barrierAddress));
  const uint32_t number = ++barrier.bulkIssued, bytes = map.bytes();
  const Actor actor = block.actor(thread);
  forRows(map, at.data(), [&](uint32_t, const int32_t *position) {
    uint32_t count = 0;
    if (const uint8_t *from = rowInTensor(map, position, count))
      block.touchGlobal(from, count * 2, Use::Read, actor, "cp.async.bulk.tensor");
  });
  block.touchShared(address, bytes, Use::Write, writer(thread, barrier.agent, number, actor.epoch.block, true),
                    "cp.async.bulk.tensor");
  std::memset(block.hostOf(address, bytes, "cp.async.bulk.tensor"), notThere, bytes);
  barrier.bulkUnderWay.push_back(number);
  block.start({.kind = AsyncOperation::Bulk,
               .thread = &thread,
               .number = number,
               .shared = address,
               .barrier = barrierAddress,
               .move = [&block, map, address, at] { moveBox(block, map, address, at.data()); },
               .bytes = bytes});
  block.pause();
}

} // namespace moec::emulation
