// cp.async, and how asynchronous operations come to an end.
#include "tests/emulation/machine/Copies.h"
#include "tests/emulation/machine/Instructions.h"
#include "tests/emulation/machine/Plants.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

namespace moec::emulation {
uint32_t sharedAddress(const void *shared) {
  Block &block = Block::current();
  const uint32_t address = block.shared.address(shared);
  if (address == 0)
    block.fail(Fault::OutOfBounds, "the shared address of what is not in shared memory");
  return address;
}

// PTX ISA, "Data Movement and Conversion Instructions: cp.async". Generic proxy, but seen by the issuing thread only
// after wait_group, and by others through an mbarrier or what that thread does after its wait.
void cpAsync(uint32_t address, const void *global, uint32_t bytes, bool valid) {
  Block &block = Block::current();
  Thread &thread = block.self();
  if (isPlanted(Bug::CopyWrongPlace))
    address ^= 16;
  if (isPlanted(Bug::CopyInvalid))
    valid = true;
  const uint8_t *next = static_cast<const uint8_t *>(global) + bytes;
  if (isPlanted(Bug::CopyFromNext) && block.isOnDevice(next, bytes))
    global = next;
  if (address % bytes != 0 || reinterpret_cast<uintptr_t>(global) % bytes != 0)
    block.fail(Fault::Copy, fmt::format("cp.async of {} bytes to {:#x} from an address that ends in {:#x}: not aligned",
                                        bytes, address, reinterpret_cast<uintptr_t>(global) % 16));
  Copies &copies = thread.copies;
  if (copies.agent == 0)
    copies.agent = block.newAgent(fmt::format("a cp.async of thread {}", thread.index));
  const uint32_t number = ++copies.issued;
  const Actor actor = block.actor(thread);
  if (valid)
    block.touchGlobal(global, bytes, Use::Read, actor, "cp.async");
  block.touchShared(address, bytes, Use::Write, writer(thread, copies.agent, number, actor.epoch.block, false),
                    "cp.async");
  std::memset(block.hostOf(address, bytes, "cp.async"), notThere, bytes);
  copies.underWay.push_back(number);
  block.start({.kind = AsyncOperation::Piece,
               .thread = &thread,
               .number = number,
               .shared = address,
               .global = valid ? static_cast<const uint8_t *>(global) : nullptr,
               .bytes = bytes});
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

/// Brings a piece, and makes the arrivals that waited for it possible.
void Block::landPiece(const AsyncOperation &operation) {
  Copies &copies = operation.thread->copies;
  uint8_t *to = shared.at(operation.shared, operation.bytes).host;
  if (operation.global)
    std::memcpy(to, operation.global, operation.bytes);
  else
    std::memset(to, 0, operation.bytes);
  copies.underWay.erase(std::find(copies.underWay.begin(), copies.underWay.end(), operation.number));
  const uint32_t oldest =
      copies.underWay.empty() ? UINT32_MAX : *std::min_element(copies.underWay.begin(), copies.underWay.end());
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
}

void Block::land(AsyncOperation operation) {
  switch (operation.kind) {
  case AsyncOperation::Piece: landPiece(operation); break;
  case AsyncOperation::Arrive: {
    Knowledge known;
    if (operation.number > 0)
      known.generic.raise(operation.thread->copies.agent, operation.number);
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

} // namespace moec::emulation
