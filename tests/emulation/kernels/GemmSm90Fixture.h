// One launch of groupedGemmSm90. Include its .cuh first.
#pragma once

#include "tests/emulation/kernels/GemmFixture.h"

namespace moec::emulation {

template <GemmConfig C> std::string runSm90(const GemmProblem &p, uint64_t seed, uint32_t blocks = 3) {
  DeviceMemory device;
  const GroupedGemmArgs args = gemmArgs(device, p, C.tileTokens);
  const auto map = [&](const void *weights) {
    return weightMap<TensorMap>(weights, args.k, args.n, args.numExperts, static_cast<uint64_t>(args.expertStride),
                                boxRows(C));
  };
  const TensorMap gate = map(args.weights), up = map(args.upWeights);
  const LaunchShape shape{
      .blocks = blocks, .threads = hopperThreads(C), .sharedBytes = hopperSharedBytes(C), .dynamicShared = unaligned};
  const auto failure = launch(device, shape, seed, [&] { groupedGemmSm90<C, ActivationOf<C>>(gate, up, args); });
  return failure ? failure->message : compare(p, args.output);
}

} // namespace moec::emulation
