// Bulk tensor copies, in and out.
#include "tests/emulation/machine/Copies.h"
#include "tests/emulation/machine/Instructions.h"
#include "tests/emulation/machine/Layouts.h"
#include "tests/emulation/machine/Plants.h"
#include "tests/emulation/machine/TensorMap.h"

#include <algorithm>
#include <array>
#include <bitset>
#include <cstring>
#include <fmt/format.h>

namespace moec::emulation {
namespace {

/// Of a box of at most 128 KB, in 128 bytes: more than a stage holds.
using Rows = std::bitset<1024>;

/// Calls `row(shared offset, coordinates of its first element)` for each row of 128 bytes of a box at `at`.
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
    return nullptr; // boxes of ours start at a multiple of 128 bytes
  count = std::min<uint32_t>(map.box[0], map.size[0] - static_cast<uint32_t>(position[0]));
  return from + position[0] * map.elementBytes;
}

/// PTX ISA, "Tensors", "Swizzling Modes", 128B: bits 4-6 of the shared address are XORed with bits 7-9. Elements
/// outside of the tensor are zeros; `unseen` rows, which may hold anything, are as if nothing had come.
void moveBox(Block &block, const Box &map, uint32_t address, const int32_t *at, const Rows &unseen) {
  forRows(map, at, [&](uint32_t offset, const int32_t *position) {
    uint8_t bytes[128] = {};
    uint32_t count = 0;
    if (unseen[offset / 128])
      std::memset(bytes, notThere, sizeof(bytes));
    else if (const uint8_t *from = rowInTensor(map, position, count))
      std::memcpy(bytes, from, count * map.elementBytes);
    for (uint32_t piece = 0; piece < 8; ++piece) {
      const uint32_t linear = address + offset + piece * 16;
      const uint32_t to = isPlanted(Bug::SwizzleWrong) ? linear : swizzle128(linear);
      std::memcpy(block.shared.at(to, 16).host, &bytes[piece * 16], 16);
    }
  });
}

/// The other way: bytes outside of the tensor stay as they are.
void moveBoxOut(Block &block, const Box &map, uint32_t address, const int32_t *at) {
  forRows(map, at, [&](uint32_t offset, const int32_t *position) {
    uint32_t count = 0;
    uint8_t *to = const_cast<uint8_t *>(rowInTensor(map, position, count));
    for (uint32_t i = 0; to && i < count * map.elementBytes; i += 2)
      std::memcpy(to + i, block.shared.at(swizzle128(address + offset + i), 2).host, 2);
  });
}

/// Checks what all bulk tensor copies must keep to.
Box boxOf(Block &block, const void *tensorMap, uint32_t rank, uint32_t address) {
  Box map;
  if (!readBox(tensorMap, map) || map.rank != rank || map.box[0] * map.elementBytes != 128)
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
      block.touchGlobal(to, count * map.elementBytes, Use::Write, writer(thread, stores.writes, number, id, false),
                        "cp.async.bulk.tensor to device memory");
  });
  block.start({.kind = AsyncOperation::Store, .thread = &thread, .number = number, .move = [&block, map, address, at] {
                 moveBoxOut(block, map, address, at.data());
               }});
  block.pause();
}

void bulkCommit() {
  if (isPlanted(Bug::SkipBulkCommit))
    return;
  BulkStores &stores = Block::current().self().stores;
  stores.groups.push_back(stores.issued);
}

