// The order in which tiles run: each once, and both kinds spread over the launch.
#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/tile/Activation.cuh"
#include "compiler/kernels/tile/Schedule.cuh"
#include "tests/emulation/kernels/GemmFixture.h"

#include <random>

using namespace moec;
using namespace moec::emulation;

namespace {

/// Of a config the order depends on the tile alone.
constexpr GemmConfig config{.element = Element::BF16, .role = GemmRole::Down, .tileTokens = 16, .tileWeights = 64};

/// The order of a product of n columns over a step's tiles.
tile::WorkOrder orderOf(const TileHead &head, uint32_t n) {
  GroupedGemmArgs args{};
  args.tileHead = &head;
  args.n = n;
  return tile::WorkOrder::of<config>(args);
}

TileHead headOf(uint32_t several, uint32_t all) {
  return {all, several, static_cast<uint32_t>((uint64_t{several} << 32) / all), 0};
}

/// Empty, or what is wrong: each item has one turn, either kind keeps its order, and in every period each has its
/// share.
std::string checkOrder(const TileHead &head, uint32_t n) {
  const tile::WorkOrder order = orderOf(head, n);
  const uint32_t columns = (n + config.tileWeights - 1) / config.tileWeights, several = head.severalTiles * columns;
  if (order.items != head.tokenTiles * columns)
    return fmt::format("{} items", order.items);
  uint32_t next[2] = {0, several}; // of tiles of experts with several, and of the others
  for (uint32_t turn = 0; turn < order.items; ++turn) {
    const uint32_t item = order.itemOf(turn), kind = item < several ? 0 : 1;
    if (item != next[kind]++)
      return fmt::format("turn {} has item {}", turn, item);
    const double share = static_cast<double>(several) / order.items, due = share * (turn + 1);
    if (several > 0 && std::abs(next[0] - due) > order.period / 4 + 2)
      return fmt::format("after turn {} there were {} of {:.1f} items of experts with several tiles", turn, next[0],
                         due);
  }
  if (next[0] != several || next[1] != order.items)
    return fmt::format("{} and {} items had a turn", next[0], next[1]);
  return order.itemOf(order.items) == order.items && order.itemOf(order.items + 77) == order.items + 77
             ? ""
             : "a turn behind the last has an item";
}

} // namespace

TEST_CASE("every tile has one turn, and tiles of both kinds are spread evenly", "[emulation][schedule]") {
  std::mt19937 random(11);
  for (uint32_t all : {1u, 2u, 3u, 40u, 127u, 129u, 1000u})
    for (uint32_t several = 0; several < all; several += 1 + random() % (1 + all / 9)) {
      CAPTURE(all, several);
      CHECK(checkOrder(headOf(several, all), 64 * (1 + random() % 33)) == "");
    }
  // Many items, over which the fraction's rounding adds up.
  for (uint32_t several : {1u, 7'777u, 54'321u, 99'999u})
    CHECK(checkOrder(headOf(several, 100'000), 64 * 7) == "");
}

TEST_CASE("tiles run in the order of the table where nothing mixes", "[emulation][schedule]") {
  const tile::WorkOrder order = orderOf({300, 0, 0, 0}, 640);
  for (uint32_t turn = 0; turn < order.items; ++turn)
    REQUIRE(order.itemOf(turn) == turn);
}

TEST_CASE("products are tested on tiles that mix", "[emulation][schedule]") {
  bool mixed = false;
  for (const GemmCase &test : gemmCases()) {
    const GemmProblem problem = makeProblem(test, GemmRole::Down, Element::BF16);
    for (uint32_t tileTokens : {16u, 32u}) {
      const TileHead head = tilesOf(problem, tileTokens).head;
      mixed |= head.severalTiles > 0 && head.severalTiles < head.tokenTiles;
      CHECK((head.severalTiles == 0 || test.ordered));
    }
  }
  CHECK(mixed);
}
