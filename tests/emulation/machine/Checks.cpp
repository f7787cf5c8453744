// What accesses are checked for, and what a block must not leave behind.
#include "tests/emulation/machine/Block.h"

#include <algorithm>
#include <fmt/format.h>

namespace moec::emulation {
namespace {

const char *verb(Use use) { return use == Use::Read ? "reads" : use == Use::Write ? "writes" : "adds to"; }

} // namespace

void Block::report(const Conflict &conflict, Use use, const Actor &actor, const char *what, uint64_t address) {
  if (conflict.unwritten)
    fail(Fault::Unwritten,
         fmt::format("{} {} {:#x} (byte {}), which nobody wrote", what, verb(use), address, conflict.offset));
  const std::string other = conflict.other.block == blockId || conflict.other.block == 0
                                ? nameOf(conflict.other.agent)
                                : fmt::format("block {}", conflict.other.block - 1);
  const bool happened = known(conflict.other, active->self().known.generic, actor);
  fail(Fault::Race, fmt::format("{} {} {:#x} (byte {}), which {} {}; {}", what, verb(use), address, conflict.offset,
                                other, conflict.otherWrote ? "wrote" : "read",
                                happened ? "no fence.proxy.async lies between" : "nothing orders the two"));
}

void Block::touchShared(uint32_t address, uint32_t bytes, Use use, const Actor &actor, const char *what) {
  const SharedMemory::Place place = shared.at(address, bytes);
  if (!place.host)
    fail(Fault::OutOfBounds,
         fmt::format("{} {} {} bytes at {:#x}, which is not shared memory", what, verb(use), bytes, address));
  if (const auto conflict = place.shadow->touch(place.offset, bytes, use, actor))
    report(*conflict, use, actor, what, address);
}

bool Block::isWritten(uint32_t address, uint32_t bytes) {
  const SharedMemory::Place place = shared.at(address, bytes);
  return place.host && place.shadow->isWritten(place.offset, bytes);
}

/// What launches before the last one have left is there, and what they read is free, if the last one waited for them
/// before it let this one start. Of the last one this launch has to know by what that released, or, if they overlap, in
/// an order that the accesses show.
bool Block::mayTouchEarly(const DeviceMemory::Buffer &buffer, uint32_t offset, uint32_t bytes, Use use) {
  if (buffer.content == Content::Constant || self().acquiredPrevious)
    return true;
  if (overlapsPrevious())
    return !grid.startedEarly;
  if (buffer.content == Content::Input)
    return use == Use::Read && device.inputsAreSettled();
  return use == Use::Read ? buffer.shadow.isOld(offset, bytes)
                          : use == Use::Write && device.inputsAreSettled() && buffer.shadow.isIdle(offset, bytes);
}

void Block::touchReleased(const uint32_t *address) {
  if (!self().waitedForPrevious && (overlapsPrevious() ? grid.startedEarly : device.previousStartedEarly()))
    fail(Fault::Order, "ld.relaxed of what a launch before the last one may still clear");
  touchGlobal(address, 4, Use::Atomic, actor(self()), "ld.relaxed", false);
}

void Block::touchGlobal(const void *address, size_t bytes, Use use, const Actor &actor, const char *what,
                        bool ordered) {
  DeviceMemory::Buffer *buffer = device.find(address, bytes);
  if (!buffer)
    fail(Fault::OutOfBounds,
         fmt::format("{} {} {} bytes of device memory that are in no buffer", what, verb(use), bytes));
  const size_t offset = static_cast<size_t>(static_cast<const uint8_t *>(address) - buffer->begin);
  if (ordered && !self().waitedForPrevious &&
      !mayTouchEarly(*buffer, static_cast<uint32_t>(offset), static_cast<uint32_t>(bytes), use))
    fail(Fault::Order, fmt::format("{} {} device memory before griddepcontrol.wait", what, verb(use)));
  if (use != Use::Read)
    changed();
  if (buffer->content != Content::Output) {
    if (use != Use::Read)
      fail(Fault::OutOfBounds, fmt::format("{} {} an input", what, verb(use)));
    return;
  }
  if (const auto conflict =
          buffer->shadow.touch(static_cast<uint32_t>(offset), static_cast<uint32_t>(bytes), use, actor))
    report(*conflict, use, actor, what, offset);
}

bool Block::readRow(const void *address, size_t bytes, const Actor &actor, const char *what) {
  const DeviceMemory::Buffer *buffer = device.find(address, bytes);
  if (!overlapsPrevious() || grid.startedEarly || !buffer || buffer->content != Content::Output) {
    touchGlobal(address, bytes, Use::Read, actor, what);
    return true;
  }
  const auto offset = static_cast<uint32_t>(static_cast<const uint8_t *>(address) - buffer->begin);
  return buffer->shadow.isSeen(offset, static_cast<uint32_t>(bytes), actor);
}

void Block::touch(const void *address, uint32_t bytes, Use use) {
  if (device.contains(address))
    return touchGlobal(address, bytes, use, actor(self()), "a plain access");
  if (!shared.isShared(address))
    return; // a local variable or an argument
  const SharedMemory::Place place = shared.at(address, bytes);
  if (!place.host)
    fail(Fault::OutOfBounds, fmt::format("a plain access {} {} bytes past dynamic shared memory", verb(use), bytes));
  if (const auto conflict = place.shadow->touch(place.offset, bytes, use, actor(self())))
    report(*conflict, use, actor(self()), "a plain access", shared.address(address));
}

uint8_t *Block::hostOf(uint32_t address, uint32_t bytes, const char *what) {
  const SharedMemory::Place place = shared.at(address, bytes);
  if (!place.host)
    fail(Fault::OutOfBounds, fmt::format("{}: {:#x} is not shared memory", what, address));
  return place.host;
}

/// What a block must not leave behind.
void Block::checkEnd() {
  const auto end = [&](Fault fault, const std::string &message) {
    setFailure(fault, fmt::format("{}: block {}: {}", emulation::nameOf(fault), blockIdx.x, message));
  };
  const auto known = [&](Agent agent) {
    uint32_t time = 0;
    for (const Thread &thread : threads)
      time = std::max(time, thread.known.generic.of(agent));
    return time;
  };
  // Who waits for this launch relies on it for the one before as well. A launch ends with its last block.
  const auto done = [](const Block *block) { return block->isDone(); };
  if (overlapsPrevious() && !grid.secondWaited &&
      std::all_of(grid.running.begin() + grid.firstBlocks, grid.running.end(), done))
    end(Fault::Order, "ended, as the last one, while the launch before may still run");
  for (const Thread &thread : threads)
    if (thread.arrivalsUnderWay)
      end(Fault::OutOfBounds,
          fmt::format("ended while arrivals of thread {} may be on their way to a block that has too", thread.index));
  for (const Thread &thread : threads)
    if (thread.copies.issued > 0 && known(thread.copies.agent) < thread.copies.issued)
      end(Fault::Copy, fmt::format("ended while nobody had waited for thread {}'s copies", thread.index));
  for (const Thread &thread : threads)
    if (thread.stores.issued > 0 && known(thread.stores.reads) < thread.stores.issued)
      end(Fault::Copy,
          fmt::format("ended while bulk stores of thread {} may still read its shared memory", thread.index));
  for (const auto &[address, barrier] : barriers)
    if (barrier.bulkIssued > 0 && known(barrier.agent) < barrier.bulkIssued)
      end(Fault::Copy, fmt::format("ended while nobody had waited for bulk copies on barrier {:#x}", address));
  for (size_t i = 0; i < warps.size(); ++i) {
    if (!warps[i].wgmma.queue.empty())
      end(Fault::Wgmma, fmt::format("warp {} ended without waiting for its wgmmas", i));
    if (warps[i].groupLog != warps[i / 4 * 4].groupLog)
      end(Fault::Collective, fmt::format("warp {} executed other warpgroup instructions than warp {}", i, i / 4 * 4));
  }
}

} // namespace moec::emulation
