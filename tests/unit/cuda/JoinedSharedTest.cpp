// Sessions whose shared expert joins the routed ones: what the kernels are handed, and what lies on the device.
#include "tests/unit/cuda/CudaBench.h"

#include "compiler/core/CudaLaunch.h"
#include "compiler/core/JoinedShared.h"

#include <cstring>

using namespace moec;
using namespace moec::test;

namespace {

constexpr LayerShape joined{.hidden = 272,
                            .intermediate = 144,
                            .experts = 6,
                            .topK = 2,
                            .dtype = DType::BF16,
                            .sharedIntermediate = 144,
                            .sharedAlike = true};
constexpr uint32_t mostRows = 64 * 3; // 64 tokens, two routed experts and the shared one each

LayerShape stored(LayerShape shape) {
  shape.expertFormat = WeightFormat::BlockE4M3;
  return shape;
}

/// The order of experts that dispatch was given: the joined one, then those of the plan, one number further.
void checkOrder(CudaBench &bench, const DispatchArgs &args) {
  const std::vector<uint16_t> planned = bench.session->host().livePlan(0).table.order;
  REQUIRE(planned.size() == joined.experts);
  REQUIRE(args.plannedOrder);
  CHECK(args.plannedOrder[0] == 0);
  for (uint32_t place = 0; place < joined.experts; ++place)
    CHECK(args.plannedOrder[1 + place] == planned[place] + 1);
}

/// What the products and dispatch agree on.
void checkTiles(const DispatchArgs &dispatch, const GroupedGemmArgs &args) {
  CHECK(args.tileHead == dispatch.tileHead);
  CHECK(args.tiles == dispatch.tiles);
  CHECK(args.numExperts == 7);
}

std::vector<std::byte> bytesOf(const WeightRef &ref, uint32_t expert) {
  std::vector<std::byte> bytes(272 * 144 * 2);
  REQUIRE(MadeUpWeights().read(ref, expert, DType::BF16, bytes).ok());
  return bytes;
}

/// [7, n, k]: the shared expert's matrix, then the routed ones'.
void checkWeights(const WeightRef &shared, const WeightRef &routed, const void *on) {
  const auto *device = static_cast<const std::byte *>(on);
  for (uint32_t place = 0; place < 7; ++place) {
    CAPTURE(routed.name, place);
    const std::vector<std::byte> expected = place == 0 ? bytesOf(shared, 0) : bytesOf(routed, place - 1);
    CHECK(std::memcmp(device + place * expected.size(), expected.data(), expected.size()) == 0);
  }
}

void checkCodes(const WeightRef &shared, const WeightRef &routed, const void *on, const float *scalesOn) {
  constexpr size_t numCodes = 272 * 144, numScales = 6;
  std::vector<uint8_t> codes(numCodes);
  std::vector<float> scales(numScales);
  for (uint32_t place = 0; place < 7; ++place) {
    CAPTURE(routed.name, place);
    REQUIRE(
        MadeUpWeights().readBlockE4M3(place == 0 ? shared : routed, place == 0 ? 0 : place - 1, codes, scales).ok());
    CHECK(std::memcmp(static_cast<const uint8_t *>(on) + place * numCodes, codes.data(), numCodes) == 0);
    CHECK(std::vector<float>(scalesOn + place * numScales, scalesOn + (place + 1) * numScales) == scales);
  }
}

} // namespace

TEST_CASE("a joined shared expert is the first of the products' experts, and has no launches of its own",
          "[cuda][joined]") {
  CudaBench bench({}, {describeLayer(0, joined)});
  bench.mustOpen();
  for (const char *tile : {"fitted-16x64-s5-w1x4-b1", "fitted-192x256-s4-w2x1-b1"}) {
    CAPTURE(tile);
    bench.publish(tile, tile);
    bench.cuda.forget();
    REQUIRE(bench.step(bench.cuda.stream()).ok());
    const bool dispatches = isWide(CudaTile::parse(tile)->tokens);       // narrow tiles find their pairs
    CHECK(bench.cuda.count("cuLaunchKernelEx") == (dispatches ? 6 : 5)); // router, route, both products, combine
    const std::vector<FakeFitted> products = bench.cuda.fittedLaunches();
    REQUIRE(products.size() == 2);
    const FakeFitted &gateUp = products[0], &down = products[1];
    if (dispatches) {
      const DispatchArgs dispatched = bench.cuda.lastDispatch();
      checkOrder(bench, dispatched);
      CHECK(dispatched.numProgress == numProgressCounts(192, 7, 60)); // 20 tokens, each with two experts and the joined
      checkTiles(dispatched, gateUp.args);
      checkTiles(dispatched, down.args);
    } else {
      CHECK((gateUp.args.few.joined == 1 && down.args.few.joined == 1));
    }
    CHECK(gateUp.weights.sizes[4] == 7);
    CHECK(down.weights.sizes[2] == 7);
    for (const FakeFitted *product : {&gateUp, &down})
      CHECK(product->output.sizes[1] == mostRows);
    CHECK(down.tokens.sizes[1] == mostRows);
    const LayerWeights &refs = bench.layers[0].weights;
    checkWeights(refs.sharedGate, refs.gate, gateUp.args.weights);
    checkWeights(refs.sharedUp, refs.up, gateUp.args.upWeights);
    checkWeights(refs.sharedDown, refs.down, down.args.weights);
  }
}

