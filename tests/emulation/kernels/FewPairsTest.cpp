// What kernels find of few pairs by themselves is what dispatch would have written.
#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/tile/BlockPairs.cuh"
#include "compiler/kernels/tile/FewPairs.cuh"
#include "tests/emulation/kernels/DispatchFixture.h"
#include "tests/emulation/planted/Caught.h"

using namespace moec;
using namespace moec::emulation;

namespace {

constexpr uint32_t experts = 40; // more than lanes

/// As dispatch's buffers; tables of the last of the block's warps.
struct FewOutputs {
  TokenTile *tiles;
  uint32_t *tokenTiles;
  int32_t *slotPair, *slotOfPair;
  uint32_t *counts;
};

template <uint32_t TileTokens, uint32_t K> void findAll(const FewPairs &few, const FewOutputs &to) {
  constexpr GemmConfig config{
      .element = Element::BF16, .role = GemmRole::Down, .tileTokens = TileTokens, .tileWeights = 64};
  ptx::waitForPrevious();
  if (threadIdx.x >= 32)
    tile::writeFewTables<config>(few);
  __syncthreads();
  const tile::FewTables<config> &tables = tile::fewTables<config>();
  const uint32_t pairs = few.numTokens * K, i = threadIdx.x;
  if (i == 0)
    *to.tokenTiles = tables.tokenTiles;
  if (i < tables.tokenTiles)
    to.tiles[i] = tile::unpackTile(tables.tiles[i]);
  __shared__ int32_t slots[2][kFewPairs];
  int32_t *own = slots[i / 32];
  tile::writeFewSlots(few, own);
  if (i < pairs)
    to.slotOfPair[i] = own[i];
  if (i < 32) {
    const tile::FewPlace place = tile::fewPlace(few);
    for (uint32_t first = 0; first < experts; first += 32)
      if (const uint32_t count = tile::fewCounts(place, first + i); first + i < experts)
        to.counts[first + i] = count;
  }
  __syncthreads();
  for (uint32_t pair = i; pair < pairs; pair += 64) // slots of real pairs alone are written
    if (to.slotOfPair[pair] >= 0)
      to.slotPair[to.slotOfPair[pair]] = tables.slotPair[to.slotOfPair[pair]];
  for (uint32_t slot = i; slot < few.joined * few.numTokens; slot += 64)
    to.slotPair[slot] = tables.slotPair[slot];
}

template <uint32_t TileTokens, uint32_t K, bool Joined> std::string check(std::vector<int32_t> ids, uint64_t seed) {
  constexpr DispatchConfig dispatch{.experts = experts, .threads = 64, .pairsPerBlock = 64, .joined = Joined};
  const DispatchCase test{"few", ids, K, TileTokens, false, UINT32_MAX};
  const bench::ReferenceSlots slots = expectedSlots<dispatch>(test);
  const bench::ReferenceTiles tiles = expectedTiles<dispatch>(test, {});

  DeviceMemory device;
  const FewPairs few{device.input(ids), test.tokens(), K, experts, Joined ? 1u : 0u};
  const FewOutputs got{device.output<TokenTile>(64), device.output<uint32_t>(1), device.output<int32_t>(64),
                       device.output<int32_t>(ids.size()), device.output<uint32_t>(experts)};
  if (const auto failure =
          launch(device, {.blocks = 1, .threads = 64}, seed, [&] { findAll<TileTokens, K>(few, got); }))
    return failure->message;
  for (uint32_t expert = 0; expert < experts; ++expert)
    if (got.counts[expert] != std::count(ids.begin(), ids.end(), static_cast<int32_t>(expert)))
      return fmt::format("counts[{}] is {}", expert, got.counts[expert]);
  const auto same = [](const auto *values, const auto &wanted) {
    return std::equal(wanted.begin(), wanted.end(), values);
  };
  return *got.tokenTiles != tiles.head.tokenTiles  ? fmt::format("{} tiles", *got.tokenTiles)
         : !same(got.tiles, tiles.tiles)           ? "tiles are wrong"
         : !same(got.slotPair, slots.slotPair)     ? "slotPair is wrong"
         : !same(got.slotOfPair, slots.slotOfPair) ? "slotOfPair is wrong"
                                                   : "";
}

/// Ids of `tokens` tokens: drawn, with padding, all to one expert, padding alone, an expert twice in a token.
std::vector<std::vector<int32_t>> idsOf(uint32_t tokens, uint32_t topK, uint32_t experts) {
  std::mt19937_64 random(tokens * 64 + topK);
  std::vector<int32_t> drawn = bench::drawIds(tokens, experts, std::min(topK, experts), 0.7, random);
  drawn.resize(size_t{tokens} * topK, static_cast<int32_t>(std::min(3u, experts - 1)));
  std::vector<int32_t> padded = drawn;
  for (size_t i = 0; i < padded.size(); i += 3)
    padded[i] = i % 2 ? -1 : static_cast<int32_t>(experts);
  return {drawn, padded, std::vector<int32_t>(drawn.size(), static_cast<int32_t>(std::min(5u, experts - 1))),
          std::vector<int32_t>(drawn.size(), -7)};
}

template <uint32_t TileTokens, uint32_t K, bool Joined> void checkAll() {
  for (uint32_t tokens = 1; tokens * K <= kFewPairs; ++tokens)
    for (const std::vector<int32_t> &ids : idsOf(tokens, K, experts)) {
      CAPTURE(TileTokens, K, Joined, tokens, ids);
      REQUIRE(check<TileTokens, K, Joined>(ids, tokens) == "");
    }
}

//===-- Pairs that a block finds --------------------------------------------------------------===//

constexpr uint32_t tileTokens = 16, blockThreads = 160; // a warp more than those that find

template <GemmRole Role> void findInBlock(const GroupedGemmArgs &args, const FewOutputs &to) {
  constexpr GemmConfig config{.element = Element::BF16, .role = Role, .tileTokens = tileTokens, .tileWeights = 64};
  ptx::waitForPrevious();
  if (threadIdx.x < 128)
    tile::writeBlockTables<config>(args);
  __syncthreads();
  if (blockIdx.x != 1) // tables are every block's
    return;
  const tile::FewTables<config> &tables = tile::fewTables<config>();
  if (threadIdx.x == 0)
    *to.tokenTiles = tables.tokenTiles;
  for (uint32_t i = threadIdx.x; i < tables.tokenTiles; i += blockThreads)
    to.tiles[i] = tile::unpackTile(tables.tiles[i]);
  const FewPairs &few = args.few;
  for (uint32_t pair = threadIdx.x; pair < few.numTokens * few.topK;
       pair += blockThreads) // slots of real pairs are written
    if (to.slotOfPair[pair] >= 0)
      to.slotPair[to.slotOfPair[pair]] = tables.slotPair[to.slotOfPair[pair]];
  for (uint32_t slot = threadIdx.x; slot < few.joined * few.numTokens; slot += blockThreads)
    to.slotPair[slot] = tables.slotPair[slot];
}

template <uint32_t Experts, bool Joined>
std::string checkBlock(const std::vector<int32_t> &ids, uint32_t topK, uint64_t seed) {
  constexpr DispatchConfig dispatch{.experts = Experts, .threads = 64, .pairsPerBlock = 64, .joined = Joined};
  const DispatchCase test{"block", ids, topK, tileTokens, false, UINT32_MAX};
  const bench::ReferenceSlots slots = expectedSlots<dispatch>(test);
  const bench::ReferenceTiles tiles = expectedTiles<dispatch>(test, {});

  DeviceMemory device;
  GroupedGemmArgs args{};
  int32_t *left = device.output(std::vector<int32_t>(ids.size(), 12345));
  args.few = {device.input(ids), test.tokens(), topK, Experts, Joined ? 1u : 0u, left};
  args.ring = {device.output<uint64_t>(2 * (Experts + 1)), device.output(std::vector<uint32_t>{0}), 2};
  const FewOutputs got{device.output<TokenTile>(kBlockRows), device.output<uint32_t>(1),
                       device.output<int32_t>(kBlockRows), device.output(slots.slotOfPair), nullptr};
  const LaunchShape shape{.blocks = 2, .threads = blockThreads};
  if (const auto failure = launch(device, shape, seed, [&] { findInBlock<GemmRole::GateUp>(args, got); }))
    return failure->message;
  if (*args.ring.sequence != 0)
    return "gate-up leaves counts";
  const auto same = [](const auto *values, const auto &wanted) {
    return std::equal(wanted.begin(), wanted.end(), values);
  };
  if (*got.tokenTiles != tiles.head.tokenTiles || !same(got.tiles, tiles.tiles))
    return fmt::format("{} tiles, or others than {}", *got.tokenTiles, tiles.head.tokenTiles);
  if (!same(got.slotPair, slots.slotPair))
    return "slotPair is wrong";
  if (!same(left, slots.slotOfPair))
    return "slotOfPair is wrong";

  std::fill(left, left + ids.size(), 12345);
  if (const auto failure = launch(device, shape, seed + 1, [&] { findInBlock<GemmRole::Down>(args, got); }))
    return failure->message;
  if (*args.ring.sequence != 1 || *left != 12345)
    return "down leaves no counts, or slots";
  for (uint32_t expert = 0; expert <= Experts; ++expert) {
    const auto wanted =
        expert < Experts ? std::count(ids.begin(), ids.end(), static_cast<int32_t>(expert)) : std::ssize(ids);
    if (args.ring.words[Experts + 1 + expert] != countWord(1, static_cast<uint32_t>(wanted)))
      return fmt::format("count {} is not {}", expert, wanted);
  }
  return "";
}

template <uint32_t Experts, bool Joined> void checkBlocks(uint32_t topK) {
  const uint32_t most = kBlockRows / (topK + (Joined ? 1 : 0));
  for (uint32_t tokens : {kFewPairs / topK + 1, 100 / topK, most / 2 + 1, most - 1, most})
    for (const std::vector<int32_t> &ids : idsOf(tokens, topK, Experts)) {
      CAPTURE(Experts, topK, Joined, tokens, ids);
      REQUIRE(checkBlock<Experts, Joined>(ids, topK, tokens) == "");
    }
}

} // namespace

