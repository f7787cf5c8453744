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

/// Gate-up whose rows lie by slot.
constexpr GemmConfig laidOut(GemmConfig config) {
  config.rowsLaid = true;
  return config;
}

/// What layRows would leave of the problem's tokens: [numSlots, k].
inline std::vector<uint16_t> laidRows(const GemmProblem &p) {
  std::vector<uint16_t> rows;
  for (int32_t pair : p.slots.slotPair) {
    const auto token = p.tokens.begin() + static_cast<uint32_t>(pair) / p.test.topK * uint64_t{p.test.k};
    rows.insert(rows.end(), token, token + p.test.k);
  }
  rows.resize(std::max<size_t>(rows.size(), p.test.k));
  return rows;
}

inline TensorMap rowMap(const void *from, uint32_t k, uint32_t rows, uint32_t boxRows) {
  return tensorMap<TensorMap>(rowTensor(Element::BF16, addressOf(from), k, rows, boxRows));
}

inline TensorMap interleavedMap(const GroupedGemmArgs &args, uint32_t groups) {
  return tensorMap<TensorMap>(interleavedTensor(Element::BF16, addressOf(args.weights), addressOf(args.upWeights), args.k, args.n,
                                                args.numExperts, static_cast<uint64_t>(args.expertStride), groups));
}

/// Who copies rows that lie by slot looks its first tile up while the kernel before it runs: the tables are of an earlier launch.
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

/// `bits`: gets the outputs, if not null.
template <GemmConfig C>
std::string runFitted(const GemmProblem &p, uint64_t seed, uint32_t blocks, std::vector<uint16_t> *bits = nullptr) {
  constexpr bool gated = C.role == GemmRole::GateUp;
  DeviceMemory device;
  GroupedGemmArgs args = gemmArgs(device, p, C.tileTokens);
  args.tileCounter = device.output(std::vector<uint32_t>{0});
  if (!gathersTokens(C))
    settleTables(device, args);
  if (C.rowsLaid)
    args.tokens = device.input(laidRows(p));
  const uint32_t rows = std::max<uint32_t>(1, static_cast<uint32_t>(p.slots.slotPair.size()));
  const TensorMap weights =
      gated ? interleavedMap(args, boxGroups(C))
            : weightMap<TensorMap>(args.weights, args.k, args.n, args.numExperts,
                                   static_cast<uint64_t>(args.expertStride), boxRows(C));
  const TensorMap output = rowMap(args.output, args.n, rows, kOutputBoxRows);
  const TensorMap tokens = gathersTokens(C) ? output : rowMap(args.tokens, args.k, rows, tokenBoxRows(C));
  const LaunchShape shape{
      .blocks = blocks, .threads = hopperThreads(C), .sharedBytes = hopperSharedBytes(C), .dynamicShared = unaligned,
                          .unwrittenRows = true};
  using Activation = std::conditional_t<gated, SiluGate, NoActivation>;
  const auto failure =
      launch(device, shape, seed, [&] { groupedGemmFitted<C, Activation>(weights, tokens, output, args); });
  if (failure)
    return failure->message;
  if (bits)
    bits->assign(static_cast<const uint16_t *>(args.output), static_cast<const uint16_t *>(args.output) + p.expected.size());
  return *args.tileCounter ? "the tile counter is not left as zero" : compare(p, args.output);
}

} // namespace moec::emulation
