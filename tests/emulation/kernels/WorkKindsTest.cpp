// Which blocks begin with tiles of which kind: each tile is begun with or drawn once, and counters end where they
// began.
#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/tile/WorkKinds.cuh"

#include "tests/emulation/Schedules.h"

#include <fmt/format.h>

#include <random>
#include <vector>

using namespace moec;
using tile::WorkKind;
using tile::WorkKinds;

namespace {

TileHead headOf(uint32_t several, uint32_t all) { return {all, several, several ? 1u : 0, 0}; }

/// Draws as WorkFinder does, units in random turn.
class Launch {
public:
  Launch(const WorkKinds &kinds, uint32_t units) : kinds(kinds), done(kinds.several.items + kinds.single.items) {
    for (uint32_t unit = 0; unit < units; ++unit) {
      const bool single = unit >= kinds.several.given;
      const WorkKind &own = single ? kinds.single : kinds.several;
      all.push_back({own, single ? kinds.several : kinds.single});
      take(own.begin + unit - (single ? kinds.several.given : 0));
    }
  }

  void run(std::mt19937 &random) {
    const auto units = static_cast<uint32_t>(all.size());
    std::vector<uint32_t> active(units);
    for (uint32_t unit = 0; unit < units; ++unit)
      active[unit] = unit;
    while (done.size() > units && !active.empty()) {
      const size_t which = random() % active.size();
      if (!step(all[active[which]], units))
        active.erase(active.begin() + static_cast<std::ptrdiff_t>(which));
    }
  }

  /// Empty, or what is wrong.
  std::string check() const {
    for (size_t item = 0; item < done.size(); ++item)
      if (done[item] != 1)
        return fmt::format("item {} of {} is taken {} times", item, done.size(), done[item]);
    return counters[0] || counters[1] ? "a counter is not zero" : "";
  }

private:
  struct Unit {
    WorkKind own, other;
  };

  void take(uint32_t item) {
    if (item < done.size())
      ++done[item];
  }

  /// False where the unit is at its end.
  bool step(Unit &unit, uint32_t units) {
    const uint32_t limit = unit.own.draws(units);
    uint32_t &counter = counters[unit.own.counter];
    const uint32_t ticket = counter;
    counter = counter + 1 == limit ? 0 : counter + 1;
    if (const uint32_t place = unit.own.given + ticket; place < unit.own.items) {
      take(unit.own.begin + place);
      return true;
    }
    if (unit.other.items == 0)
      return false;
    unit.own = unit.other;
    unit.other.items = 0;
    return true;
  }

  WorkKinds kinds;
  std::vector<uint32_t> done;
  std::vector<Unit> all;
  uint32_t counters[kTileCounters] = {};
};

} // namespace

TEST_CASE("each tile of both kinds runs once, whoever draws it", "[emulation][schedule]") {
  std::mt19937 random(5);
  for (uint32_t units : {1u, 2u, 3u, 66u, 132u, 264u})
    for (uint32_t several : {0u, 2u, 3u, 7u, 40u, 500u})
      for (uint32_t single : {1u, 2u, 9u, 100u})
        for (uint32_t columns : {1u, 3u, 28u}) {
          CAPTURE(units, several, single, columns);
          const WorkKinds kinds = WorkKinds::of(headOf(several, several + single), columns, units);
          Launch launch(kinds, units);
          launch.run(random);
          REQUIRE(launch.check() == "");
        }
}

TEST_CASE("blocks are shared out by the time that both kinds take", "[emulation][schedule]") {
  const auto several = [](uint32_t tiles, uint32_t all, uint32_t units) {
    const WorkKinds kinds = WorkKinds::of(headOf(tiles, all), 8, units);
    CHECK(kinds.several.items == tiles * 8);
    CHECK(kinds.single.items == (all - tiles) * 8);
    CHECK(kinds.several.given + kinds.single.given == units);
    return kinds.several.given;
  };
  CHECK(several(21, 36, 66) == 43); // 4 * 21 of 4 * 21 + 3 * 15
  CHECK(several(30, 60, 132) == 75);
  CHECK(several(500, 501, 132) == 132); // less than half a block's share
  CHECK(several(2, 501, 132) == 1);
  // Nobody begins with a tile that there is not.
  CHECK(several(2, 18, 132) == 16);
}

TEST_CASE("where nothing mixes, or each tile has a block, all run in the order of the table", "[emulation][schedule]") {
  for (const TileHead &head : {headOf(0, 300), headOf(4, 8)}) {
    const WorkKinds kinds = WorkKinds::of(head, 4, 66);
    CHECK(kinds.several.begin == 0);
    CHECK(kinds.several.items == head.tokenTiles * 4);
    CHECK(kinds.several.given == 66);
    CHECK(kinds.single.items == 0);
  }
}
