// Sessions whose routed experts are multiplied in e4m3: what the kernels are handed.
#include "tests/unit/cuda/CudaBench.h"

#include "compiler/core/CudaLaunch.h"

#include <cstring>

using namespace moec;
using namespace moec::test;

namespace {

constexpr uint32_t mostRows = 128; // 64 tokens, two experts each

uint64_t addressOf(const void *pointer) { return reinterpret_cast<uint64_t>(pointer); }

/// e4m3 rows [mostRows, columns] in boxes of 128 columns by `boxRows` rows.
void checkRows(const FakeTensorMap &map, const void *from, uint32_t columns, uint32_t boxRows) {
  CHECK(map.rank == 2);
  CHECK(map.address == addressOf(from));
  CHECK(map.sizes[0] == columns);
  CHECK(map.sizes[1] == mostRows);
  CHECK(map.strides[0] == columns);
  CHECK(map.box[0] == 128);
  CHECK(map.box[1] == boxRows);
}

/// One expert's codes and scales as they lie on the device.
void checkWeights(const WeightRef &ref, const void *codes, const float *scales, size_t expertCodes,
                  size_t expertScales) {
  const MadeUpWeights weights;
  std::vector<uint8_t> expectedCodes(expertCodes);
  std::vector<float> expectedScales(expertScales);
  for (uint32_t e = 0; e < e4m3Shape.experts; ++e) {
    REQUIRE(weights.readBlockE4M3(ref, e, expectedCodes, expectedScales).ok());
    CAPTURE(ref.name, e);
    CHECK(std::memcmp(static_cast<const uint8_t *>(codes) + e * expertCodes, expectedCodes.data(), expertCodes) == 0);
    CHECK(std::vector<float>(scales + e * expertScales, scales + (e + 1) * expertScales) == expectedScales);
  }
}

} // namespace

TEST_CASE("e4m3 layers get e4m3 tiles, and quantise before each product", "[cuda][fp8]") {
  CudaBench bench({}, {describeLayer(0, e4m3Shape)});
  bench.mustOpen();
  bench.publish("fp8-192x128-s5-w2x1-b1", "fp8-192x128-s5-w2x1-b1");
  bench.cuda.forget();
  REQUIRE(bench.step(bench.cuda.stream()).ok());
  const std::vector<FakeFitted> launches = bench.cuda.fittedLaunches();
  REQUIRE(launches.size() == 4);
  const FakeFitted &tokens = launches[0], &gateUp = launches[1], &activated = launches[2], &down = launches[3];
  CHECK(tokens.symbol == "quantise");
  CHECK(gateUp.symbol.starts_with("gate-up:fp8"));
  CHECK(activated.symbol == "quantise");
  CHECK(down.symbol.starts_with("down:fp8"));
  CHECK(bench.cuda.count("cuLaunchKernelEx") == 8); // and router, route, dispatch, combine

  // The step's tokens into the slots of their pairs; then what gate-up wrote, row by row.
  CHECK(tokens.quantise.rows == bench.hidden.data());
  CHECK(tokens.quantise.slotOfPair != nullptr);
  CHECK(tokens.quantise.rowsInUse == nullptr);
  CHECK((tokens.quantise.numRows == 20 && tokens.quantise.k == 272 && tokens.quantise.topK == 2));
  CHECK(activated.quantise.rows == gateUp.args.output);
  CHECK(activated.quantise.slotOfPair == nullptr);
  CHECK(activated.quantise.rowsInUse == bench.cuda.lastDispatch().expertBegin + e4m3Shape.experts);
  CHECK((activated.quantise.numRows == 40 && activated.quantise.k == 144 && activated.quantise.topK == 1));
  for (const FakeFitted *quantise : {&tokens, &activated})
    CHECK(quantise->quantise.scaleStride == mostRows);
  // Rows that are read are not those that are written.
  CHECK(activated.quantise.quantised != down.args.output);
  CHECK(addressOf(tokens.quantise.quantised) == addressOf(down.args.output)); // until down writes there
}