TEST_CASE("slots, tiles and counts of pairs that a block finds are those of dispatch", "[emulation][few]") {
  checkBlocks<40, false>(8);
  checkBlocks<40, true>(8);
  checkBlocks<1, false>(1); // one expert has all rows
  checkBlocks<8, true>(1);
  checkBlocks<129, false>(2);                // a thread has two experts
  checkBlocks<kMostFewExperts, false>(1);    // each pair may be a tile
  checkBlocks<kMostFewExperts - 1, true>(6); // with the joined one
}

TEST_CASE("a barrier that is missing where a block finds its pairs is seen", "[emulation][few][planted]") {
  const std::vector<int32_t> ids = idsOf(40, 8, 40).front();
  const auto caught = [&](Plant plant) {
    const Caught how = firstFailure(plant, [&](uint64_t seed) { return checkBlock<40, true>(ids, 8, seed); });
    UNSCOPED_INFO(how.message);
    return how.fault();
  };
  CHECK(caught({Bug::SkipNamedBarrier, 0}) == Fault::Race);
  CHECK(caught({Bug::SkipNamedBarrier, 1}) == Fault::Unwritten); // of the sums over warps
  CHECK(caught({Bug::SkipSyncWarp}) == Fault::Race);
  CHECK(caught({Bug::NoWaitForPrevious}) == Fault::Order);
}

TEST_CASE("slots, tiles and counts of few pairs are those of dispatch", "[emulation][few]") {
  checkAll<16, 1, false>();
  checkAll<16, 1, true>();
  checkAll<16, 2, false>();
  checkAll<16, 8, false>();
  checkAll<16, 8, true>();
  checkAll<192, 1, true>();
  checkAll<192, 5, false>();
  checkAll<16, 32, true>();
}
