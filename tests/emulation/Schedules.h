// Runs a test under many schedules, each from its own seed.
#pragma once

#include "tests/emulation/machine/Launch.h"
#include "tests/unit/Catch.h"

#include <cstdlib>
#include <functional>

namespace moec::emulation {

/// Schedules of every conformance case.
inline constexpr uint32_t kSchedules = 50;
/// Of whole layers as sessions queue them: several steps each, of kernels that have kSchedules by themselves.
inline constexpr uint32_t kSessionSchedules = 25;

/// A seed to run alone, from MOEC_EMULATION_SEED: how a failure is reproduced.
inline std::optional<uint64_t> onlySeed() {
  const char *text = std::getenv("MOEC_EMULATION_SEED");
  return text ? std::optional<uint64_t>(std::strtoull(text, nullptr, 10)) : std::nullopt;
}

/// Runs `test`, which returns an empty string where all was well, under `schedules` schedules; stops at the first that
/// fails, and names its seed.
inline void forSchedules(uint32_t schedules, const std::function<std::string(uint64_t seed)> &test) {
  const std::optional<uint64_t> only = onlySeed();
  for (uint64_t seed = only.value_or(1); seed <= only.value_or(schedules); ++seed) {
    INFO("MOEC_EMULATION_SEED=" << seed << " reproduces this"); // also where the kernel crashes the test
    const std::string failure = test(seed);
    REQUIRE(failure == "");
  }
}

inline std::string messageOf(const std::optional<Failure> &failure) { return failure ? failure->message : ""; }

} // namespace moec::emulation
