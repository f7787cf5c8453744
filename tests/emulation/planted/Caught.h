// Bugs are planted to test the emulator: one that no schedule shows is a failure.
#pragma once

#include "tests/emulation/Schedules.h"
#include "tests/emulation/machine/Plants.h"

#include <string>

namespace moec::emulation {

/// What a planted bug must lead to: one of the faults' names at the start of the message, or "wrong result".
struct Caught {
  uint64_t seed = 0; // 0: by none
  std::string message;
};

/// Runs `test` under schedules until one fails. The bug is gone afterwards.
inline Caught firstFailure(Plant plant, const std::function<std::string(uint64_t seed)> &test) {
  planted = plant;
  Caught caught;
  for (uint64_t seed = 1; seed <= kSchedules && caught.seed == 0; ++seed)
    if (std::string message = test(seed); !message.empty())
      caught = {seed, message};
  planted = {};
  return caught;
}

} // namespace moec::emulation
