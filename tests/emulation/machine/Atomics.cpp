// Atomics. They order nothing but themselves, except those with acquire and release order.
#include "tests/emulation/machine/Block.h"
#include "tests/emulation/machine/Instructions.h"
#include "tests/emulation/machine/Plants.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace moec::emulation {
namespace {

void touch(void *address) {
  Block &block = Block::current();
  block.pause();
  block.touch(address, 4, Use::Atomic);
}

/// Who loads the same value again waits until something has changed.
void waitIfSeen(Block &block, Thread &thread, const uint32_t *address) {
  for (const LastLoad &last : thread.lastLoads)
    if (last.address == address && last.value == *address)
      return block.waitForChange();
}

uint32_t keepLoaded(Thread &thread, const uint32_t *address) {
  LastLoad &newest = thread.lastLoads[0], &other = thread.lastLoads[1];
  if (newest.address != address)
    std::swap(newest, other);
  newest = {address, *address};
  return *address;
}

} // namespace

uint32_t atomicAdd32(uint32_t *address, uint32_t value) {
  touch(address);
  const uint32_t before = *address;
  *address = before + value;
  return before;
}

uint32_t atomicIncrement32(uint32_t *address, uint32_t last) {
  touch(address);
  const uint32_t before = *address;
  *address = before >= last ? 0 : before + 1;
  return before;
}

float atomicAddFloat(float *address, float value) {
  touch(address);
  const float before = *address;
  *address = before + value;
  return before;
}

uint32_t atomicAddAcquireRelease(uint32_t *address, uint32_t value) {
  touch(address);
  Block &block = Block::current();
  Knowledge &released = block.grid.released[address];
  if (!isPlanted(Bug::RelaxedAtomics)) {
    block.self().known.join(released);
    block.release(block.self(), released);
  }
  const uint32_t before = *address;
  *address = before + value;
  return before;
}

uint32_t loadAcquire(const uint32_t *address) {
  Block &block = Block::current();
  Thread &thread = block.self();
  waitIfSeen(block, thread, address);
  touch(const_cast<uint32_t *>(address));
  thread.known.join(block.grid.released[address]);
  return keepLoaded(thread, address);
}

void addRelease(uint32_t *address, uint32_t value) {
  touch(address);
  Block &block = Block::current();
  if (!isPlanted(Bug::RelaxedAtomics)) {
    block.release(block.self(), block.grid.released[address]);
    block.noteReleased(address);
  }
  *address += value;
}

uint32_t loadRelaxed(const uint32_t *address) {
  Block &block = Block::current();
  Thread &thread = block.self();
  waitIfSeen(block, thread, address);
  block.pause();
  block.touchReleased(address);
  thread.relaxed.join(block.grid.released[address]);
  thread.readsPrevious |= block.wasReleased(address);
  return keepLoaded(thread, address);
}

void fenceAcquire() {
  Thread &thread = Block::current().self();
  thread.known.join(thread.relaxed);
  thread.acquiredPrevious |= thread.readsPrevious;
  std::fill(std::begin(thread.lastLoads), std::end(thread.lastLoads), LastLoad{}); // it goes on: no spin
}

uint32_t atomicMax32(uint32_t *address, uint32_t value) {
  touch(address);
  const uint32_t before = *address;
  *address = std::max(before, value);
  return before;
}

uint32_t atomicExchange32(uint32_t *address, uint32_t value) {
  touch(address);
  const uint32_t before = *address;
  *address = value;
  return before;
}

uint32_t atomicCompareExchange32(uint32_t *address, uint32_t expected, uint32_t value) {
  touch(address);
  const uint32_t before = *address;
  if (before == expected)
    *address = value;
  return before;
}

} // namespace moec::emulation
