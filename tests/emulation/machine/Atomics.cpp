// Atomics. They order nothing but themselves, except those with acquire and release order.
#include "tests/emulation/machine/Block.h"
#include "tests/emulation/machine/Instructions.h"
#include "tests/emulation/machine/Plants.h"

#include <algorithm>
#include <bit>

namespace moec::emulation {
namespace {

void touch(void *address) {
  Block &block = Block::current();
  block.pause();
  block.touch(address, 4, Use::Atomic);
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
  if (thread.lastLoad.address == address && thread.lastLoad.value == *address)
    block.waitForChange();
  touch(const_cast<uint32_t *>(address));
  thread.known.join(block.grid.released[address]);
  thread.lastLoad = {address, *address};
  return *address;
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
