// Steps of few pairs: dispatch is not launched, and who would have read its tables is told the pairs.
#include "tests/unit/cuda/FewSteps.h"

#include "compiler/core/CudaLaunch.h"
#include "compiler/core/JoinedShared.h"

#include <set>

using namespace moec;
using namespace moec::test;

namespace {

constexpr LayerShape plain{.hidden = 64, .intermediate = 40, .experts = 6, .topK = 2, .dtype = DType::BF16};
constexpr uint32_t most = kFewPairs / 2, mostOfBlocks = kBlockRows / 2; // tokens
constexpr uint32_t usual = 5 * 80 * 128 * 2 + 1024;                     // bytes of shared memory of `two`

void setRoom(SessionOptions &options) { options.maxTokens = mostOfBlocks + 1; }

/// Dynamic shared memory of both products of such a step.
std::vector<uint32_t> sharedBytes(CudaBench &bench, const std::string &tile, uint32_t tokens) {
  launchesOf(bench, tile, tile, tokens);
  std::vector<uint32_t> bytes;
  for (const FakeFitted &product : bench.cuda.fittedLaunches())
    bytes.push_back(product.sharedBytes);
  return bytes;
}

} // namespace

TEST_CASE("fitted products find few pairs themselves", "[cuda][few]") {
  CudaBench bench(setRoom, {describeLayer(0, plain)});
  bench.mustOpen();
  for (const std::string &tile : {wide, narrow})
    for (uint32_t tokens : {1u, most, most + 1, mostOfBlocks, mostOfBlocks + 1}) {
      CAPTURE(tile, tokens);
      const bool few = tokens <= (tile == wide ? most : mostOfBlocks);
      CHECK(launchesOf(bench, tile, tile, tokens) ==
            (few ? 5 : 6)); // router, route, (dispatch,) both products, combine
      const std::vector<FakeFitted> products = bench.cuda.fittedLaunches();
      REQUIRE(products.size() == 2);
      for (const FakeFitted &product : products)
        if (few)
          checkFew(product.args.few, tokens);
        else
          CHECK(product.args.few.ids == nullptr);
    }
}

TEST_CASE("what finds few pairs has as many as it has room for", "[cuda][few]") {
  const auto tile = [](GemmFamily family, uint16_t tokens) { return CudaTile{.family = family, .tokens = tokens}; };
  const LayerShape eight{.intermediate = 64, .experts = 16, .topK = 8};
  LayerShape joined = eight;
  joined.sharedIntermediate = joined.intermediate;
  joined.sharedAlike = true;
  REQUIRE(joinsShared(joined));
  for (const GemmFamily family : {GemmFamily::Fitted, GemmFamily::Fp8}) {
    const CudaTile narrowTile = tile(family, 16), wideTile = tile(family, 192), other = tile(GemmFamily::Hopper, 16);
    CHECK((hasNoDispatch(eight, 64, narrowTile, narrowTile) && !hasNoDispatch(eight, 65, narrowTile, narrowTile)));
    CHECK((hasNoDispatch(joined, 56, narrowTile, narrowTile) && !hasNoDispatch(joined, 57, narrowTile, narrowTile)));
    CHECK((hasNoDispatch(joined, 4, wideTile, narrowTile) && !hasNoDispatch(eight, 5, wideTile, narrowTile)));
    CHECK((hasNoDispatch(joined, 4, narrowTile, wideTile) && !hasNoDispatch(eight, 5, narrowTile, wideTile)));
    CHECK((!hasNoDispatch(eight, 1, narrowTile, other) && !hasNoDispatch(eight, 1, other, narrowTile)));
    CHECK(!hasNoDispatch(eight, uint64_t{1} << 40, narrowTile, narrowTile));
  }
}

TEST_CASE("of more pairs narrow tiles have a dispatch, without what wide ones need of it", "[cuda][few]") {
  CudaBench bench(setRoom, {describeLayer(0, plain)});
  bench.mustOpen();
  launchesOf(bench, narrow, narrow, mostOfBlocks + 1);
  const DispatchArgs dispatched = bench.cuda.lastDispatch();
  CHECK((dispatched.mixRows == kMixRows && dispatched.tileTokens == 16 && dispatched.numProgress == 0));
  for (const FakeFitted &product : bench.cuda.fittedLaunches()) {
    CHECK(product.args.few.ids == nullptr);
    CHECK((product.args.tiles == dispatched.tiles && product.args.tileHead == dispatched.tileHead));
  }
}

