// Bugs are planted to test the emulator: one that no schedule shows is a failure.
#pragma once

#include "tests/emulation/Schedules.h"
#include "tests/emulation/machine/Plants.h"

#include <string>

namespace moec::emulation {

/// The fault whose name starts the message, as it does the machine's; none: the kernel ran to its end, and its result is wrong.
inline std::optional<Fault> faultOf(const std::string &message) {
  for (Fault fault : {Fault::Race, Fault::Unwritten, Fault::OutOfBounds, Fault::Order, Fault::Deadlock, Fault::Barrier,
                      Fault::Collective, Fault::Copy, Fault::Wgmma, Fault::Registers})
    if (message.starts_with(std::string(nameOf(fault)) + ": "))
      return fault;
  return std::nullopt;
}

inline std::string textOf(std::optional<Fault> fault) { return fault ? nameOf(*fault) : "wrong result"; }

/// How a planted bug was caught.
struct Caught {
  uint64_t seed = 0; // 0: by none
  std::string message;

  std::optional<Fault> fault() const { return faultOf(message); }
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