TEST_CASE("e4m3 products get maps in bytes, and the scales of what they multiply", "[cuda][fp8]") {
  CudaBench bench({}, {describeLayer(0, e4m3Shape)});
  bench.mustOpen();
  for (const char *tile : {"fp8-16x64-s5-w1x4-b1", "fp8-192x128-s5-w2x1-b1"}) {
    CAPTURE(tile);
    bench.publish(tile, tile);
    bench.cuda.forget();
    REQUIRE(bench.step(bench.cuda.stream()).ok());
    const std::vector<FakeFitted> launches = bench.cuda.fittedLaunches();
    REQUIRE(launches.size() == 4);
    const FakeFitted &tokens = launches[0], &gateUp = launches[1], &activated = launches[2], &down = launches[3];
    CHECK(gateUp.symbol == std::string("gate-up:") + tile);
    const GemmConfig config = gemmConfigOf(*CudaTile::parse(tile), DType::BF16, GemmRole::Down, false);
    CHECK((gateUp.args.few.ids == nullptr) == isWide(config.tileTokens)); // the narrow ones find 40 pairs
    if (isWide(config.tileTokens))
      CHECK(bench.cuda.lastDispatch().mixRows == kMixRowsWideE4M3);

    const uint32_t sizes[] = {272, 8, 2, 144 / 8, 6}, boxes[] = {128, 8, 2, boxGroups(config), 1};
    CHECK(gateUp.weights.rank == 5);
    CHECK(gateUp.weights.address == addressOf(gateUp.args.weights));
    CHECK(std::equal(std::begin(sizes), std::end(sizes), gateUp.weights.sizes));
    CHECK(std::equal(std::begin(boxes), std::end(boxes), gateUp.weights.box));
    CHECK(gateUp.weights.strides[1] == addressOf(gateUp.args.upWeights) - addressOf(gateUp.args.weights));
    CHECK(gateUp.weights.strides[3] == 272 * 144);
    checkRows(gateUp.tokens, tokens.quantise.quantised, 272, tokenBoxRows(config));
    CHECK(down.weights.rank == 3);
    CHECK((down.weights.sizes[0] == 144 && down.weights.sizes[1] == 272 && down.weights.strides[0] == 144));
    checkRows(down.tokens, activated.quantise.quantised, 144, tokenBoxRows(config));

    CHECK(gateUp.scaled.tokenScales == tokens.quantise.scales);
    CHECK(down.scaled.tokenScales == activated.quantise.scales);
    CHECK((gateUp.scaled.tokenScaleStride == mostRows && down.scaled.tokenScaleStride == mostRows));
    CHECK((gateUp.scaled.expertScaleStride == 2 * 3 && down.scaled.expertScaleStride == 3 * 2));
    const LayerWeights &refs = bench.layers[0].weights;
    checkWeights(refs.gate, gateUp.args.weights, gateUp.scaled.weightScales, 272 * 144, 6);
    checkWeights(refs.up, gateUp.args.upWeights, gateUp.scaled.upWeightScales, 272 * 144, 6);
    checkWeights(refs.down, down.args.weights, down.scaled.weightScales, 272 * 144, 6);
  }
}

TEST_CASE("gate-up that gives its rows quantised leaves them and their scales where down takes them", "[cuda][fp8]") {
  CudaBench bench({}, {describeLayer(0, e4m3Shape)});
  bench.mustOpen();
  struct Tiles {
    const char *gateUp, *down;
    uint32_t boxRows, launches; // of a step: router, route, (dispatch,) quantise, both products, combine
  };
  for (const Tiles &tiles : {Tiles{"fp8rows-128x256-s4-w2x1-b1", "fp8rows-128x256-s4-w2x1-b1", 32, 7},
                             Tiles{"fp8-16x256-s6-w2x1-b1", "fp8-16x64-s5-w1x2-b2", 16, 6}}) {
    CAPTURE(tiles.gateUp);
    bench.publish(tiles.gateUp, tiles.down);
    bench.cuda.forget();
    REQUIRE(bench.step(bench.cuda.stream()).ok());
    const std::vector<FakeFitted> launches = bench.cuda.fittedLaunches();
    REQUIRE(launches.size() == 3); // nothing between the products
    const FakeFitted &tokens = launches[0], &gateUp = launches[1], &down = launches[2];
    CHECK(tokens.symbol == "quantise");
    CHECK(bench.cuda.count("cuLaunchKernelEx") == tiles.launches);
    checkRows(gateUp.tokens, tokens.quantise.quantised, 272, tiles.boxRows);
    checkRows(gateUp.output, gateUp.args.output, 144, kOutputBoxRows);
    checkRows(down.tokens, gateUp.args.output, 144, tiles.boxRows);
    CHECK(down.scaled.tokenScales == gateUp.scaled.outputScales);
    CHECK(gateUp.scaled.tokenScales == tokens.quantise.scales);
    // Gate-up writes scales while it reads the tokens'.
    CHECK(gateUp.scaled.outputScales >= gateUp.scaled.tokenScales + size_t{ceilDivide(272, kFp8Block)} * mostRows);
  }
}