TEST_CASE("generations are validated with each way to find pairs that their tiles have", "[cuda][few]") {
  CudaBench bench({}, {describeLayer(0, plain)}); // of 64 tokens
  bench.mustOpen();
  for (const std::string &tile : {narrow, wide}) {
    CAPTURE(tile);
    bench.cuda.forget();
    bench.publish(tile, tile);
    std::set<std::pair<bool, uint32_t>> seen; // whether gate-up finds them, and how many tokens' it finds
    for (const FakeFitted &product : bench.cuda.fittedLaunches())
      if (product.symbol == "gate-up:" + tile)
        seen.emplace(product.args.few.ids != nullptr, product.args.few.numTokens);
    CHECK(seen == (tile == narrow ? std::set<std::pair<bool, uint32_t>>{{false, 0}, {true, 64}, {true, most}}
                                  : std::set<std::pair<bool, uint32_t>>{{false, 0}, {true, most}}));
  }
}

TEST_CASE("of pairs that blocks find gate-up leaves the slots, and down the counts", "[cuda][few]") {
  CudaBench bench({}, {describeLayer(0, plain)});
  bench.mustOpen();
  launchesOf(bench, narrow, narrow, most + 1);
  const std::vector<FakeFitted> products = bench.cuda.fittedLaunches();
  REQUIRE(products.size() == 2);
  for (const FakeFitted &product : products) {
    checkFew(product.args.few, most + 1);
    CHECK(product.args.few.slotOfPair != nullptr);
  }
  CHECK(products[0].args.few.slotOfPair == products[1].args.few.slotOfPair);
  CHECK((products[0].args.ring.words == nullptr && products[1].args.ring.words != nullptr));
}

TEST_CASE("blocks of a step with no more tiles than multiprocessors get one each", "[cuda][few]") {
  CudaBench bench(setRoom, {describeLayer(0, plain)});
  bench.mustOpen();
  CHECK(sharedBytes(bench, two, 1) == std::vector{kAloneSharedBytes, kAloneSharedBytes});
  CHECK(sharedBytes(bench, two, most + 1) == std::vector{kAloneSharedBytes, kAloneSharedBytes}); // 68 tiles and 34
  CHECK(sharedBytes(bench, two, mostOfBlocks) == std::vector{usual, usual});                     // up to 512
  CHECK(sharedBytes(bench, two, mostOfBlocks + 1) == std::vector{usual, usual}); // with dispatch: nobody knows how many
  CHECK(sharedBytes(bench, narrow, 1) == std::vector(2, 5 * 80 * 256 * 2 + 1024u)); // one a multiprocessor as it is
}

TEST_CASE("each product of a step is launched alone by its own tiles", "[cuda][few]") {
  LayerShape shape = plain;
  shape.hidden = 64 * 70; // of one token gate-up has 4 tiles and down 140
  CudaBench bench({}, {describeLayer(0, shape)});
  const auto ofOneToken = [&] {
    bench.mustOpen();
    return sharedBytes(bench, two, 1);
  };
  SECTION("132 multiprocessors") { CHECK(ofOneToken() == std::vector{kAloneSharedBytes, usual}); }
  SECTION("140") {
    bench.cuda.multiprocessors = 140;
    CHECK(ofOneToken() == std::vector{kAloneSharedBytes, kAloneSharedBytes});
  }
  SECTION("3") {
    bench.cuda.multiprocessors = 3;
    CHECK(ofOneToken() == std::vector{usual, usual});
  }
}

