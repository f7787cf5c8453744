// The one source of chance: everything that a schedule decides comes from its seed.
#pragma once

#include <cstdint>

namespace moec::emulation {

class Random {
public:
  explicit Random(uint64_t seed) : state(seed * 0x9e3779b97f4a7c15u + 0x632be59bd9b4e019u) {}

  /// splitmix64
  uint64_t next() {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  uint32_t below(uint32_t limit) { return static_cast<uint32_t>((next() >> 32) * limit >> 32); }
  /// True `times` out of 256.
  bool chance(uint32_t times) { return below(256) < times; }

private:
  uint64_t state;
};

} // namespace moec::emulation
