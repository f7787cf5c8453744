// What tests of layers of two-byte elements, as sessions queue them, have in common.
#pragma once

#include "tests/emulation/session/EmulatedDriver.h"
#include "tools/bench/gpu/Reference.h"
#include "tools/bench/gpu/Routing.h"

#include <cmath>

namespace moec::emulation {

/// The experts' weights, in one allocation as a session's: up behind gate.
inline CudaWeights weightsOn(emulation::DeviceMemory &memory, const std::vector<uint16_t> &gateThenUp,
                             const std::vector<uint16_t> &down) {
  CudaWeights weights;
  weights.gate = addressOf(memory.constant(gateThenUp));
  weights.up = weights.gate + gateThenUp.size() / 2 * sizeof(uint16_t);
  weights.down = addressOf(memory.constant(down));
  return weights;
}

/// Empty, or where the output of a step [T, hidden] is not near its reference.
inline std::string outputDifference(const bench::ReferenceLayer &expected, const uint16_t *output, uint32_t hidden) {
  for (size_t i = 0; i < expected.output.size(); ++i)
    if (const float got = bench::elementValue(output[i], true);
        !(std::abs(got - expected.output[i]) <= 4.0 / 256 * (std::abs(expected.output[i]) + 1)))
      return fmt::format("token {} column {}: {}, expected {}", i / hidden, i % hidden, got, expected.output[i]);
  return "";
}

} // namespace moec::emulation
