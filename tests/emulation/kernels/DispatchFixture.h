// Dispatch of made-up ids, checked against bench::referenceSlots.
#pragma once

#include "compiler/kernels/dispatch.cuh"
#include "compiler/kernels/dispatchCluster.cuh"
#include "compiler/kernels/dispatchGrid.cuh"
#include "tests/emulation/Schedules.h"
#include "tests/emulation/kernels/JoinedSlots.h"
#include "tools/bench/gpu/Reference.h"
#include "tools/bench/gpu/Routing.h"

#include <fmt/format.h>
#include <string>
#include <vector>

namespace moec::emulation {

struct DispatchCase {
  std::string name;
  std::vector<int32_t> ids;
  uint32_t topK; // of ids that follow each other, a token's
  uint32_t tileTokens;
  bool ordered; // with an order of experts
  uint32_t mixRows = 4;

  uint32_t tokens() const { return static_cast<uint32_t>(ids.size()) / topK; }
};

inline std::vector<DispatchCase> dispatchCases(uint32_t experts) {
  std::mt19937_64 random(experts);
  std::vector<int32_t> padded = bench::drawIds(61, experts, 4, 0.7, random), hot(203, 5), none(9, -1);
  for (size_t i = 0; i < padded.size(); i += 3)
    padded[i] = i % 2 ? -1 : static_cast<int32_t>(experts); // both are padding
  std::vector<int32_t> idle = bench::drawIds(70, experts, 2, 0, random);
  for (int32_t &id : idle)
    id = id % 3 * 2;
  return {{"one pair", {3}, 1, 16, false},         {"padding", padded, 4, 16, true},
          {"idle experts", idle, 2, 8, false},     {"all pairs to one expert", hot, 1, 16, true},
          {"tiles mixed", padded, 4, 16, true, 0}, {"padding alone", none, 3, 16, false}};
}

template <DispatchConfig C> bench::ReferenceSlots expectedSlots(const DispatchCase &test) {
  const bench::ReferenceSlots slots = bench::referenceSlots(test.ids, C.experts);
  return C.joined ? joinedSlots(slots, test.tokens(), test.topK) : slots;
}

template <DispatchConfig C>
bench::ReferenceTiles expectedTiles(const DispatchCase &test, const std::vector<int32_t> &planned) {
  const std::vector<int32_t> begin = expectedSlots<C>(test).expertBegin;
  std::vector<int32_t> rows;
  for (uint32_t expert = 0; expert < tableExperts(C); ++expert)
    rows.push_back(begin[expert + 1] - begin[expert]);
  return bench::referenceTiles(rows, begin, test.tileTokens, test.mixRows, planned);
}

enum class DispatchForm { OneBlock, ThreeLaunches, Grid, Cluster };

template <DispatchConfig C>
std::optional<Failure> launchDispatch(DeviceMemory &device, DispatchForm form, const DispatchArgs &args,
                                      uint64_t seed) {
  const LaunchShape one{.blocks = 1, .threads = C.threads}, many{.blocks = args.numBlocks, .threads = C.threads};
  if (form == DispatchForm::OneBlock)
    return launch(device, one, seed, [&] { dispatchOneBlock<C>(args); });
  if (form == DispatchForm::Grid)
    return launch(device, {.blocks = args.numBlocks, .threads = C.threads, .together = true}, seed,
                  [&] { dispatchGrid<C>(args); });
  if (form == DispatchForm::Cluster)
    return launch(device,
                  {.blocks = kDispatchClusterBlocks, .threads = C.threads, .clusterBlocks = kDispatchClusterBlocks},
                  seed, [&] { dispatchCluster<C>(args); });
  std::optional<Failure> failure = launch(device, many, seed, [&] { dispatchCount<C>(args); });
  if (!failure)
    failure = launch(device, one, seed + 1, [&] { dispatchScan<C>(args); });
  return failure ? failure : launch(device, many, seed + 2, [&] { dispatchPlace<C>(args); });
}

/// The sample of the counts: of the routed experts alone, and the pairs with padding.
template <DispatchConfig C> std::string checkSample(const DispatchCase &test, const uint64_t *sample) {
  for (uint32_t e = 0; e <= C.experts; ++e) {
    const auto pairs =
        e < C.experts ? std::count(test.ids.begin(), test.ids.end(), static_cast<int32_t>(e)) : std::ssize(test.ids);
    if (sample[e] != countWord(1, static_cast<uint32_t>(pairs)))
      return fmt::format("the sample's word {} is {:#x}", e, sample[e]);
  }
  return "";
}

template <DispatchConfig C> std::string runDispatch(const DispatchCase &test, DispatchForm form, uint64_t seed) {
  constexpr uint32_t experts = tableExperts(C), gridBlocks = 3;
  const uint32_t pairs = static_cast<uint32_t>(test.ids.size()), rows = pairs + (C.joined ? test.tokens() : 0);
  const bench::ReferenceSlots expected = expectedSlots<C>(test);
  std::vector<int32_t> planned;
  for (uint32_t i = 0; test.ordered && i < experts; ++i)
    planned.push_back(static_cast<int32_t>(experts - 1 - i));
  const bench::ReferenceTiles tiles = expectedTiles<C>(test, planned);

  DeviceMemory device;
  DispatchArgs args{};
  args.ids = device.input(test.ids);
  args.plannedOrder = test.ordered ? device.input(planned) : nullptr;
  args.counts = device.output<int32_t>(experts);
  args.expertBegin = device.output<int32_t>(experts + 1);
  args.numProgress = test.ordered ? numProgressCounts(test.tileTokens, experts, rows) : 0;
  args.progress = device.output<uint32_t>(args.numProgress);
  args.tileHead = device.output<TileHead>(1);
  args.tiles = device.output<TokenTile>(rows / test.tileTokens + experts);
  args.slotPair = device.output<int32_t>(rows);
  args.slotOfPair = device.output<int32_t>(pairs);
  args.ring = {device.output<uint64_t>(2 * (C.experts + 1)), device.output(std::vector<uint32_t>{0}), 2};
  args.numPairs = pairs;
  args.numBlocks = form == DispatchForm::Grid ? gridBlocks : (pairs + C.pairsPerBlock - 1) / C.pairsPerBlock;
  args.blockCounts = device.output<int32_t>(size_t{args.numBlocks} * C.experts);
  args.gridBarrier = device.output(std::vector<uint32_t>{0, 0});
  args.tileTokens = test.tileTokens;
  args.mixRows = test.mixRows;
  args.numTokens = test.tokens();
  args.topK = test.topK;
  if (const auto failure = launchDispatch<C>(device, form, args, seed))
    return failure->message;
  const auto same = [](const int32_t *got, const std::vector<int32_t> &wanted) {
    return std::equal(wanted.begin(), wanted.end(), got);
  };
  for (uint32_t e = 0; e < experts; ++e)
    if (args.counts[e] != expected.expertBegin[e + 1] - expected.expertBegin[e])
      return fmt::format("counts[{}] is {}", e, args.counts[e]);
  if (std::any_of(args.progress, args.progress + args.numProgress, [](uint32_t count) { return count; }))
    return "progress is not cleared";
  if (args.gridBarrier[0] != 0 || args.gridBarrier[1] != 0)
    return "the barrier is not left as zero";
  return !same(args.expertBegin, expected.expertBegin) ? "expertBegin is wrong"
         : !same(args.slotPair, expected.slotPair)     ? "slotPair is wrong"
         : !same(args.slotOfPair, expected.slotOfPair) ? "slotOfPair is wrong"
         : !(*args.tileHead == tiles.head)             ? "tileHead is wrong"
         : !std::equal(tiles.tiles.begin(), tiles.tiles.end(), args.tiles)
             ? "tiles are wrong"
             : checkSample<C>(test, args.ring.words + C.experts + 1);
}

} // namespace moec::emulation
