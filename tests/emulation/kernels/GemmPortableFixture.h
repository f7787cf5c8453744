// One launch of groupedGemmPortable. Include its .cuh first.
#pragma once

#include "tests/emulation/kernels/GemmFixture.h"

namespace moec::emulation {

template <GemmConfig C> std::string runPortable(const GemmProblem &p, uint64_t seed) {
  DeviceMemory device;
  const GroupedGemmArgs args = gemmArgs(device, p, C.tileTokens);
  const LaunchShape shape{.blocks = 3,
                          .threads = portableThreads(C),
                          .sharedBytes = portableSharedBytes(C),
                          .dynamicShared = stages,
                          .sharedAlignment = 128};
  const auto failure = launch(device, shape, seed, [&] { groupedGemmPortable<C, ActivationOf<C>>(args); });
  return failure ? failure->message : compare(p, args.output);
}

} // namespace moec::emulation
