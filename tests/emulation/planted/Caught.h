// Bugs are planted to test the emulator: one that no schedule shows is a failure.
#pragma once

#include "tests/emulation/Schedules.h"
#include "tests/emulation/machine/Plants.h"

#include <fmt/format.h>
#include <initializer_list>
#include <optional>
#include <string>

namespace moec::emulation {

/// The fault whose name starts the message, as it does the machine's; none: the kernel ran to its end, and its result
/// is wrong.
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

inline constexpr std::nullopt_t wrongResult = std::nullopt;

/// A defect in a real kernel, through the instructions that it executes.
struct PlantedBug {
  const char *name;
  std::optional<Fault> fault; // that it leads to
  Plant plant;
  std::string (*kernel)(uint64_t seed);
  std::optional<Fault> orElse = {}; // where the schedule decides which of two comes first
};

inline void checkWell(std::initializer_list<std::string (*)(uint64_t seed)> kernels) {
  for (const auto kernel : kernels)
    for (uint64_t seed = 1; seed <= 5; ++seed)
      CHECK(kernel(seed) == "");
}

inline void checkCaught(const PlantedBug &bug) {
  const Caught caught = firstFailure(bug.plant, bug.kernel);
  INFO(bug.name << ": " << caught.message);
  CHECK(caught.seed != 0);
  if (!bug.orElse || caught.fault() != bug.orElse)
    CHECK(textOf(caught.fault()) == textOf(bug.fault));
  if (std::getenv("MOEC_EMULATION_VERBOSE"))
    fmt::print("{:40} seed {:2}: {}\n", bug.name, caught.seed, caught.message.substr(0, 150));
}

} // namespace moec::emulation
