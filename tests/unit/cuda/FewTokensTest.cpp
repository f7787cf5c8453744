// Steps of few tokens: products that quantise their rows themselves, and the launches that take the place of several,
// downFew, downFewFp8 and gateUpFewFp8.
#include "tests/unit/cuda/FewSteps.h"

#include "compiler/core/CudaLaunch.h"

#include <set>

using namespace moec;
using namespace moec::test;

namespace {

constexpr LayerShape fewShape{
    .hidden = 48, .intermediate = 320, .experts = 6, .topK = 4, .dtype = DType::BF16}, // has downFew
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
const std::string wideE4M3 = "fp8-192x128-s5-w2x1-b1", twoE4M3 = "fp8-16x64-s5-w1x2-b2",
                  oneE4M3 = "fp8-16x64-s5-w1x4-b1", wholeE4M3 = "fp8-16x256-s6-w2x1-b1"; // quantises what it gives

/// Tokens of each step of few pairs, in their order, that launched a product with such a name.
template <class Matches> std::vector<uint32_t> fewSteps(const CudaBench &bench, Matches matches) {
  std::vector<uint32_t> tokens;
  for (const FakeFitted &product : bench.cuda.fittedLaunches())
    if (matches(product.symbol) && product.args.few.ids)
      tokens.push_back(product.args.few.numTokens);
  return tokens;
}
std::vector<uint32_t> fewSteps(const CudaBench &bench, const std::string &name) {
  return fewSteps(bench, [&](const std::string &symbol) { return symbol == name; });
}

} // namespace

TEST_CASE("generations are validated with one and two tokens where those have a down of their own", "[cuda][few]") {
  CudaBench bench({}, {describeLayer(0, fewShape)}); // of 64 tokens
  bench.mustOpen();
  bench.cuda.forget();
  bench.publish(wide, wide);
  const std::vector<uint32_t> seen = fewSteps(bench, "gate-up:" + wide);
  CHECK(std::set(seen.begin(), seen.end()) == std::set<uint32_t>{1, 2, kFewPairs / 4});
  REQUIRE(bench.cuda.lastDownFew);
  CHECK(bench.cuda.lastDownFew->args.few.numTokens == 1);
}

TEST_CASE("generations of e4m3 are validated with each number of tokens that has a down of its own",
          "[cuda][few][fp8]") {
  CudaBench bench({}, {describeLayer(0, fewE4M3)}); // of 64 tokens
  bench.mustOpen();
  bench.cuda.forget();
  bench.publish(wideE4M3, wideE4M3);
  CHECK(fewSteps(bench, "gate-up:" + wideE4M3) == std::vector<uint32_t>{kFewPairs / 4, 4, 3, 2, 1});
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
    std::set<uint32_t> seen; // but the most that are few
    const auto isDown = [&](const std::string &symbol) { return symbol.starts_with("down:" + tile); };
    for (const uint32_t tokens : fewSteps(bench, isDown))
      if (tokens < kFewPairs / 2)
        seen.insert(tokens);
    const bool hasFew = tile == twoE4M3;
    CHECK(seen == (hasFew ? std::set<uint32_t>{1, 2, 3, 4} : std::set<uint32_t>{}));
    REQUIRE(bench.cuda.lastGateUpFew.has_value() == hasFew);
    CHECK((!hasFew || bench.cuda.lastGateUpFew->args.few.numTokens == 1));
  }
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
  FakeFitted down; // of the step with a token more
  for (const Tiles &tiles : {Tiles{twoE4M3, twoE4M3, false, 4, 7}, Tiles{oneE4M3, twoE4M3, false, 5, 7},
                             Tiles{wideE4M3, wideE4M3, false, 5, 7}, Tiles{wholeE4M3, twoE4M3, true, 5, 6}})
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

