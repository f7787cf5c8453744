// Steps of few pairs: dispatch is not launched, and who would have read its tables is told the pairs.
#include "tests/unit/cuda/CudaBench.h"

#include "compiler/core/CudaLaunch.h"
#include "compiler/core/JoinedShared.h"

#include <set>

using namespace moec;
using namespace moec::test;

namespace {

constexpr LayerShape plain{.hidden = 64, .intermediate = 40, .experts = 6, .topK = 2, .dtype = DType::BF16},
    fewShape{.hidden = 48, .intermediate = 320, .experts = 6, .topK = 4, .dtype = DType::BF16}, // has downFew
    fewE4M3{.hidden = 48,
            .intermediate = 384,
            .experts = 6,
            .topK = 4,
            .dtype = DType::BF16,
            .expertFormat = WeightFormat::BlockE4M3}, // has downFewFp8
    bothE4M3{.hidden = 1024,
             .intermediate = 384,
             .experts = 6,
             .topK = 4,
             .dtype = DType::BF16,
             .expertFormat = WeightFormat::BlockE4M3}, // has gateUpFewFp8, too
    gateUpE4M3{.hidden = 256,
               .intermediate = 144,
               .experts = 6,
               .topK = 2,
               .dtype = DType::BF16,
               .expertFormat = WeightFormat::BlockE4M3}; // has that alone, in tiles that quantise few rows
constexpr uint32_t most = kFewPairs / 2, mostOfBlocks = kBlockRows / 2; // tokens
const std::string wide = "fitted-192x256-s4-w2x1-b1", narrow = "fitted-16x64-s5-w1x4-b1",
                  two = "fitted-16x64-s5-w1x2-b2";  // blocks a multiprocessor
constexpr uint32_t usual = 5 * 80 * 128 * 2 + 1024; // bytes of shared memory of the last
const std::string wideE4M3 = "fp8-192x128-s5-w2x1-b1", twoE4M3 = "fp8-16x64-s5-w1x2-b2",
                  oneE4M3 = "fp8-16x64-s5-w1x4-b1", wholeE4M3 = "fp8-16x256-s6-w2x1-b1"; // quantises what it gives

void setRoom(SessionOptions &options) { options.maxTokens = mostOfBlocks + 1; }

/// Launches of a step of `tokens` on `tile`, whose products are kept.
size_t launchesOf(CudaBench &bench, const std::string &gateUp, const std::string &down, uint32_t tokens) {
  bench.publish(gateUp, down);
  bench.cuda.forget();
  REQUIRE(bench.step(bench.cuda.stream(), tokens).ok());
  return bench.cuda.count("cuLaunchKernelEx");
}

/// Dynamic shared memory of both products of such a step.
std::vector<uint32_t> sharedBytes(CudaBench &bench, const std::string &tile, uint32_t tokens) {
  launchesOf(bench, tile, tile, tokens);
  std::vector<uint32_t> bytes;
  for (const FakeFitted &product : bench.cuda.fittedLaunches())
    bytes.push_back(product.sharedBytes);
  return bytes;
}

void checkFew(const FewPairs &few, uint32_t tokens, uint32_t joined = 0) {
  REQUIRE(few.ids);
  CHECK((few.numTokens == tokens && few.topK == 2 && few.numExperts == 6 && few.joined == joined));
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

TEST_CASE("generations are validated with one and two tokens where those have a down of their own", "[cuda][few]") {
  CudaBench bench({}, {describeLayer(0, fewShape)}); // of 64 tokens
  bench.mustOpen();
  bench.cuda.forget();
  bench.publish(wide, wide);
  std::set<uint32_t> seen;
  for (const FakeFitted &product : bench.cuda.fittedLaunches())
    if (product.symbol == "gate-up:" + wide && product.args.few.ids)
      seen.insert(product.args.few.numTokens);
  CHECK(seen == std::set<uint32_t>{1, 2, kFewPairs / 4});
  REQUIRE(bench.cuda.lastDownFew);
  CHECK(bench.cuda.lastDownFew->args.few.numTokens == 1);
}

TEST_CASE("generations of e4m3 are validated with each number of tokens that has a down of its own",
          "[cuda][few][fp8]") {
  CudaBench bench({}, {describeLayer(0, fewE4M3)}); // of 64 tokens
  bench.mustOpen();
  bench.cuda.forget();
  bench.publish(wideE4M3, wideE4M3);
  std::vector<uint32_t> seen;
  for (const FakeFitted &product : bench.cuda.fittedLaunches())
    if (product.symbol == "gate-up:" + wideE4M3 && product.args.few.ids)
      seen.push_back(product.args.few.numTokens);
  CHECK(seen == std::vector<uint32_t>{kFewPairs / 4, 4, 3, 2, 1});
  REQUIRE(bench.cuda.lastDownFew);
  CHECK(bench.cuda.lastDownFew->args.few.numTokens == 1);
}

TEST_CASE("generations of e4m3 are validated with each number of tokens that has a gate-up of its own",
          "[cuda][few][fp8]") {
  CudaBench bench({}, {describeLayer(0, gateUpE4M3)}); // of 64 tokens
  bench.mustOpen();
  for (const std::string &tile : {twoE4M3, oneE4M3}) {
    CAPTURE(tile);
    bench.cuda.forget();
    bench.publish(tile, tile);
    std::set<uint32_t> seen;
    for (const FakeFitted &product : bench.cuda.fittedLaunches())
      if (product.symbol.starts_with("down:" + tile) && product.args.few.ids && product.args.few.numTokens < most)
        seen.insert(product.args.few.numTokens);
    const bool hasFew = tile == twoE4M3;
    CHECK(seen == (hasFew ? std::set<uint32_t>{1, 2, 3, 4} : std::set<uint32_t>{}));
    REQUIRE(bench.cuda.lastGateUpFew.has_value() == hasFew);
    CHECK((!hasFew || bench.cuda.lastGateUpFew->args.few.numTokens == 1));
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

TEST_CASE("one launch takes down's and combine's place in steps of one and two tokens", "[cuda][few]") {
  CudaBench bench({}, {describeLayer(0, fewShape)});
  bench.mustOpen();
  uint32_t counted = 0, steps = 0;
  bench.session->setObserver([&](const LayerObservation &) { ++counted; });
  for (const std::string &tile : {wide, narrow, two})
    for (uint32_t tokens = 1; tokens <= kDownFewTokens + 1; ++tokens) {
      CAPTURE(tile, tokens);
      CHECK(launchesOf(bench, tile, tile, tokens) == (tokens <= kDownFewTokens ? 4 : 5)); // with router and route
      REQUIRE(bench.cuda.lastDownFew.has_value() == (tokens <= kDownFewTokens));
      bench.session->finish();
      CHECK(counted == ++steps);
      if (tokens > kDownFewTokens)
        continue;
      const FakeCuda::DownFew &launch = *bench.cuda.lastDownFew;
      CHECK((launch.args.few.numTokens == tokens && launch.args.few.topK == 4));
      CHECK((launch.args.k == 320 && launch.args.n == 48));
      CHECK(launch.args.output == bench.output.data());
      CHECK(launch.args.activated == bench.cuda.fittedLaunches().at(0).args.output);
      CHECK(launch.blocks == downFewBlocks(tokens, 48));
      CHECK(launch.args.slots == 8); // two loads a pair
      CHECK(launch.sharedBytes == downFewSharedBytes(8));
      CHECK((launch.weights.sizes[0] == 64 && launch.weights.sizes[1] == 6 * 48 && launch.weights.sizes[2] == 5));
    }
}

TEST_CASE("one launch takes e4m3's down and combine in steps of up to four tokens, of either form of rows",
          "[cuda][few][fp8]") {
  CudaBench bench({}, {describeLayer(0, fewE4M3)});
  bench.mustOpen();
  uint32_t counted = 0, steps = 0;
  bench.session->setObserver([&](const LayerObservation &) { ++counted; });
  struct Tiles {
    std::string gateUp, down;
    bool quantised;
    uint32_t few, more; // launches of a step: with downFewFp8 router, route, (quantise,) gate-up and it
  };
  const std::string two = "fp8-16x64-s5-w1x2-b2", one = "fp8-16x64-s5-w1x4-b1";
  FakeFitted down; // of the step with a token more
  for (const Tiles &tiles : {Tiles{two, two, false, 4, 7}, Tiles{one, two, false, 5, 7},
                             Tiles{wideE4M3, wideE4M3, false, 5, 7}, Tiles{"fp8-16x256-s6-w2x1-b1", two, true, 5, 6}})
    for (uint32_t tokens = kDownFewFp8Tokens + 1; tokens > 0; --tokens) {
      CAPTURE(tiles.gateUp, tokens);
      const bool few = tokens <= kDownFewFp8Tokens;
      CHECK(launchesOf(bench, tiles.gateUp, tiles.down, tokens) == (few ? tiles.few : tiles.more));
      REQUIRE(bench.cuda.lastDownFew.has_value() == few);
      bench.session->finish();
      CHECK(counted == ++steps);
      const std::vector<FakeFitted> launches = bench.cuda.fittedLaunches();
      if (!few) {
        down = launches.back();
        continue;
      }
      const FakeCuda::DownFew &launch = *bench.cuda.lastDownFew;
      const FakeFitted &gateUp = launches.back(); // nothing between it and the launch
      CHECK(launch.symbol == "downFewFp8");
      CHECK((gateUp.symbol.starts_with("gate-up:") && launch.args.activated == gateUp.args.output));
      CHECK(launch.scaled.rowScales == (tiles.quantised ? gateUp.scaled.outputScales : nullptr));
      CHECK(launch.scaled.rowScaleStride == gateUp.scaled.tokenScaleStride);
      CHECK(launch.args.output == bench.output.data());
      CHECK((launch.args.few.numTokens == tokens && launch.args.few.topK == 4));
      CHECK((launch.args.k == 384 && launch.args.n == 48 && launch.args.slots == 2)); // two chunks of four experts
      CHECK(launch.blocks == downFewBlocks(tokens, 48));
      CHECK(launch.sharedBytes == downFewFp8SharedBytes(4, 384, 2));
      // The weights and scales that down takes where there are more tokens.
      CHECK(launch.weights.address == down.weights.address);
      CHECK(launch.scaled.weightScales == down.scaled.weightScales);
      const uint32_t sizes[] = {128, 8, 3, 6 * 48 / 8};
      CHECK(launch.weights.rank == 4);
      CHECK(std::equal(std::begin(sizes), std::end(sizes), launch.weights.sizes));
    }
}

TEST_CASE("of one expert a token e4m3's down has a block for several groups of columns", "[cuda][few][fp8]") {
  LayerShape shape = fewE4M3;
  shape.topK = 1;
  shape.hidden = 6144;
  CudaBench bench({}, {describeLayer(0, shape)});
  bench.mustOpen();
  for (uint32_t tokens : {1u, kDownFewFp8Tokens}) {
    CAPTURE(tokens);
    launchesOf(bench, oneE4M3, oneE4M3, tokens);
    REQUIRE(bench.cuda.lastDownFew);
    CHECK(bench.cuda.lastDownFew->blocks == tokens * 96);
    CHECK(bench.cuda.lastDownFew->sharedBytes == downFewFp8SharedBytes(1, 384, 2));
  }
}

TEST_CASE("kernels for few tokens are those that packages say, in their order", "[cuda][few]") {
  // The message of a session where a launch's kernels, and what the last takes, were changed.
  const auto refusalOf = [](const LayerShape &shape, LaunchKind kind, auto change) {
    CudaBench bench({}, {describeLayer(0, shape)});
    bench.compiler.spoil = [&](Package &package) {
      Launch &launch = *std::ranges::find(package.layers[0].launches, kind, &Launch::kind);
      change(launch.kernels, package.images[launch.kernels.back().image].resources);
    };
    return bench.open().status().message();
  };
  using Kernels = std::vector<KernelRef>;
  struct Form {
    const char *name;
    const LayerShape &shape;
    LaunchKind kind;
    uint32_t threads, sharedBytes;
  };
  for (const Form &form :
       {Form{"downFew", fewShape, LaunchKind::Down, kDownFewThreads, kDownFewMostSharedBytes},
        Form{"downFewFp8", fewE4M3, LaunchKind::Down, kDownFewThreads, kDownFewFp8MostSharedBytes},
        Form{"gateUpFewFp8", bothE4M3, LaunchKind::GateUp, kGateUpFewThreads, kGateUpFewMostSharedBytes}}) {
    CAPTURE(form.name);
    const std::string takes = fmt::format("but {} takes {} and {}", form.name, form.threads, form.sharedBytes);
    const auto refusal = [&](const LayerShape &shape, auto change) { return refusalOf(shape, form.kind, change); };
    const LayerShape &shape = form.shape;
    const auto has = [&](const std::string &message, const std::string &part) {
      INFO(message);
      CHECK(message.find(fmt::format("{}: ", launchName(form.kind))) != std::string::npos);
      return message.find(part) != std::string::npos;
    };
    std::string message = refusal(shape, [](Kernels &, KernelResources &few) { few.threads = 256; });
    CHECK((has(message, "256 threads and ") && has(message, takes)));
    message = refusal(shape, [](Kernels &, KernelResources &few) { few.dynamicSharedBytes = 4096; });
    CHECK(has(message, "and 4096 bytes of shared memory, " + takes));
    message = refusal(shape, [](Kernels &kernels, KernelResources &) { kernels.pop_back(); });
    CHECK(has(message, "kernels, expected "));
    message = refusal(shape, [](Kernels &kernels, KernelResources &) { std::swap(kernels[0], kernels.back()); });
    CHECK(has(message, " bytes of shared memory, but tile "));
    CHECK(refusal(shape, [](Kernels &, KernelResources &) {}).empty());
  }
}

TEST_CASE("which layers have a form of down for few tokens", "[cuda][few]") {
  const LayerShape &fits = fewShape;
  const auto has = [&](auto change, GemmFamily gateUp = GemmFamily::Fitted, GemmFamily down = GemmFamily::Fitted) {
    LayerShape shape = fits;
    change(shape);
    return hasDownFew(shape, gateUp, down);
  };
  const auto asItIs = [](LayerShape &) {};
  CHECK(has(asItIs));
  CHECK(has([](LayerShape &shape) { shape.hidden = 44; })); // 48 on the device
  CHECK(has([](LayerShape &shape) { shape.topK = 16; }));
  CHECK(!has([](LayerShape &shape) { shape.topK = 17; })); // two tokens are no few pairs
  CHECK(!has([](LayerShape &shape) { shape.topK = 2; }));
  CHECK(!has([](LayerShape &shape) { shape.hidden = 56; }));
  CHECK(!has([](LayerShape &shape) { shape.intermediate = 328; }));
  CHECK(!has([](LayerShape &shape) { shape.intermediate = 65 * 256; })); // too many loads
  CHECK(!has([](LayerShape &shape) { shape.sharedIntermediate = 64; }));
  CHECK(!has(asItIs, GemmFamily::Fitted, GemmFamily::Hopper));
  CHECK(!has(asItIs, GemmFamily::Hopper, GemmFamily::Fitted));
  CHECK(!has(asItIs, GemmFamily::Fp8, GemmFamily::Fp8)); // 320 is no multiple of 128
  CHECK((downIsFew(fits, 1, GemmFamily::Fitted, GemmFamily::Fitted) &&
         downIsFew(fits, 2, GemmFamily::Fitted, GemmFamily::Fitted)));
  CHECK((!downIsFew(fits, 0, GemmFamily::Fitted, GemmFamily::Fitted) &&
         !downIsFew(fits, 3, GemmFamily::Fitted, GemmFamily::Fitted)));
}

TEST_CASE("which layers of e4m3 have a form of down for few tokens", "[cuda][few][fp8]") {
  constexpr GemmFamily fp8 = GemmFamily::Fp8;
  const auto has = [&](auto change) {
    LayerShape shape = fewE4M3;
    change(shape);
    return hasDownFew(shape, fp8, fp8);
  };
  CHECK(has([](LayerShape &) {}));
  CHECK(has([](LayerShape &shape) { shape.topK = 16; }));
  CHECK(!has([](LayerShape &shape) { shape.topK = 17; })); // two tokens are no few pairs
  CHECK(has([](LayerShape &shape) { shape.topK = 1; }));
  CHECK(!has([](LayerShape &shape) { shape.intermediate = 320; }));
  CHECK(!has([](LayerShape &shape) { shape.hidden = 56; }));
  CHECK(!has([](LayerShape &shape) { shape.hidden = 16 * 513; }));        // too many blocks
  CHECK(!has([](LayerShape &shape) { shape.intermediate = 17 * 256; }));  // of which rows take too much
  CHECK(!has([](LayerShape &shape) { shape.sharedIntermediate = 384; })); // with launches of its own
  CHECK(!has([](LayerShape &shape) { shape.sharedIntermediate = 384, shape.sharedAlike = true; })); // joined
  CHECK((!hasDownFew(fewE4M3, fp8, GemmFamily::Fitted) && !hasDownFew(fewE4M3, GemmFamily::Fitted, fp8)));
  CHECK((downIsFew(fewE4M3, 1, fp8, fp8) && downIsFew(fewE4M3, 4, fp8, fp8)));
  CHECK((!downIsFew(fewE4M3, 0, fp8, fp8) && !downIsFew(fewE4M3, 5, fp8, fp8)));
  CHECK(!downIsFew(fewE4M3, (uint64_t{1} << 32) + 1, fp8, fp8));
  LayerShape wide = fewE4M3; // of 512 blocks a token
  wide.hidden = 16 * 512;
  CHECK((downIsFew(wide, 1, fp8, fp8) && !downIsFew(wide, 2, fp8, fp8)));
}

TEST_CASE("which layers of e4m3 have a form of gate-up for few tokens", "[cuda][few][fp8]") {
  const CudaTile pair = *CudaTile::parse(twoE4M3), whole = *CudaTile::parse(wholeE4M3),
                 fitted = *CudaTile::parse(narrow);
  const auto shapeOf = [](LayerShape shape, auto change) {
    change(shape);
    return shape;
  };
  const auto asItIs = [](LayerShape &) {};
  const auto has = [&](auto change, const CudaTile &gateUp, const CudaTile &down) {
    return hasGateUpFew(shapeOf(bothE4M3, change), gateUp, down);
  };
  // Down can quantise its rows in its form for few tokens, in whatever tiles, or in that of tiles that do.
  CHECK((has(asItIs, whole, whole) && has(asItIs, pair, pair) && has(asItIs, whole, pair)));
  CHECK((hasGateUpFew(gateUpE4M3, pair, pair) && !hasGateUpFew(gateUpE4M3, pair, whole)));
  const auto withShared = [](LayerShape &shape) { shape.sharedIntermediate = 384, shape.sharedAlike = true; };
  CHECK((has(withShared, pair, pair) && !has(withShared, whole, whole)));
  CHECK(!has([](LayerShape &shape) { shape.hidden = 400; }, pair, pair));
  CHECK(has([](LayerShape &shape) { shape.hidden = 8192; }, pair, pair));
  CHECK(!has([](LayerShape &shape) { shape.hidden = 8320; }, pair, pair)); // more scales than a warp has
  CHECK((!has(asItIs, fitted, fitted) && !has(asItIs, fitted, pair) && !has(asItIs, pair, fitted)));
  const auto isFew = [&](auto change, uint64_t tokens, const CudaTile &tile) {
    return gateUpIsFew(shapeOf(bothE4M3, change), tokens, tile, tile);
  };
  for (const CudaTile &tile : {pair, whole}) {
    CHECK((isFew(asItIs, 1, tile) && isFew(asItIs, kGateUpFewTokens, tile)));
    CHECK((!isFew(asItIs, 0, tile) && !isFew(asItIs, kGateUpFewTokens + 1, tile)));
    CHECK(!isFew(asItIs, (uint64_t{1} << 32) + 1, tile));
    CHECK(!isFew([](LayerShape &shape) { shape.topK = 9; }, 4, tile)); // 36 pairs
  }
  // Of 512 blocks of downFewFp8 a token.
  const auto wideHidden = [](LayerShape &shape) { shape.hidden = 16 * 512; };
  CHECK((isFew(wideHidden, 1, whole) && !isFew(wideHidden, 2, whole) && isFew(wideHidden, 2, pair)));
}

TEST_CASE("one launch takes the place of e4m3's quantising and gate-up in steps of up to four tokens",
          "[cuda][few][fp8]") {
  CudaBench bench({}, {describeLayer(0, bothE4M3)});
  bench.mustOpen();
  FakeFitted usual; // gate-up, of the step with a token more
  for (const std::string &tile : {twoE4M3, oneE4M3, wideE4M3, wholeE4M3})
    for (uint32_t tokens = kGateUpFewTokens + 1; tokens > 0; --tokens) {
      CAPTURE(tile, tokens);
      const bool few = tokens <= kGateUpFewTokens;
      // Router, route, gate-up and down; else quantise, (quantise,) both products, combine.
      CHECK(launchesOf(bench, tile, tile, tokens) == (few ? 4 : tile == wholeE4M3 ? 6 : 7));
      REQUIRE((bench.cuda.lastGateUpFew.has_value() == few && bench.cuda.lastDownFew.has_value() == few));
      const std::vector<FakeFitted> launches = bench.cuda.fittedLaunches();
      if (!few) {
        usual = launches.at(1);
        continue;
      }
      CHECK(launches.empty()); // neither products nor quantise
      const FakeCuda::GateUpFew &launch = *bench.cuda.lastGateUpFew;
      CHECK(launch.args.tokens == bench.hidden.data());
      CHECK((launch.args.few.numTokens == tokens && launch.args.few.topK == 4 && launch.args.few.joined == 0));
      CHECK((launch.args.k == 1024 && launch.args.n == 384 && launch.args.expertGroups == 48));
      CHECK((launch.blocks == 132 && launch.prefersShared));
      // Down's blocks, 64 a token, begin beside it where each has a multiprocessor.
      const FakeCuda::DownFew &down = *bench.cuda.lastDownFew;
      const bool beside = tokens <= 2;
      CHECK(launch.args.ringBytes == (beside ? 96u : 160u) * 1024);
      CHECK(launch.args.startAt == (beside ? 3 : 1)); // of four chunks
      CHECK(launch.sharedBytes == gateUpFewSharedBytes(1024, launch.args.ringBytes));
      // Down takes its rows as they are.
      CHECK((down.args.activated == launch.args.output && down.scaled.rowScales == nullptr));
      // The weights and scales that gate-up takes where there are more tokens: gate, and up behind it.
      CHECK(launch.weights.address == usual.weights.address);
      CHECK(launch.args.weightScales == usual.scaled.weightScales);
      CHECK(launch.args.upWeightScales == usual.scaled.upWeightScales);
      CHECK(launch.args.expertScaleStride == usual.scaled.expertScaleStride);
      const uint32_t sizes[] = {128, 8, 8, 2, 6 * 48};
      const uint64_t strides[] = {1024, 128, usual.weights.strides[1], 8 * 1024};
      CHECK(launch.weights.rank == 5);
      CHECK(std::equal(std::begin(sizes), std::end(sizes), launch.weights.sizes));
      CHECK(std::equal(std::begin(strides), std::end(strides), launch.weights.strides));
    }
}

TEST_CASE("e4m3's gate-up of few tokens leaves rows as they are for a down that quantises them, and combine",
          "[cuda][few][fp8]") {
  LayerShape shape = gateUpE4M3;
  const uint32_t joined = GENERATE(0u, 1u);
  if (joined)
    shape.sharedIntermediate = shape.intermediate, shape.sharedAlike = true;
  CudaBench bench({}, {describeLayer(0, shape)});
  bench.mustOpen();
  for (uint32_t tokens = 1; tokens <= kGateUpFewTokens; ++tokens) {
    CAPTURE(joined, tokens);
    CHECK(launchesOf(bench, twoE4M3, twoE4M3, tokens) == 5); // router, route, combine
    const std::vector<FakeFitted> launches = bench.cuda.fittedLaunches();
    REQUIRE((launches.size() == 1 && bench.cuda.lastGateUpFew && !bench.cuda.lastDownFew));
    const FakeCuda::GateUpFew &gateUp = *bench.cuda.lastGateUpFew;
    const FakeFitted &down = launches[0];
    CHECK(down.symbol == "down:" + twoE4M3 + ":few");
    CHECK(down.args.tokens == gateUp.args.output);
    checkFew(gateUp.args.few, tokens, joined);
    checkFew(down.args.few, tokens, joined);
    CHECK(gateUp.args.ringBytes == kGateUpFewMostRingBytes);
    CHECK(gateUp.weights.sizes[4] == (6 + joined) * 144 / 8);
  }
  CHECK(launchesOf(bench, twoE4M3, twoE4M3, kGateUpFewTokens + 1) == 7);
  CHECK(!bench.cuda.lastGateUpFew);
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

TEST_CASE("e4m3 products quantise the rows of few tokens themselves", "[cuda][few][fp8]") {
  CudaBench bench({}, {describeLayer(0, e4m3Shape)});
  bench.mustOpen();
  const std::string two = "fp8-16x64-s5-w1x2-b2", one = "fp8-16x64-s5-w1x4-b1";
  CHECK(launchesOf(bench, two, two, kFewTokens) == 5); // and router, route, combine
  const std::vector<FakeFitted> launches = bench.cuda.fittedLaunches();
  REQUIRE(launches.size() == 2);
  const FakeFitted &gateUp = launches[0], &down = launches[1];
  CHECK(gateUp.symbol == "gate-up:" + two + ":few");
  CHECK(down.symbol == "down:" + two + ":few");
  CHECK(gateUp.args.tokens == bench.hidden.data());
  CHECK(down.args.tokens == gateUp.args.output);
  for (const FakeFitted *product : {&gateUp, &down})
    checkFew(product->args.few, kFewTokens);
  CHECK(launchesOf(bench, two, two, 1) == 5);
  for (const FakeFitted &product : bench.cuda.fittedLaunches())
    CHECK((product.symbol.ends_with(":few") && product.sharedBytes == kAloneSharedBytes));
  // Not of more tokens, nor where one product could not.
  CHECK(launchesOf(bench, two, two, kFewTokens + 1) == 7);
  CHECK(launchesOf(bench, one, two, kFewTokens) == 7);
  CHECK(launchesOf(bench, two, one, 1) == 7);
  for (const FakeFitted &product : bench.cuda.fittedLaunches())
    CHECK(!product.symbol.ends_with(":few"));
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