TEST_CASE("products of e4m3 experts are all of e4m3", "[cuda][fp8]") {
  CudaBench bench({}, {describeLayer(0, e4m3Shape)});
  bench.mustOpen();
  LayerPlan plan = bench.session->host().livePlan(0);
  plan.config.cuda.gateUp = *CudaTile::parse("fitted-16x64-s5-w1x4-b1");
  plan.config.cuda.down = *CudaTile::parse("fp8-16x64-s5-w1x4-b1");
  const Status mixed = bench.session->host().build({{0, plan}}, {}, {}).status();
  CHECK(mixed.code() == Code::InvalidArgument);
  CHECK(mixed.message().find("no tile fitted-16x64-s5-w1x4-b1") != std::string::npos);
}

TEST_CASE("products of other experts are not of e4m3", "[cuda][fp8]") {
  LayerShape plain = e4m3Shape;
  plain.expertFormat = WeightFormat::Plain;
  CudaBench bench({}, {describeLayer(0, plain)});
  bench.mustOpen();
  LayerPlan plan = bench.session->host().livePlan(0);
  CHECK(plan.config.cuda.gateUp.family != GemmFamily::Fp8);
  plan.config.cuda.gateUp = plan.config.cuda.down = *CudaTile::parse("fp8-16x64-s5-w1x4-b1");
  CHECK(bench.session->host().build({{0, plan}}, {}, {}).status().code() == Code::InvalidArgument);
}

TEST_CASE("shared experts of an e4m3 layer are multiplied in the layer's dtype", "[cuda][fp8]") {
  LayerShape shape = e4m3Shape;
  shape.sharedIntermediate = 64;
  CudaBench bench({}, {describeLayer(0, shape)});
  bench.mustOpen();
  const CudaConfig config = bench.session->host().livePlan(0).config.cuda;
  CHECK(config.gateUp.family == GemmFamily::Fp8);
  CHECK(hasDenseForm(config.sharedGateUp));
  bench.publish("fp8-16x64-s5-w1x2-b2", "fp8-16x64-s5-w1x2-b2");
  bench.cuda.forget();
  REQUIRE(bench.step(bench.cuda.stream()).ok());
  CHECK(bench.cuda.count("cuLaunchKernelEx") ==
        9); // two a product with what quantises, two of the shared expert's, router, route, combine
}

TEST_CASE("what no e4m3 kernel computes is multiplied as the numbers that are stored", "[cuda][fp8]") {
  LayerShape odd = e4m3Shape, biased = e4m3Shape, halves = e4m3Shape;
  odd.hidden = 264; // no multiple of 16
  biased.expertBias = true;
  halves.dtype = DType::F16;
  for (const LayerShape &shape : {odd, biased, halves}) {
    CudaBench bench({}, {describeLayer(0, shape)});
    bench.mustOpen();
    CHECK(bench.session->host().livePlan(0).config.cuda.gateUp.family != GemmFamily::Fp8);
  }
  CudaBench older({}, {describeLayer(0, e4m3Shape)});
  older.cuda.model = "NVIDIA A100-SXM4-80GB", older.cuda.major = 8, older.cuda.multiprocessors = 108,
  older.cuda.memoryKhz = 1'593'000;
  older.mustOpen();
  CHECK(older.session->host().livePlan(0).config.cuda.gateUp.family == GemmFamily::Portable);
  CHECK(older.step(older.cuda.stream()).ok());
}