TEST_CASE("who has a multiprocessor to itself", "[cuda][few]") {
  const GemmConfig gateUp{.role = GemmRole::GateUp, .tileTokens = 16, .tileWeights = 64, .blocksPerSm = 2};
  GemmConfig down = gateUp;
  down.role = GemmRole::Down;
  const int32_t ids[1] = {0};
  const FewPairs one{ids, 1, 1, 32, 0, nullptr}, four{ids, 4, 1, 32, 0, nullptr}, twice{ids, 2, 2, 32, 0, nullptr},
      joined{ids, 1, 1, 32, 1, nullptr};
  // One token of the DSv3 slice on an H100: 64 tiles of gate-up, 112 of down.
  CHECK((runsAlone(gateUp, one, 2048, 132) && runsAlone(down, one, 7168, 132)));
  CHECK((runsAlone(gateUp, joined, 2048, 132) && !runsAlone(down, joined, 7168, 132))); // 128 and 224
  CHECK((!runsAlone(gateUp, four, 2048, 132) && runsAlone(gateUp, four, 1024, 132)));   // 256 and 128, if all differ
  CHECK((!runsAlone(gateUp, twice, 2048, 132) && runsAlone(gateUp, twice, 1024, 132)));
  const FewPairs many{ids, 17, 1, 32, 1, nullptr}; // 17 tiles and two of the joined expert
  CHECK((runsAlone(gateUp, many, 32, 19) && !runsAlone(gateUp, many, 32, 18)));
  CHECK((runsAlone(gateUp, one, 32 * 132, 132) && !runsAlone(gateUp, one, 32 * 132 + 8, 132)));
  CHECK(!runsAlone(gateUp, {}, 64, 132));
  GemmConfig lone = gateUp;
  lone.blocksPerSm = 1;
  CHECK(!runsAlone(lone, one, 2048, 132));
}

TEST_CASE("a product that needs dispatch's tables gets them, however few the pairs", "[cuda][few]") {
  CudaBench bench({}, {describeLayer(0, plain)});
  bench.mustOpen();
  const std::string swapped = "swapped-16x128-s6-w1x1-b2";
  CHECK(launchesOf(bench, swapped, narrow, 1) == 6);
  CHECK(launchesOf(bench, narrow, swapped, 1) == 6);
  for (const FakeFitted &product : bench.cuda.fittedLaunches())
    CHECK(product.args.few.ids == nullptr);
}

TEST_CASE("a joined expert takes part in steps of few pairs", "[cuda][few][joined]") {
  LayerShape shape = plain;
  shape.sharedIntermediate = shape.intermediate;
  shape.sharedAlike = true;
  CudaBench bench({}, {describeLayer(0, shape)});
  bench.mustOpen();
  CHECK(launchesOf(bench, narrow, narrow, 3) == 5);
  for (const FakeFitted &product : bench.cuda.fittedLaunches())
    checkFew(product.args.few, 3, 1);
}

TEST_CASE("e4m3 products and what quantises their rows find few pairs themselves", "[cuda][few][fp8]") {
  CudaBench bench({}, {describeLayer(0, e4m3Shape)});
  bench.mustOpen();
  const std::string tile = "fp8-16x64-s5-w1x4-b1";
  CHECK(launchesOf(bench, tile, tile, 3) == 7);
  const std::vector<FakeFitted> launches = bench.cuda.fittedLaunches();
  REQUIRE(launches.size() == 4);
  const FakeFitted &tokens = launches[0], &gateUp = launches[1], &activated = launches[2], &down = launches[3];
  checkFew(tokens.quantise.few, 3);
  checkFew(gateUp.args.few, 3);
  checkFew(down.args.few, 3);
  CHECK(activated.quantise.rowsInUse == nullptr); // dispatch would have said how many
  CHECK(activated.quantise.few.ids == nullptr);   // row by row
  CHECK(activated.quantise.numRows == 6);
}

TEST_CASE("a step of few pairs leaves its counts as any other", "[cuda][few][samples]") {
  CudaBench bench(setRoom, {describeLayer(0, plain)});
  bench.mustOpen();
  std::vector<std::vector<uint32_t>> seen;
  bench.session->setObserver(
      [&](const LayerObservation &step) { seen.emplace_back(step.pairs.begin(), step.pairs.end()); });
  bench.publish(narrow, narrow);
  CUstream stream = bench.cuda.stream();
  for (uint32_t tokens : {1u, most + 1, mostOfBlocks + 1, 2u}) // found by warps, by blocks, by dispatch
    REQUIRE(bench.step(stream, tokens).ok());
  bench.session->finish();
  // The fake routes everybody to experts 0 and 1.
  CHECK(seen == std::vector<std::vector<uint32_t>>{{1, 1, 0, 0, 0, 0},
                                                   {most + 1, most + 1, 0, 0, 0, 0},
                                                   {mostOfBlocks + 1, mostOfBlocks + 1, 0, 0, 0, 0},
                                                   {2, 2, 0, 0, 0, 0}});
}
