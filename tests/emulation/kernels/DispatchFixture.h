// Dispatch of made-up ids, checked against bench::referenceSlots. Include dispatch.cuh first.
#pragma once

#include "tests/emulation/Schedules.h"
#include "tools/bench/gpu/Reference.h"
#include "tools/bench/gpu/Routing.h"

#include <fmt/format.h>
#include <string>
#include <vector>

namespace moec::emulation {

struct DispatchCase {
  std::string name;
  std::vector<int32_t> ids;
  uint32_t tileTokens;
  bool ordered; // with an order of experts
};

inline std::vector<DispatchCase> dispatchCases(uint32_t experts) {
  std::mt19937_64 random(experts);
  std::vector<int32_t> padded = bench::drawIds(61, experts, 4, 0.7, random), hot(203, 5), none(9, -1);
  for (size_t i = 0; i < padded.size(); i += 3)
    padded[i] = i % 2 ? -1 : static_cast<int32_t>(experts); // both are padding
  std::vector<int32_t> idle = bench::drawIds(70, experts, 2, 0, random);
  for (int32_t &id : idle)
    id = id % 3 * 2;
  return {{"one pair", {3}, 16, false},
          {"padding", padded, 16, true},
          {"idle experts", idle, 8, false},
          {"all pairs to one expert", hot, 16, true},
          {"padding alone", none, 16, false}};
}

template <DispatchConfig C> std::string runDispatch(const DispatchCase &test, bool threeLaunches, uint64_t seed) {
  const uint32_t pairs = static_cast<uint32_t>(test.ids.size());
  const bench::ReferenceSlots expected = bench::referenceSlots(test.ids, C.experts);
  std::vector<int32_t> order(C.experts);
  for (uint32_t i = 0; i < C.experts; ++i)
    order[i] = static_cast<int32_t>(C.experts - 1 - i);
  std::vector<int32_t> places, tileBegin;
  for (uint32_t place = 0; place < C.experts; ++place) {
    const size_t expert = static_cast<size_t>(test.ordered ? order[place] : static_cast<int32_t>(place));
    const uint32_t rows = static_cast<uint32_t>(expected.expertBegin[expert + 1] - expected.expertBegin[expert]);
    tileBegin.push_back(static_cast<int32_t>(places.size()));
    places.insert(places.end(), (rows + test.tileTokens - 1) / test.tileTokens, static_cast<int32_t>(place));
  }
  tileBegin.push_back(static_cast<int32_t>(places.size()));

  DeviceMemory device;
  DispatchArgs args{};
  args.ids = device.input(test.ids);
  args.expertOrder = test.ordered ? device.input(order) : nullptr;
  args.counts = device.output<int32_t>(C.experts);
  args.expertBegin = device.output<int32_t>(C.experts + 1);
  args.tileBegin = device.output<int32_t>(C.experts + 1);
  args.tilePlace = device.output<int32_t>(pairs / test.tileTokens + C.experts);
  args.slotPair = device.output<int32_t>(pairs);
  args.slotOfPair = device.output<int32_t>(pairs);
  args.numPairs = pairs;
  args.numBlocks = (pairs + C.pairsPerBlock - 1) / C.pairsPerBlock;
  args.blockCounts = device.output<int32_t>(size_t{args.numBlocks} * C.experts);
  args.tileTokens = test.tileTokens;

  const LaunchShape one{.blocks = 1, .threads = C.threads}, many{.blocks = args.numBlocks, .threads = C.threads};
  std::optional<Failure> failure;
  if (!threeLaunches) {
    failure = launch(device, one, seed, [&] { dispatchOneBlock<C>(args); });
  } else {
    failure = launch(device, many, seed, [&] { dispatchCount<C>(args); });
    if (!failure)
      failure = launch(device, one, seed + 1, [&] { dispatchScan<C>(args); });
    if (!failure)
      failure = launch(device, many, seed + 2, [&] { dispatchPlace<C>(args); });
  }
  if (failure)
    return failure->message;
  const auto same = [](const int32_t *got, const std::vector<int32_t> &wanted) {
    return std::equal(wanted.begin(), wanted.end(), got);
  };
  for (uint32_t e = 0; e < C.experts; ++e)
    if (args.counts[e] != expected.expertBegin[e + 1] - expected.expertBegin[e])
      return fmt::format("counts[{}] is {}", e, args.counts[e]);
  return !same(args.expertBegin, expected.expertBegin) ? "expertBegin is wrong"
         : !same(args.slotPair, expected.slotPair)     ? "slotPair is wrong"
         : !same(args.slotOfPair, expected.slotOfPair) ? "slotOfPair is wrong"
         : !same(args.tileBegin, tileBegin)            ? "tileBegin is wrong"
         : !same(args.tilePlace, places)               ? "tilePlace is wrong"
                                                       : "";
}

} // namespace moec::emulation
