// Forwards against the float64 reference.
#include "runtime/device/cpu/MachineFacts.h"
#include "tests/unit/runtime/Harness.h"

#include <array>

using namespace moec;
using namespace moec::test;

namespace {

struct Case {
  LayerDescription layer;
  uint32_t tokens;
};

RouterSpec randomRouter(std::mt19937 &random, uint32_t experts, uint32_t topK) {
  auto below = [&](uint32_t n) { return std::uniform_int_distribution<uint32_t>(0, n - 1)(random); };
  RouterSpec router;
  switch (below(4)) {
  case 0: router.renormalise = below(2); break;
  case 1:
    router.before = Scoring::None;
    router.after = Scoring::Softmax;
    break;
  case 2:
    router.before = Scoring::Sigmoid;
    router.correctionBias = router.renormalise = true;
    router.epsilon = 1e-20;
    router.scale = 2.5;
    break;
  default:
    router.before = Scoring::None;
    router.after = Scoring::Sigmoid;
    router.routerBias = true;
  }
  if (experts % 4 == 0 && topK <= experts / 2) {
    router.groups = 4;
    router.groupsPicked = 2;
    router.groupTop = std::min(2u, experts / 4);
  }
  return router;
}

Case randomCase(uint32_t seed) {
  std::mt19937 random(seed);
  auto between = [&](uint32_t a, uint32_t b) { return std::uniform_int_distribution<uint32_t>(a, b)(random); };
  LayerShape shape;
  shape.hidden = between(1, 50);
  shape.intermediate = between(1, 40);
  shape.experts = between(1, 12);
  shape.topK = between(0, 3) == 0 ? shape.experts : between(1, shape.experts); // K = E now and then
  shape.dtype = static_cast<DType>(between(0, 2));
  shape.sharedIntermediate = between(0, 2) == 0 ? between(1, 30) : 0;
  shape.sharedGate = shape.sharedIntermediate && between(0, 1);
  shape.expertBias = between(0, 2) == 0;
  shape.weightOnInput = between(0, 3) == 0;
  RouterSpec router = randomRouter(random, shape.experts, shape.topK);
  return {describeLayer(seed % 5, shape, router), between(0, 4) == 0 ? 1 : between(1, 40)};
}

} // namespace

TEST_CASE("random layers agree with the float64 reference", "[runtime][forward]") {
  for (uint32_t seed = 0; seed < 300; ++seed) {
    Case test = randomCase(seed);
    const DType dtype = test.layer.shape.dtype;
    Harness harness({test.layer}, [&](SessionOptions &options) {
      options.packBudget.share = (seed / 3 % 3) / 2.0; // nothing, half or everything packed
      options.threads = 1 + seed % 3;
      const char *device =
          std::array{"cpu-avx2", "cpu-avx512", "cpu-avx512bf16"}[seed % 3]; // 8 and 16 lanes, bf16 rows
      if (runnableTarget(device, 1))
        options.device = device;
    });
    Tensor hidden = Tensor::random(test.tokens, test.layer.shape.hidden, dtype, seed);
    const std::vector<float> found = harness.forward(hidden).values();
    const ReferenceRouting routing = referenceRoute(test.layer, *harness.weights, hidden.values());
    const double error = relativeError(found, referenceMoe(test.layer, *harness.weights, hidden.values(), routing));
    const LayerShape &shape = test.layer.shape;
    INFO("seed " << seed << ": T " << test.tokens << " H " << shape.hidden << " I " << shape.intermediate << " E "
                 << shape.experts << " K " << shape.topK << " " << dtypeName(dtype) << " shared "
                 << shape.sharedIntermediate << (shape.expertBias ? " biased" : "")
                 << (shape.weightOnInput ? " weights on inputs" : "") << " groups " << test.layer.router.groups
                 << " before " << static_cast<int>(test.layer.router.before));
    REQUIRE(error <= toleranceOf(dtype));
  }
}