// PTX ISA, "cp.async.bulk.wait_group"; .read: shared memory has been read, device memory need not be written.
void bulkWait(uint32_t pending, bool readsAlone) {
  if (isPlanted(readsAlone ? Bug::SkipBulkWaitRead : Bug::SkipBulkWait))
    return;
  readsAlone |= isPlanted(Bug::BulkWaitReads);
  Block &block = Block::current();
  Thread &thread = block.self();
  block.pause();
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

namespace {

/// A bulk copy of `bytes` bytes to a block's shared memory, by the running thread; `move` brings them some time.
void startBulk(Block &to, uint32_t address, uint32_t bytes, uint32_t barrierAddress, const char *what, bool async,
               std::function<void()> move) {
  Block &block = Block::current();
  Thread &thread = block.self();
  const auto found = to.barriers.find(barrierAddress);
  if (found == to.barriers.end())
    block.fail(Fault::Barrier,
               fmt::format("{} completes on {:#x}, which is no initialised mbarrier", what, barrierAddress));
  Barrier &barrier = found->second;
  if (thread.known.generic.of(barrier.initialised.agent) < barrier.initialised.time)
    block.fail(Fault::Barrier, fmt::format("{} completes on mbarrier {:#x}, whose initialisation it need not have seen",
                                           what, barrierAddress));
  if (!barrier.fenced)
    block.fail(Fault::Barrier, fmt::format("a bulk copy completes on mbarrier {:#x}, which was initialised without "
                                           "fence.mbarrier_init",
                                           barrierAddress));
  if (barrier.agent == 0)
    barrier.agent = block.newAgent(fmt::format("a bulk copy that completes on mbarrier {:#x}", barrierAddress));
  const uint32_t number = ++barrier.bulkIssued;
  to.touchShared(address, bytes, Use::Write,
                 writer(thread, barrier.agent, number, block.actor(thread).epoch.block, async), what);
  std::memset(to.storageOf(address, bytes, what), notThere, bytes);
  barrier.bulkUnderWay.push_back(number);
  to.start({.kind = AsyncOperation::Bulk,
            .thread = &thread,
            .number = number,
            .shared = address,
            .barrier = barrierAddress,
            .move = std::move(move),
            .bytes = bytes});
}

} // namespace

// PTX ISA, "cp.async.bulk.tensor", .shared::cluster.global
void tmaLoad(uint32_t address, const void *tensorMap, std::initializer_list<uint32_t> coordinates,
             uint32_t barrierAddress) {
  tmaLoadToAll(address, tensorMap, coordinates, barrierAddress,
               static_cast<uint16_t>(1u << Block::current().clusterRank()));
}

void tmaLoadToAll(uint32_t address, const void *tensorMap, std::initializer_list<uint32_t> coordinates,
                  uint32_t barrierAddress, uint16_t blocks) {
  Block &block = Block::current();
  Thread &thread = block.self();
  if (isPlanted(Bug::TmaWrongPlace))
    address += 1024;
  if (isPlanted(Bug::MulticastToOne))
    blocks = static_cast<uint16_t>(1u << block.clusterRank());
  const Box map = boxOf(block, tensorMap, static_cast<uint32_t>(coordinates.size()), address);
  std::array<int32_t, Box::maxRank> at{};
  std::copy(coordinates.begin(), coordinates.end(), at.begin());
  if (isPlanted(Bug::TmaWrongRow))
    ++at[1];
  // (Through the async proxy; what was written before the launch needs no fence.)
  const Actor actor{block.actor(thread).epoch, &thread.known.async, &thread.known.generic};
  Rows unseen;
  forRows(map, at.data(), [&](uint32_t offset, const int32_t *position) {
    uint32_t count = 0;
    if (const uint8_t *from = rowInTensor(map, position, count))
      unseen[offset / 128] = !block.readRow(from, count * map.elementBytes, actor, "cp.async.bulk.tensor");
  });
  for (uint32_t rank = 0; rank < 16; ++rank)
    if (blocks >> rank & 1) {
      Block &to = block.neighbour(rank, "cp.async.bulk.tensor");
      startBulk(to, address, map.bytes(), barrierAddress, "cp.async.bulk.tensor", true,
                [&to, map, address, at, unseen] { moveBox(to, map, address, at.data(), unseen); });
    }
  block.pause();
}

// PTX ISA, "st.async"
void storeAsync16(uint32_t address, const uint32_t (&value)[4], uint32_t barrierAddress, uint32_t rank) {
  Block &block = Block::current();
  Block &to = block.neighbour(rank, "st.async");
  if (address % 16 != 0)
    block.fail(Fault::Copy, fmt::format("st.async to {:#x}: not a multiple of 16", address));
  std::array<uint32_t, 4> values{};
  std::copy(std::begin(value), std::end(value), values.begin());
  startBulk(to, address, 16, barrierAddress, "st.async", false,
            [&to, address, values] { std::memcpy(to.hostOf(address, 16, "st.async"), values.data(), 16); });
  block.pause();
}

} // namespace moec::emulation
