#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/dispatch.cuh"
#include "compiler/kernels/dispatchGrid.cuh"
#include "compiler/kernels/dispatchSlots.cuh"
#include "tests/emulation/Schedules.h"
#include "tools/bench/gpu/Reference.h"
#include "tools/bench/gpu/Routing.h"

#include <fmt/format.h>
#include <set>

using namespace moec;
using namespace moec::emulation;

namespace {

constexpr DispatchConfig config{.experts = 40, .threads = 64, .pairsPerBlock = 96}; // more experts than lanes
constexpr uint32_t E = config.experts;
constexpr uint32_t tileTokens = 8, mixRows = 4, numSamples = 2, gridBlocks = 4;

struct SlotsCase {
  const char *name;
  std::vector<int32_t> ids;
  int32_t slots; // of each expert, plus its number modulo 3
};

std::vector<SlotsCase> slotsCases() {
  std::mt19937_64 random(5);
  std::vector<int32_t> padded = bench::drawIds(150, E, 4, 0.7, random), hot(300, 7);
  for (size_t i = 0; i < padded.size(); i += 3)
    padded[i] = i % 2 ? -1 : static_cast<int32_t>(E); // both are padding
  return {{"all fit", padded, 300},
          {"some spill", padded, 5},
          {"no slots", padded, 0},
          {"one expert", hot, 30},
          {"padding alone", std::vector<int32_t>(9, -1), 2}};
}

int32_t countOf(const std::vector<int32_t> &ids, uint32_t expert) {
  return static_cast<int32_t>(std::count(ids.begin(), ids.end(), static_cast<int32_t>(expert)));
}

/// `args`: DispatchSlotsArgs or DispatchArgs.
template <class Args>
std::string checkTiles(const std::vector<int32_t> &rows, const std::vector<int32_t> &begin, const Args &args) {
  const bench::ReferenceTiles expected = bench::referenceTiles(rows, begin, tileTokens, mixRows);
  return !(*args.tileHead == expected.head)                                      ? "tileHead is wrong"
         : !std::equal(expected.tiles.begin(), expected.tiles.end(), args.tiles) ? "tiles are wrong"
                                                                                 : "";
}

/// Sample `sequence`, complete or not at all.
std::string checkSample(const uint64_t *words, uint32_t sequence, const std::vector<int32_t> &ids) {
  const uint64_t *sample = words + sequence % numSamples * (E + 1);
  for (uint32_t e = 0; e <= E; ++e) {
    const uint32_t expected = e < E ? static_cast<uint32_t>(countOf(ids, e)) : static_cast<uint32_t>(ids.size());
    if (sequenceOf(sample[e]) != sequence || moec::countOf(sample[e]) != expected)
      return fmt::format("sample {} word {}: number {}, count {}", sequence, e, sequenceOf(sample[e]),
                         moec::countOf(sample[e]));
  }
  return "";
}

/// Dispatch into slots, then of the spill list behind them: every pair has a row of its own, of its expert.
struct SlotsRun {
  const SlotsCase &test;
  DeviceMemory device;
  std::vector<int32_t> begin;
  DispatchSlotsArgs args{};
  DispatchArgs spill{};

  explicit SlotsRun(const SlotsCase &test) : test(test), begin{0} {
    for (uint32_t e = 0; e < E; ++e)
      begin.push_back(begin.back() + test.slots + static_cast<int32_t>(test.slots > 0 ? e % 3 : 0));
    const uint32_t pairs = static_cast<uint32_t>(test.ids.size()), slots = static_cast<uint32_t>(begin.back());
    args.ids = device.input(test.ids);
    args.slotBegin = device.constant(begin);
    args.counts = device.output<int32_t>(E);
    args.tileHead = device.output<TileHead>(1);
    args.tiles = device.output<TokenTile>(slots / tileTokens + E);
    args.slotPair = device.output<int32_t>(slots + 1);
    args.slotOfPair = device.output<int32_t>(pairs);
    args.spillPairs = device.output<int32_t>(pairs);
    args.spillIds = device.output<int32_t>(pairs);
    args.spillCount = device.output<int32_t>(1);
    args.cursors = device.output(std::vector<int32_t>(E + 2, 0));
    args.ring = {device.output(std::vector<uint64_t>(numSamples * (E + 1), 0)), device.output(std::vector<uint32_t>{0}),
                 numSamples};
    args.numPairs = pairs;
    args.tileTokens = tileTokens;
    args.mixRows = mixRows;
    spill.ids = args.spillIds;
    spill.pairOf = args.spillPairs;
    spill.pairsOnDevice = args.spillCount;
    spill.counts = device.output<int32_t>(E);
    spill.expertBegin = device.output<int32_t>(E + 1);
    spill.tileHead = device.output<TileHead>(1);
    spill.tiles = device.output<TokenTile>(pairs / tileTokens + E);
    spill.slotPair = device.output<int32_t>(pairs);
    spill.slotOfPair = args.slotOfPair;
    spill.slotOffset = begin.back();
    spill.tileTokens = tileTokens;
    spill.mixRows = mixRows;
  }