TEST_CASE("a caller's routing is obeyed, padding adds nothing, and idle experts cost nothing", "[runtime][forward]") {
  for (DType dtype : {DType::F32, DType::BF16}) {
    LayerDescription layer =
        describeLayer(3, {.hidden = 33, .intermediate = 17, .experts = 6, .topK = 2, .dtype = dtype});
    Harness harness({layer});
    Tensor hidden = Tensor::random(7, 33, dtype, 1), output(7, 33, dtype);
    // Expert 5 is idle, token 2 has one pair, token 3 none.
    ReferenceRouting routing{{0, 1, 4, 0, -1, 2, -1, -1, 3, 0, 0, 3, 1, 4}, {}};
    for (size_t i = 0; i < routing.ids.size(); ++i)
      routing.weights.push_back(0.25 + 0.0625 * static_cast<double>(i));
    const std::vector<float> weights(routing.weights.begin(), routing.weights.end());
    std::vector<uint32_t> seen;
    harness.session->setObserver([&](const LayerObservation &o) { seen.assign(o.pairs.begin(), o.pairs.end()); });
    auto step = harness.session->begin({.tokens = 7});
    REQUIRE(step->layer(3).forward(hidden.view(), routing.ids.data(), weights.data(), output.view()).ok());
    CHECK(relativeError(output.values(), referenceMoe(layer, *harness.weights, hidden.values(), routing)) <=
          toleranceOf(dtype));
    CHECK(seen == std::vector<uint32_t>{4, 2, 1, 2, 2, 0});
    for (uint32_t h = 0; h < 33; ++h)
      REQUIRE(output.values()[3 * 33 + h] == 0);
  }
}

TEST_CASE("ids out of range and ids named twice are refused before anything is written", "[runtime][forward]") {
  Harness harness({describeLayer(0, {.hidden = 8, .intermediate = 8, .experts = 4, .topK = 2, .dtype = DType::F32})});
  Tensor hidden = Tensor::random(2, 8, DType::F32, 1), output(2, 8, DType::F32);
  output.set(std::vector<float>(16, 7.0f));
  const std::vector<float> weights(4, 0.5f);
  for (std::vector<int32_t> ids : {std::vector<int32_t>{0, 4, 1, 2}, {0, -2, 1, 2}, {0, 1, 3, 3}}) {
    auto step = harness.session->begin({.tokens = 2});
    Status status = step->layer(0).forward(hidden.view(), ids.data(), weights.data(), output.view());
    CHECK(status.code() == Code::InvalidArgument);
    CHECK(status.message().find("token") != std::string::npos);
  }
  CHECK(output.values() == std::vector<float>(16, 7.0f));
}

TEST_CASE("all tokens to one expert, and what exceeds the slots, are exact", "[runtime][forward][spill]") {
  for (DType dtype : {DType::F32, DType::BF16}) {
    LayerDescription layer =
        describeLayer(0, {.hidden = 20, .intermediate = 12, .experts = 4, .topK = 2, .dtype = dtype});
    Harness harness({layer});
    LayerPlan tight = harness.plan(0, {5, 3}, false, 3);
    auto built = harness.session->host().build({{0, tight}}, {}, {});
    REQUIRE(built.ok());
    Tensor hidden = Tensor::random(50, 20, dtype, 3), output(50, 20, dtype), before(50, 20, dtype);
    ReferenceRouting routing;
    for (int t = 0; t < 50; ++t) { // 50 pairs for expert 2, 3 for expert 1: those fit
      routing.ids.insert(routing.ids.end(), {2, t < 3 ? 1 : -1});
      routing.weights.insert(routing.weights.end(), {0.75, 0.5});
    }
    const std::vector<float> weights(routing.weights.begin(), routing.weights.end());
    auto run = [&](Tensor &to) {
      auto step = harness.session->begin({.tokens = 50});
      REQUIRE(step->layer(0).forward(hidden.view(), routing.ids.data(), weights.data(), to.view()).ok());
    };
    run(before);
    const uint64_t spilledBefore = harness.session->stats().spilledPairs;
    REQUIRE(harness.session->host().publish(built->generation).ok());
    run(output);
    CHECK(harness.session->stats().spilledPairs - spilledBefore == 50);
    CHECK(output.bytes == before.bytes);
    CHECK(relativeError(output.values(), referenceMoe(layer, *harness.weights, hidden.values(), routing)) <=
          toleranceOf(dtype));
  }
}

TEST_CASE("a step without tokens succeeds and writes nothing", "[runtime][forward]") {
  Harness harness({describeLayer(0, {.hidden = 8, .intermediate = 8, .experts = 2, .topK = 1, .dtype = DType::F32})});
  auto step = harness.session->begin({.tokens = 0});
  CHECK(step->layer(0).forward({nullptr, DType::F32, 0, 8}, {nullptr, DType::F32, 0, 8}).ok());
}

