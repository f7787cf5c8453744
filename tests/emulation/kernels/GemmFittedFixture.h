// One launch of groupedGemmFitted. Include its .cuh first.
#pragma once

#include "tests/emulation/kernels/GemmFixture.h"

namespace moec::emulation {

constexpr GemmConfig fittedConfig(Element element, GemmRole role, uint32_t tokens, uint32_t weights, uint32_t tileK,
                                  uint32_t stages, uint32_t groups, uint32_t blocksPerSm) {
  return {.element = element, .role = role, .tileTokens = tokens, .tileWeights = weights, .tileK = tileK,
          .stages = stages, .warpsTokens = groups, .warpsWeights = 1, .swapAB = true, .blocksPerSm = blocksPerSm,
          .dense = false};
}

inline TensorMap rowMap(const void *from, uint32_t k, uint32_t rows, uint32_t boxRows) {
  return tensorMap<TensorMap>(rowTensor(Element::BF16, addressOf(from), k, rows, boxRows));
}

inline TensorMap interleavedMap(const GroupedGemmArgs &args, uint32_t groups) {
  return tensorMap<TensorMap>(interleavedTensor(Element::BF16, addressOf(args.weights), addressOf(args.upWeights), args.k, args.n,
                                                args.numExperts, static_cast<uint64_t>(args.expertStride), groups));
}

/// Down looks its first tile up while the kernel before it runs: the tables are of an earlier launch.
inline void settleTables(DeviceMemory &device, GroupedGemmArgs &args) {
  const auto settle = [&](const int32_t *&table, size_t count) {
    if (table)
      table = device.constant(DeviceMemory::values(table, count));
  };
  const auto tiles = static_cast<size_t>(args.tileBegin[args.numExperts]);
  settle(args.tilePlace, tiles);
  settle(args.tileBegin, args.numExperts + 1);
  settle(args.expertOrder, args.numExperts);
  settle(args.expertBegin, args.numExperts + 1);
  args.expertEnd = args.expertBegin + 1;
}

template <GemmConfig C> std::string runFitted(const GemmProblem &p, uint64_t seed, uint32_t blocks) {
  constexpr bool gated = C.role == GemmRole::GateUp;
  DeviceMemory device;
  GroupedGemmArgs args = gemmArgs(device, p, C.tileTokens);
  args.tileCounter = device.output(std::vector<uint32_t>{0});
  if (!gated)
    settleTables(device, args);
  const uint32_t rows = std::max<uint32_t>(1, static_cast<uint32_t>(p.slots.slotPair.size()));
  const TensorMap weights =
      gated ? interleavedMap(args, boxGroups(C))
            : weightMap<TensorMap>(args.weights, args.k, args.n, args.numExperts,
                                   static_cast<uint64_t>(args.expertStride), boxRows(C));
  const TensorMap output = rowMap(args.output, args.n, rows, kOutputBoxRows);
  const TensorMap tokens = gated ? output : rowMap(args.tokens, args.k, rows, tokenBoxRows(C));
  const LaunchShape shape{
      .blocks = blocks, .threads = hopperThreads(C), .sharedBytes = hopperSharedBytes(C), .dynamicShared = unaligned,
                          .unwrittenRows = true};
  using Activation = std::conditional_t<gated, SiluGate, NoActivation>;
  const auto failure =
      launch(device, shape, seed, [&] { groupedGemmFitted<C, Activation>(weights, tokens, output, args); });
  if (failure)
    return failure->message;
  return *args.tileCounter ? "the tile counter is not left as zero" : compare(p, args.output);
}

} // namespace moec::emulation