TEST_CASE("a package has a quantising form of those products that a step of few tokens takes it of",
          "[cuda][few][fp8]") {
  const CudaTile pair = *CudaTile::parse(twoE4M3), lone = *CudaTile::parse(oneE4M3);
  std::set<bool> seen; // of down
  for (uint32_t hidden : {48u, 128u, 2048u, 4096u, 7168u, 8192u, 8320u, 16u * 513})
    for (uint32_t intermediate : {48u, 128u, 384u, 1408u, 17u * 256})
      for (uint32_t topK : {1u, 2u, 4u, 6u, 8u, 9u, 16u, 17u, 32u})
        for (bool joined : {false, true}) {
          const LayerShape shape{.hidden = hidden,
                                 .intermediate = intermediate,
                                 .experts = 64,
                                 .topK = topK,
                                 .dtype = DType::BF16,
                                 .sharedIntermediate = joined ? intermediate : 0,
                                 .sharedAlike = joined,
                                 .expertFormat = WeightFormat::BlockE4M3};
          bool gateUp = false, down = false; // whether some step takes it
          for (uint32_t tokens = 1; tokens <= kFewPairs; ++tokens)
            if (quantisesFew(tokens, topK, pair, pair)) {
              const FewForms few = FewForms::of(shape, tokens, pair, pair);
              gateUp |= !few.gateUp, down |= !few.down;
            }
          const bool same = hasQuantisingForm(GemmRole::GateUp, shape, pair, pair) == gateUp &&
                            hasQuantisingForm(GemmRole::Down, shape, pair, pair) == down;
          const bool others = hasQuantisingForm(GemmRole::Down, shape, pair, lone) ||
                              hasQuantisingForm(GemmRole::Down, shape, lone, pair);
          if (!same || others)
            FAIL(hidden << " " << intermediate << " " << topK << " " << joined);
          seen.insert(down);
        }
  CHECK(seen == std::set<bool>{false, true});
}

TEST_CASE("down of few tokens that some steps have leaves the others its quantising form", "[cuda][few][fp8]") {
  struct Layer {
    uint32_t hidden, few;             // tokens that downFewFp8 takes
    std::vector<std::string> kernels; // of down
  };
  const std::string product = "down:" + twoE4M3, quantising = product + ":few";
  for (const Layer &layer :
       {Layer{1024, 4, {product, "downFewFp8"}}, Layer{4096, 2, {product, quantising, "downFewFp8"}},
        Layer{16 * 513, 0, {product, quantising}}}) {
    CAPTURE(layer.hidden);
    LayerShape shape = bothE4M3;
    shape.hidden = layer.hidden;
    CudaBench bench({}, {describeLayer(0, shape)});
    std::vector<std::string> packed; // last
    bench.compiler.spoil = [&](const Package &package) {
      packed.clear();
      const auto &launches = package.layers[0].launches;
      for (const KernelRef &kernel : std::ranges::find(launches, LaunchKind::Down, &Launch::kind)->kernels)
        packed.push_back(kernel.symbol);
    };
    bench.mustOpen();
    for (uint32_t tokens = 1; tokens <= kFewTokens; ++tokens) {
      CAPTURE(tokens);
      launchesOf(bench, twoE4M3, twoE4M3, tokens);
      REQUIRE(bench.cuda.lastDownFew.has_value() == (tokens <= layer.few));
      if (tokens > layer.few)
        CHECK(bench.cuda.fittedLaunches().back().symbol == quantising);
    }
    CHECK(packed == layer.kernels);
  }
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

TEST_CASE("e4m3 products quantise the rows of few tokens themselves", "[cuda][few][fp8]") {
  CudaBench bench({}, {describeLayer(0, e4m3Shape)});
  bench.mustOpen();
  CHECK(launchesOf(bench, twoE4M3, twoE4M3, kFewTokens) == 5); // and router, route, combine
  const std::vector<FakeFitted> launches = bench.cuda.fittedLaunches();
  REQUIRE(launches.size() == 2);
  const FakeFitted &gateUp = launches[0], &down = launches[1];
  CHECK(gateUp.symbol == "gate-up:" + twoE4M3 + ":few");
  CHECK(down.symbol == "down:" + twoE4M3 + ":few");
  CHECK(gateUp.args.tokens == bench.hidden.data());
  CHECK(down.args.tokens == gateUp.args.output);
  for (const FakeFitted *product : {&gateUp, &down})
    checkFew(product->args.few, kFewTokens);
  CHECK(launchesOf(bench, twoE4M3, twoE4M3, 1) == 5);
  for (const FakeFitted &product : bench.cuda.fittedLaunches())
    CHECK((product.symbol.ends_with(":few") && product.sharedBytes == kAloneSharedBytes));
  // Not of more tokens, nor where one product could not.
  CHECK(launchesOf(bench, twoE4M3, twoE4M3, kFewTokens + 1) == 7);
  CHECK(launchesOf(bench, oneE4M3, twoE4M3, kFewTokens) == 7);
  CHECK(launchesOf(bench, twoE4M3, oneE4M3, 1) == 7);
  for (const FakeFitted &product : bench.cuda.fittedLaunches())
    CHECK(!product.symbol.ends_with(":few"));
}
