// Lanes of a warp that execute an instruction together.
#pragma once

#include "tests/emulation/machine/Block.h"

namespace moec::emulation {

/// The running thread brings `operands` to `instruction`; the last of the lanes in `mask` to come runs `act` for all,
/// with each lane's operands (null for lanes outside the mask). All return after that.
using MeetingAct = void (*)(Block &block, Warp &warp, void *(&operands)[32]);
void meet(const char *instruction, uint32_t mask, void *operands, MeetingAct act);

inline constexpr uint32_t allLanes = 0xffffffffu;

} // namespace moec::emulation
