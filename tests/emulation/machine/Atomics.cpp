// Atomics. Relaxed: they order nothing but themselves.
#include "tests/emulation/machine/Block.h"
#include "tests/emulation/machine/Instructions.h"

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

float atomicAddFloat(float *address, float value) {
  touch(address);
  const float before = *address;
  *address = before + value;
  return before;
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
