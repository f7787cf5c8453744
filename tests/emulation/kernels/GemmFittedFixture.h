// One launch of groupedGemmFitted. Include its .cuh first.
#pragma once

#include "tests/emulation/kernels/GemmFixture.h"
#include "tests/emulation/kernels/TileCounters.h"

namespace moec::emulation {

constexpr GemmConfig fittedConfig(Element element, GemmRole role, uint32_t tokens, uint32_t weights, uint32_t tileK,
                                  uint32_t stages, uint32_t groups, uint32_t blocksPerSm) {
  return {.element = element,
          .role = role,
          .tileTokens = tokens,
          .tileWeights = weights,
          .tileK = tileK,
          .stages = stages,
          .warpsTokens = groups,
          .warpsWeights = 1,
          .swapAB = true,
          .blocksPerSm = blocksPerSm,
          .dense = false};
}

/// In clusters of two.
constexpr GemmConfig inPairs(GemmConfig config) {
  config.clusterBlocks = 2;
  return config;
}

inline TensorMap rowMap(const void *from, uint32_t k, uint32_t rows, uint32_t boxRows) {
  return tensorMap<TensorMap>(rowTensor(Element::BF16, addressOf(from), k, rows, boxRows));
}

/// Maps of gate and up, or of down, as groupedGemmFitted takes them.
inline TensorMap fittedWeightMap(const GemmConfig &c, const GroupedGemmArgs &args) {
  const auto stride = static_cast<uint64_t>(args.expertStride);
  if (c.role == GemmRole::Down)
    return weightMap<TensorMap>(args.weights, args.k, args.n, args.numExperts, stride, boxRows(c));
  return tensorMap<TensorMap>(interleavedTensor(Element::BF16, addressOf(args.weights), addressOf(args.upWeights),
                                                args.k, args.n, args.numExperts, stride, boxGroups(c)));
}

/// Who copies rows that lie by slot looks its first tile up while the kernel before it runs: the tables are of an
/// earlier launch.
inline void settleTables(DeviceMemory &device, GroupedGemmArgs &args) {
  args.tiles = device.constant(DeviceMemory::values(args.tiles, args.tileHead->tokenTiles));
  args.tileHead = device.constant(DeviceMemory::values(args.tileHead, 1));
}

/// Rows of the maps of what lies by slot.
inline uint32_t mappedRows(const bench::ReferenceSlots &slots) {
  return std::max<uint32_t>(1, static_cast<uint32_t>(slots.slotPair.size()));
}

/// Launches a kernel with a ring of stages (groupedGemmFitted or groupedGemmFp8). Empty, or what is wrong.
template <GemmConfig C>
std::string launchRing(DeviceMemory &device, const GemmProblem &p, const GroupedGemmArgs &args, uint32_t sharedBytes,
                       uint32_t blocks, uint64_t seed, const std::function<void()> &kernel) {
  const LaunchShape shape{.blocks = blocks,
                          .threads = hopperThreads(C),
                          .sharedBytes = sharedBytes,
                          .dynamicShared = unaligned,
                          .unwrittenRows = true,
                          .clusterBlocks = C.clusterBlocks};
  if (const auto failure = launch(device, shape, seed, kernel))
    return failure->message;
  return leavesCounters(args.tileCounters) ? "a tile counter is not left as zero" : compare(p, args.output);
}

/// `bits`: gets the outputs, if not null.
template <GemmConfig C>
std::string runFitted(const GemmProblem &p, uint64_t seed, uint32_t blocks, std::vector<uint16_t> *bits = nullptr) {
  DeviceMemory device;
  GroupedGemmArgs args = gemmArgs(device, p, C.tileTokens);
  args.tileCounters = device.output(std::vector<uint32_t>(kTileCounters));
  if (!gathersTokens(C))
    settleTables(device, args);
  const uint32_t rows = mappedRows(p.slots);
  const TensorMap weights = fittedWeightMap(C, args), output = rowMap(args.output, args.n, rows, kOutputBoxRows);
  const auto numTokens = static_cast<uint32_t>(p.tokens.size() / args.k);
  const TensorMap tokens = rowMap(args.tokens, args.k, gathersTokens(C) ? numTokens : rows, tokenBoxRows(C));
  blocks = std::max(1u, blocks / C.clusterBlocks) * C.clusterBlocks;
  const std::string wrong = launchRing<C>(device, p, args, hopperSharedBytes(C), blocks, seed, [&] {
    groupedGemmFitted<C, ActivationOf<C>>(weights, tokens, output, args);
  });
  const auto *outputs = static_cast<const uint16_t *>(args.output);
  if (bits)
    bits->assign(outputs, outputs + p.expected.size());
  return wrong;
}

} // namespace moec::emulation
