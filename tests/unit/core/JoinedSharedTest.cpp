#include "compiler/core/JoinedShared.h"
#include "compiler/core/CudaWork.h"
#include "tests/unit/core/GpuFixtures.h"

using namespace moec;
using namespace moec::test;

namespace {

constexpr LayerShape joined{.hidden = 100,
                            .intermediate = 10,
                            .experts = 8,
                            .topK = 2,
                            .dtype = DType::BF16,
                            .sharedIntermediate = 10,
                            .sharedAlike = true};

/// Of a layer with one routed expert more, and so many rows for each.
constexpr LayerShape grown(LayerShape shape) {
  ++shape.experts;
  ++shape.topK;
  shape.sharedIntermediate = 0;
  shape.sharedAlike = false;
  return shape;
}

} // namespace

TEST_CASE("a shared expert joins the routed ones where nothing tells it from them but who gets it", "[core][gpu]") {
  CHECK(joinsShared(joined));
  CHECK(groupedExperts(joined) == 9);
  CHECK(rowsPerToken(joined) == 3);
  CHECK(groupedRows(joined, {4, {1, 0, 7}}) == std::vector<uint32_t>{4, 1, 0, 7});
  CHECK(totalRows(joined, {4, {1, 0, 7}}) == 12);
  for (void (*change)(LayerShape &) :
       {+[](LayerShape &shape) { shape.sharedAlike = false; },
        +[](LayerShape &shape) { shape.sharedIntermediate = 20; },
        +[](LayerShape &shape) { shape.sharedIntermediate = 0; }, +[](LayerShape &shape) { shape.expertBias = true; },
        +[](LayerShape &shape) { shape.weightOnInput = true; }}) {
    LayerShape other = joined;
    change(other);
    CHECK_FALSE(joinsShared(other));
    CHECK(groupedExperts(other) == 8);
    CHECK(rowsPerToken(other) == 2);
    CHECK(groupedRows(other, {4, {1, 0, 7}}) == std::vector<uint32_t>{1, 0, 7});
    CHECK(totalRows(other, {4, {1, 0, 7}}) == 8);
  }
}

TEST_CASE("a joined expert's launches do the work of one more expert that all tokens hit", "[core][gpu][work]") {
  for (bool e4m3 : {false, true}) {
    for (LaunchKind kind : {LaunchKind::GateUp, LaunchKind::Down}) {
      const CudaWork work = cudaLaunchWork(kind, joined, 4, 5, e4m3),
                     alike = cudaLaunchWork(kind, grown(joined), 4, 6, e4m3);
      CHECK(work.bytes == alike.bytes);
      CHECK(work.flops == alike.flops);
      CHECK(work.e4m3Flops == alike.e4m3Flops);
    }
    const CudaWork layer = cudaLayerWork(joined, 4, 5, e4m3), alike = cudaLayerWork(grown(joined), 4, 6, e4m3);
    CHECK(layer.bytes == alike.bytes);
    CHECK(layer.flops == alike.flops);
  }
  CHECK(cudaLaunchWork(LaunchKind::SharedGateUp, joined, 4, 5).flops == 0);
  CHECK(cudaLaunchWork(LaunchKind::SharedDown, joined, 4, 5).bytes == 0);
  // 4 tokens, 8 pairs, 12 rows: ids read; the pair of each row and the row of each pair written.
  CHECK(cudaLaunchWork(LaunchKind::Dispatch, joined, 4, 5).bytes == 4 * (8 + 12 + 8));
  CHECK(cudaLaunchWork(LaunchKind::Store, joined, 4, 5).bytes == 2 * (12 * 100 + 4 * 100) + 4 * (8 + 8));
  CHECK(cudaQuantiseTokensWork(joined, 4).bytes == 2 * 4 * 100 + 12 * 100 + 4 * 8);
  CHECK(cudaQuantiseActivatedWork(joined, 4).bytes == 3 * 12 * 10);
}

TEST_CASE("a joined expert is planned as one more expert with a row for every token", "[core][gpu]") {
  Random random(41);
  for (const char *name : gpuTargets)
    for (WeightFormat format : {WeightFormat::Plain, WeightFormat::BlockE4M3}) {
      const TargetFacts facts = gpuFacts(name);
      const Calibration calibration = gpuCalibration(facts);
      LayerShape shape = knownLayers()[4]; // DeepSeek-V3
      shape.expertFormat = format;
      REQUIRE(joinsShared(shape));
      const Histogram histogram = roughHistogram(random, shape, 1u << random.below(13), 1);
      const LayerPlan plan = planLayer(shape, histogram, facts, calibration, {});
      const CudaConfig &config = plan.config.cuda;
      CAPTURE(name, histogram.tokens, config.text());
      const Histogram all{histogram.tokens, groupedRows(shape, histogram)};
      const CudaStepCost cost = cudaStepCost(shape, config, histogram, facts, calibration),
                         alike = cudaStepCost(grown(shape), config, all, facts, calibration);
      CHECK(cost.gateUp.ns == alike.gateUp.ns);
      CHECK(cost.down.ns == alike.down.ns);
      CHECK(cost.quantise.ns() == alike.quantise.ns());
      CHECK(cost.glue.combineNs == Approx(alike.glue.combineNs));
      CHECK((cost.sharedGateUp.ns == 0 && cost.sharedDown.ns == 0));
      // As of a layer without a shared expert: of no meaning, but the same for the same kernels.
      CHECK(config.sharedGateUp == config.gateUp);
      CHECK(config.sharedDown == config.down);
      CHECK(plan.table.order.size() == shape.experts); // the plan's tables are the routed experts'
      LayerShape apart = shape;
      apart.sharedAlike = false;
      if (histogram.tokens <= 64) // where weights decide, two launches less and, in e4m3, fewer bytes
        CHECK(plan.predictedNs < planLayer(apart, histogram, facts, calibration, {}).predictedNs);
    }
}