TEST_CASE("a joined shared expert is multiplied in e4m3 where the routed ones are", "[cuda][joined][fp8]") {
  CudaBench bench({}, {describeLayer(0, stored(joined))});
  bench.mustOpen();
  bench.publish("fp8-192x128-s5-w2x1-b1", "fp8-192x128-s5-w2x1-b1", /*asNumbered=*/true);
  bench.cuda.forget();
  REQUIRE(bench.step(bench.cuda.stream()).ok());
  CHECK(bench.cuda.count("cuLaunchKernelEx") == 8);
  const std::vector<FakeFitted> launches = bench.cuda.fittedLaunches();
  REQUIRE(launches.size() == 4);
  const FakeFitted &tokens = launches[0], &gateUp = launches[1], &activated = launches[2], &down = launches[3];
  const DispatchArgs dispatch = bench.cuda.lastDispatch();
  CHECK(dispatch.plannedOrder == nullptr); // as they are numbered
  checkTiles(dispatch, gateUp.args);
  checkTiles(dispatch, down.args);
  CHECK((tokens.quantise.numRows == 20 && tokens.quantise.topK == 2)); // the kernel adds the joined expert's row
  CHECK(activated.quantise.rowsInUse == dispatch.expertBegin + 7);
  CHECK(activated.quantise.numRows == 20 * 3);
  for (const FakeFitted *quantise : {&tokens, &activated})
    CHECK(quantise->quantise.scaleStride == mostRows);
  CHECK((gateUp.tokens.sizes[1] == mostRows && down.tokens.sizes[1] == mostRows));
  const LayerWeights &refs = bench.layers[0].weights;
  checkCodes(refs.sharedGate, refs.gate, gateUp.args.weights, gateUp.scaled.weightScales);
  checkCodes(refs.sharedUp, refs.up, gateUp.args.upWeights, gateUp.scaled.upWeightScales);
  checkCodes(refs.sharedDown, refs.down, down.args.weights, down.scaled.weightScales);
}

TEST_CASE("samples of a layer with a joined expert count the routed ones' pairs", "[cuda][joined]") {
  CudaBench bench({}, {describeLayer(0, joined)});
  bench.mustOpen();
  std::vector<uint32_t> pairs;
  bench.session->setObserver([&](const LayerObservation &seen) { pairs.assign(seen.pairs.begin(), seen.pairs.end()); });
  REQUIRE(bench.step(bench.cuda.stream()).ok());
  bench.session->finish();
  CHECK(pairs ==
        std::vector<uint32_t>{20, 20, 0, 0, 0, 0}); // the fake's route: experts 0 and 1 for all of twenty tokens
}

TEST_CASE("what a plan says of a joined expert's own tiles is of no meaning", "[cuda][joined]") {
  CudaBench bench({}, {describeLayer(0, joined)});
  bench.mustOpen();
  LayerPlan plan = bench.plan(1);
  plan.config.cuda.sharedGateUp = plan.config.cuda.sharedDown = *CudaTile::parse("fitted-192x256-s4-w2x1-b1");
  CHECK(bench.session->host().build({{0, plan}}, {}, {}).ok());
}

TEST_CASE("a package whose shared expert has launches of its own does not fit a layer where it joins",
          "[cuda][joined]") {
  CudaBench bench({}, {describeLayer(0, joined)});
  // On a card whose tiles all have a dense form.
  bench.cuda.model = "NVIDIA A100-SXM4-80GB", bench.cuda.major = 8, bench.cuda.multiprocessors = 108,
  bench.cuda.memoryKhz = 1'593'000;
  CHECK(bench.open().ok());
  bench.compiler.sharedApart = true;
  const Status status = bench.open().status();
  CHECK(status.code() == Code::InvalidModel);
  CHECK(status.message().find("whether a shared expert has launches of its own") != std::string::npos);
}