  std::string step(uint64_t seed, uint32_t sequence) {
    const LaunchShape one{.blocks = 1, .threads = config.threads};
    const LaunchShape some{.blocks = 3, .threads = config.threads, .together = true};
    if (const auto failure = launch(device, some, seed, [&] { dispatchSlots<config>(args); }))
      return failure->message;
    if (std::string wrong = checkFirst(sequence); !wrong.empty())
      return wrong;
    if (const auto failure = launch(device, one, seed + 1, [&] { dispatchOneBlock<config>(spill); }))
      return failure->message;
    return checkSecond();
  }

  std::string checkFirst(uint32_t sequence) const {
    int32_t spilled = 0;
    std::vector<int32_t> rows;
    for (uint32_t e = 0; e < E; ++e) {
      const int32_t count = countOf(test.ids, e);
      rows.push_back(std::min(count, begin[e + 1] - begin[e]));
      spilled += count - rows[e];
      if (args.counts[e] != count)
        return fmt::format("expert {}: {} pairs", e, args.counts[e]);
    }
    if (*args.spillCount != spilled)
      return fmt::format("{} spilled, expected {}", *args.spillCount, spilled);
    for (uint32_t i = 0; i < E + 2; ++i)
      if (args.cursors[i] != 0)
        return fmt::format("cursor {} was left at {}", i, args.cursors[i]);
    if (std::string wrong = checkTiles(rows, begin, args); !wrong.empty())
      return wrong;
    return checkSample(args.ring.words, sequence, test.ids);
  }

  std::string checkSecond() const {
    std::set<int32_t> taken;
    const int32_t offset = begin.back();
    for (size_t pair = 0; pair < test.ids.size(); ++pair) {
      const int32_t id = test.ids[pair], slot = args.slotOfPair[pair];
      if (id < 0 || id >= static_cast<int32_t>(E)) {
        if (slot != -1)
          return fmt::format("padding {} has slot {}", pair, slot);
        continue;
      }
      const bool spilled = slot >= offset;
      const int32_t first = spilled ? offset + spill.expertBegin[id] : begin[static_cast<size_t>(id)];
      const int32_t end = spilled ? offset + spill.expertBegin[id + 1]
                                  : std::min(first + args.counts[id], begin[static_cast<size_t>(id) + 1]);
      if (slot < first || slot >= end || !taken.insert(slot).second)
        return fmt::format("pair {} of expert {} has slot {}, not of its own in {} .. {}", pair, id, slot, first, end);
      if ((spilled ? spill.slotPair[slot - offset] : args.slotPair[slot]) != static_cast<int32_t>(pair))
        return fmt::format("slot {} does not name pair {}", slot, pair);
    }
    std::vector<int32_t> rows(spill.counts, spill.counts + E);
    return checkTiles(rows, std::vector<int32_t>(spill.expertBegin, spill.expertBegin + E), spill);
  }
};

} // namespace

TEST_CASE("dispatch into slots gives every pair a row of its expert, spilled or not", "[emulation][dispatch]") {
  for (const SlotsCase &test : slotsCases()) {
    INFO(test.name);
    forSchedules(kSchedules, [&](uint64_t seed) {
      SlotsRun run(test);
      const std::string first = run.step(seed, 1); // the second step finds what the first left
      return first.empty() ? run.step(seed + 100, 2) : first;
    });
  }
}

TEST_CASE("dispatch by a grid gives the slots that one block gives", "[emulation][dispatch]") {
  for (const SlotsCase &test : slotsCases()) {
    INFO(test.name);
    const bench::ReferenceSlots expected = bench::referenceSlots(
        [&] {
          std::vector<int32_t> ids = test.ids;
          for (int32_t &id : ids)
            id = id >= static_cast<int32_t>(E) ? -1 : id;
          return ids;
        }(),
        E);
    forSchedules(kSchedules, [&](uint64_t seed) -> std::string {
      DeviceMemory device;
      const uint32_t pairs = static_cast<uint32_t>(test.ids.size());
      DispatchArgs args{};
      args.ids = device.input(test.ids);
      args.counts = device.output<int32_t>(E);
      args.expertBegin = device.output<int32_t>(E + 1);
      args.tileHead = device.output<TileHead>(1);
      args.tiles = device.output<TokenTile>(pairs / tileTokens + E);
      args.slotPair = device.output<int32_t>(pairs);
      args.slotOfPair = device.output<int32_t>(pairs);
      args.blockCounts = device.output<int32_t>(gridBlocks * E);
      args.gridBarrier = device.output(std::vector<uint32_t>{0, 0});
      args.numPairs = pairs;
      args.numBlocks = gridBlocks;
      args.tileTokens = tileTokens;
      args.mixRows = mixRows;
      if (const auto failure = launch(device, {.blocks = gridBlocks, .threads = config.threads, .together = true}, seed,
                                      [&] { dispatchGrid<config>(args); }))
        return failure->message;
      const auto same = [](const int32_t *got, const std::vector<int32_t> &wanted) {
        return std::equal(wanted.begin(), wanted.end(), got);
      };
      if (!same(args.expertBegin, expected.expertBegin) || !same(args.slotPair, expected.slotPair) ||
          !same(args.slotOfPair, expected.slotOfPair) || args.gridBarrier[0] != 0 || args.gridBarrier[1] != 0)
        return "pairs are placed wrongly, or the barrier is left wrongly";
      return checkTiles(std::vector<int32_t>(args.counts, args.counts + E), expected.expertBegin, args);
    });
  }
}