TEST_CASE("results do not depend on threads, packing or tile heights, bit for bit", "[runtime][forward]") {
  for (DType dtype : {DType::F32, DType::BF16}) {
    LayerDescription layer = describeLayer(
        0, {.hidden = 45, .intermediate = 37, .experts = 8, .topK = 3, .dtype = dtype, .sharedIntermediate = 9});
    Tensor hidden = Tensor::random(37, 45, dtype, 11);
    std::vector<std::byte> first;
    for (unsigned threads : {1u, 2u, 4u})
      for (double share : {0.0, 0.5, 1.0}) {
        Harness harness({layer}, [&](SessionOptions &options) {
          options.threads = threads;
          options.packBudget.share = share;
          options.limits.maxTileHeights = 1 + threads;
        });
        Tensor output = harness.forward(hidden);
        if (first.empty())
          first = output.bytes;
        REQUIRE(output.bytes == first);
      }
  }
}

TEST_CASE("logits that are not finite are counted and harm only their own token", "[runtime][forward][nan]") {
  LayerDescription layer =
      describeLayer(0, {.hidden = 16, .intermediate = 8, .experts = 4, .topK = 2, .dtype = DType::F32});
  Tensor hidden = Tensor::random(5, 16, DType::F32, 2), clean = hidden;
  std::vector<float> values = hidden.values();
  values[2 * 16 + 3] = std::numeric_limits<float>::quiet_NaN();
  hidden.set(values);
  Harness harness({layer});
  const std::vector<float> expected = harness.forward(clean).values(), found = harness.forward(hidden).values();
  CHECK(harness.session->stats().nonFiniteLogits == 4);
  for (uint32_t i = 0; i < found.size(); ++i)
    if (i / 16 != 2)
      REQUIRE(found[i] == expected[i]);

  Harness strict({layer}, [](SessionOptions &options) { options.nonFinite = NonFinitePolicy::Fail; });
  Tensor output(5, 16, DType::F32);
  auto step = strict.session->begin({.tokens = 5});
  CHECK(step->layer(0).forward(hidden.view(), output.view()).code() == Code::Failure);
}

TEST_CASE("shapes and dtypes that differ are refused with both named", "[runtime][forward]") {
  Harness harness({describeLayer(2, {.hidden = 8, .intermediate = 8, .experts = 2, .topK = 1, .dtype = DType::F32})});
  Tensor good(3, 8, DType::F32), wide(3, 9, DType::F32), half(3, 8, DType::BF16);
  auto step = harness.session->begin({.tokens = 3});
  Status status = step->layer(2).forward(wide.view(), good.view());
  CHECK(status.code() == Code::InvalidArgument);
  CHECK(status.message() == "layer 2: hidden is f32 [3, 9], expected f32 [3, 8]");
  CHECK(step->layer(2).forward(good.view(), half.view()).code() == Code::InvalidArgument);
  CHECK(step->layer(7).forward(good.view(), good.view()).code() == Code::NotFound);
  CHECK(harness.session->begin({.tokens = 65}).status().code() == Code::ResourceExhausted);
}

TEST_CASE("route writes what forward would run on, and runs nothing else", "[runtime][forward]") {
  std::mt19937 random(11);
  LayerShape shape{
      .hidden = 24, .intermediate = 16, .experts = 8, .topK = 3, .dtype = DType::BF16, .sharedIntermediate = 8};
  Harness harness({describeLayer(2, shape, randomRouter(random, 8, 3))});
  Tensor hidden = Tensor::random(19, 24, DType::BF16, 4), output(19, 24, DType::BF16);
  const std::vector<std::byte> expected = harness.forward(hidden).bytes;
  const uint64_t forwards = harness.session->stats().forwards;

  std::vector<int32_t> ids(19 * 3, -7);
  std::vector<float> weights(19 * 3);
  auto step = harness.session->begin({.tokens = 19});
  REQUIRE(step.ok());
  REQUIRE(step->layer(2).route(hidden.view(), ids.data(), weights.data()).ok());
  CHECK(harness.session->stats().forwards == forwards);
  REQUIRE(step->layer(2).forward(hidden.view(), ids.data(), weights.data(), output.view()).ok());
  CHECK(output.bytes == expected);

  CHECK(step->layer(3).route(hidden.view(), ids.data(), weights.data()).code() == Code::NotFound);
  CHECK(step->layer(2).route(output.view(), ids.data(), nullptr).code() == Code::InvalidArgument);
}