TEST_CASE("e4m3 layers of other sizes have maps of their own rows, in buffers for the largest", "[cuda][fp8]") {
  LayerShape wider = e4m3Shape;
  wider.hidden = 528;
  wider.intermediate = 64;
  wider.topK = 3;
  CudaBench bench({}, {describeLayer(0, e4m3Shape), describeLayer(1, wider)});
  bench.mustOpen();
  bench.publish("fp8-16x64-s5-w1x4-b1", "fp8-16x64-s5-w1x4-b1"); // layer 0; layer 1's gate-up gives its rows quantised
  REQUIRE(givesQuantised(bench.session->host().livePlan(1).config.cuda.gateUp));
  bench.cuda.forget();
  auto step = bench.session->begin({.tokens = 5, .stream = bench.cuda.stream()});
  REQUIRE(step.ok());
  const std::vector<int32_t> ids(15, 1);
  const std::vector<float> weights(15, 0.25f);
  for (uint32_t layer : {0u, 1u}) {
    const uint32_t columns = layer ? 528 : 272;
    REQUIRE(step->layer(layer)
                .forward({bench.hidden.data(), DType::BF16, 5, columns}, ids.data(), weights.data(),
                         {bench.output.data(), DType::BF16, 5, columns})
                .ok());
  }
  const std::vector<FakeFitted> launches = bench.cuda.fittedLaunches();
  REQUIRE(launches.size() == 4 + 3);
  CHECK((launches[1].tokens.sizes[0] == 272 && launches[5].tokens.sizes[0] == 528));
  CHECK((launches[3].tokens.sizes[0] == 144 && launches[6].tokens.sizes[0] == 64));
  // Where one gate-up's rows are quantised the other's are written so.
  CHECK(launches[2].quantise.quantised == launches[5].args.output);
  CHECK(launches[2].quantise.scales == launches[5].scaled.outputScales);
  // Five blocks of 528 columns, each as long as 64 tokens' three pairs: none reaches what lies behind.
  CHECK(launches[4].quantise.scaleStride == 64 * 3);
  const auto bytesAt = [](const auto *pointer) { return reinterpret_cast<const uint8_t *>(pointer); };
  const uint8_t *scales = bytesAt(launches[4].quantise.scales), *others = bytesAt(launches[5].scaled.outputScales);
  const uint8_t *output = static_cast<const uint8_t *>(launches[6].args.output),
                *rows = static_cast<const uint8_t *>(launches[5].args.output);
  constexpr size_t scaleBytes = 5 * 64 * 3 * sizeof(float), outputBytes = 64 * 3 * 528 * 2, rowBytes = 64 * 2 * 144;
  const auto apart = [](const uint8_t *a, size_t sizeOfA, const uint8_t *b, size_t sizeOfB) {
    return a + sizeOfA <= b || b + sizeOfB <= a;
  };
  CHECK(apart(scales, scaleBytes, output, outputBytes));
  CHECK(apart(scales, scaleBytes, others, 64 * 3 * sizeof(float)));
  CHECK(apart(scales, scaleBytes, rows, rowBytes));
  CHECK(apart(rows, rowBytes, output, outputBytes));
}

TEST_CASE("an e4m3 and a plain layer share a step's buffers", "[cuda][fp8]") {
  LayerShape plain{.hidden = 272, .intermediate = 160, .experts = 8, .topK = 4, .dtype = DType::BF16};
  CudaBench bench({}, {describeLayer(0, e4m3Shape), describeLayer(1, plain)});
  bench.mustOpen();
  bench.cuda.forget();
  auto step = bench.session->begin({.tokens = 5, .stream = bench.cuda.stream()});
  REQUIRE(step.ok());
  const ConstTensorView in{bench.hidden.data(), DType::BF16, 5, 272};
  const TensorView out{bench.output.data(), DType::BF16, 5, 272};
  const std::vector<int32_t> ids(20, 1);
  const std::vector<float> weights(20, 0.25f);
  for (uint32_t layer : {0u, 1u})
    REQUIRE(step->layer(layer).forward(in, ids.data(), weights.data(), out).ok());
  const std::vector<FakeFitted> launches = bench.cuda.fittedLaunches();
  REQUIRE(launches.size() == 3 + 2); // its gate-up gives its rows quantised
  // Scales lie as far apart as the step's largest layer has pairs.
  CHECK(launches[0].quantise.scaleStride == 64 * 4);
  CHECK(launches[1].scaled.tokenScaleStride == 64 * 4);
  for (size_t plainProduct : {3u, 4u})
    CHECK(launches[plainProduct].symbol.find(":fitted-") != std::string::npos);
}
