// What copies of all kinds share. A copy takes place when the schedule says so: bytes that nobody has waited for are a
// pattern until then.
#pragma once

#include "tests/emulation/machine/Block.h"

namespace moec::emulation {

inline constexpr int notThere = 0xff; // NaN as bf16, f16 and f32

/// A copy that `thread` issues, as one who touches memory: what came before is what the thread knew.
inline Actor writer(const Thread &thread, Agent agent, uint32_t number, uint16_t block, bool async) {
  return {{number, agent, block, 0}, async ? &thread.known.async : &thread.known.generic, &thread.known.generic};
}

} // namespace moec::emulation
