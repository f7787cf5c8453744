#include "compiler/core/PlanCuda.h"
#include "compiler/core/CudaLaunch.h"
#include "compiler/core/JoinedShared.h"
#include "tests/unit/core/GpuFixtures.h"

#include <algorithm>
#include <numeric>

using namespace moec;
using namespace moec::test;

namespace {

/// No step of a layer can be quicker: weights of the experts hit at the data sheet's rate, products at its matrix rate.
double floorNs(const LayerShape &shape, const Histogram &histogram, const GpuFacts &gpu) {
  const auto hit =
      static_cast<double>(std::count_if(histogram.pairs.begin(), histogram.pairs.end(), [](auto p) { return p > 0; }));
  const double perExpert = 3.0 * shape.hidden * shape.intermediate,
               shared = 3.0 * shape.hidden * shape.sharedIntermediate;
  const double bytes = 2 * (hit * perExpert + shared);
  const double flops = 2 * (static_cast<double>(histogram.total()) * perExpert + histogram.tokens * shared);
  return std::max(bytes / gpu.memoryBytesPerNs, flops / gpu.matrixFlopsPerNs);
}

uint32_t tokensOf(Random &random) { return 1u << random.below(15); }

/// What a step whose pairs are spread evenly spends besides its products, on 132 multiprocessors.
CudaGlueCost glueCost(const LayerShape &shape, uint32_t tokens, const CudaTile &gateUp, const CudaTile &down,
                      const GpuCalibration &gpu) {
  return cudaGlueCost(shape, CudaProducts::of(shape, tokens, gateUp, down),
                      Histogram::uniform(tokens, shape.topK, shape.experts), gpu, 132);
}

/// Qwen3-30B-A3B with experts in e4m3: it has both forms of few tokens.
constexpr LayerShape qwenE4M3{.hidden = 2048,
                              .intermediate = 768,
                              .experts = 128,
                              .topK = 8,
                              .dtype = DType::BF16,
                              .expertFormat = WeightFormat::BlockE4M3};

} // namespace

TEST_CASE("every model, target and batch size has a plan that can run", "[core][gpu]") {
  for (const char *name : gpuTargets) {
    const TargetFacts facts = gpuFacts(name);
    const Calibration calibration = gpuCalibration(facts);
    for (const LayerShape &shape : knownLayers())
      for (uint32_t tokens = 1; tokens <= 16384; tokens *= 4) {
        const LayerPlan plan = planGenericLayer(shape, tokens, facts, calibration, {});
        CAPTURE(name, shape.hidden, shape.experts, tokens, plan.config.text());
        REQUIRE(plan.config.device == DeviceKind::Cuda);
        const CudaConfig &config = plan.config.cuda;
        CHECK(config.gateUp.tokens == config.down.tokens); // dispatch cuts rows once for both
        for (const CudaTile &tile : {config.gateUp, config.down, config.sharedGateUp, config.sharedDown}) {
          CHECK(runsOn(tile, facts.arch));
          CHECK(residentBlocks(tile, facts.gpu) == tile.blocksPerSm);
        }
        if (shape.sharedIntermediate && !joinsShared(shape))
          CHECK((hasDenseForm(config.sharedGateUp) && hasDenseForm(config.sharedDown)));
        CHECK(plan.predictedNs > 0);
        CHECK(plan.predictedNs < 1e9);
        CHECK(plan.table.slots.size() == shape.experts);
        CHECK(plan.table.packed == std::vector<uint8_t>(shape.experts, 0));
        std::vector<uint16_t> order = plan.table.order;
        std::sort(order.begin(), order.end());
        for (uint32_t expert = 0; expert < shape.experts; ++expert)
          CHECK(order[expert] == expert);
      }
  }
}

TEST_CASE("no prediction beats the floor", "[core][gpu]") {
  Random random(31);
  for (const char *name : gpuTargets) {
    const TargetFacts facts = gpuFacts(name);
    for (const LayerShape &shape : knownLayers())
      for (int round = 0; round < 4; ++round) {
        const Histogram histogram = roughHistogram(random, shape, tokensOf(random), random.below(4));
        CAPTURE(name, shape.hidden, shape.experts, histogram.tokens);
        CHECK(cudaCandidates(shape, histogram, facts, gpuCalibration(facts)).front().predictedNs >=
              floorNs(shape, histogram, facts.gpu));
      }
  }
}

TEST_CASE("more pairs never take less time in the same launch", "[core][gpu]") {
  Random random(32);
  for (int round = 0; round < 400; ++round) {
    const TargetFacts facts = gpuFacts(gpuTargets[random.below(std::size(gpuTargets))]);
    const GpuCalibration gpu = GpuCalibration::assumed(facts);
    const std::vector<LayerShape> layers = knownLayers();
    const LayerShape shape = layers[random.below(static_cast<uint32_t>(layers.size()))];
    Histogram histogram = roughHistogram(random, shape, tokensOf(random), random.below(4));
    const CudaTileCost tile = gpu.tiles[random.below(static_cast<uint32_t>(gpu.tiles.size()))];
    const CudaGemm gemm = CudaGemm::down(shape.intermediate, shape.hidden);
    double last = cudaGemmCost(cudaGemmWork(tile.tile, gemm, histogram.pairs, facts.gpu), tile, gpu).ns;
    for (int more = 0; more < 20; ++more) {
      histogram.pairs[random.below(shape.experts)] += 1 + random.below(100);
      const double ns = cudaGemmCost(cudaGemmWork(tile.tile, gemm, histogram.pairs, facts.gpu), tile, gpu).ns;
      CAPTURE(round, tile.tile.text(), facts.name, shape.hidden);
      CHECK(ns >= last * (1 - 1e-12));
      last = ns;
    }
  }
}

TEST_CASE("a better memory, more multiprocessors or cheaper launches never predict a slower step", "[core][gpu]") {
  Random random(33);
  const TargetFacts facts = gpuFacts("h200");
  const Calibration calibration = gpuCalibration(facts);
  const auto check = [&](const LayerShape &shape, const Histogram &histogram) {
    CAPTURE(shape.hidden, shape.experts, histogram.tokens);
    const auto best = [&](const TargetFacts &target, const Calibration &with) {
      return cudaCandidates(shape, histogram, target, with).front().predictedNs;
    };
    const double ns = best(facts, calibration);
    Calibration faster = calibration;
    faster.gpu->memoryBytesPerNs *= 1.3;
    CHECK(best(facts, faster) <= ns);
    faster = calibration;
    faster.gpu->launchNs = 500;
    CHECK(best(facts, faster) < ns);
    TargetFacts larger = facts;
    larger.gpu.multiprocessors *= 2;
    CHECK(best(larger, calibration) <= ns * (1 + 1e-12));
  };
  for (const LayerShape &shape : knownLayers()) {
    check(shape, roughHistogram(random, shape, tokensOf(random), 1));
    Histogram one{1, std::vector<uint32_t>(shape.experts, 0)}; // fewer tiles than multiprocessors
    std::fill_n(one.pairs.begin(), shape.topK, 1u);
    check(shape, one);
  }
}

TEST_CASE("candidates are sorted, agree on tokens, and the plan is within 0.5 % of the first", "[core][gpu]") {
  Random random(34);
  for (const char *name : gpuTargets) {
    const TargetFacts facts = gpuFacts(name);
    const Calibration calibration = gpuCalibration(facts);
    for (const LayerShape &shape : knownLayers()) {
      const Histogram histogram = roughHistogram(random, shape, tokensOf(random), random.below(3));
      const std::vector<CudaCandidate> candidates = cudaCandidates(shape, histogram, facts, calibration);
      REQUIRE(candidates.size() >= 4);
      for (size_t index = 0; index < candidates.size(); ++index) {
        CHECK(candidates[index].config.gateUp.tokens == candidates[index].config.down.tokens);
        CHECK((index == 0 || candidates[index - 1].predictedNs <= candidates[index].predictedNs));
        CHECK(predictCudaLayer(shape, candidates[index].config, histogram, facts, calibration) ==
              Approx(candidates[index].predictedNs).epsilon(1e-12));
      }
      const LayerPlan plan = planLayer(shape, histogram, facts, calibration, {});
      CHECK(plan.predictedNs <= candidates.front().predictedNs * 1.005 * (1 + 1e-12));
      CHECK(plan.predictedNs == predictLayer(shape, plan, plan.config, histogram, facts, calibration));
    }
  }
}

TEST_CASE("the fewer rows an expert has, the smaller its tile", "[core][gpu]") {
  const TargetFacts facts = gpuFacts("h200");
  const auto tokensOfPlan = [&](uint32_t tokens) {
    return planGenericLayer(knownLayers()[2], tokens, facts, gpuCalibration(facts), {}).config.cuda.gateUp.tokens;
  };
  uint32_t last = 0;
  for (uint32_t tokens = 1; tokens <= 16384; tokens *= 2) {
    CAPTURE(tokens);
    CHECK(tokensOfPlan(tokens) >= last);
    last = tokensOfPlan(tokens);
  }
  CHECK(tokensOfPlan(1) <= 16);
  CHECK(last == 192);
}

TEST_CASE("a cluster's blocks load half of the token rows each, and take whole clusters of columns", "[core][gpu]") {
  const GpuFacts gpu = gpuFacts("h100").gpu;
  const CudaTile wide = *CudaTile::parse("fitted-192x256-s4-w2x1-b1");
  REQUIRE(clusterBlocksOf(wide) == 2);
  CudaTile alone = wide;
  alone.family = GemmFamily::Hopper;
  REQUIRE(clusterBlocksOf(alone) == 1);
  const std::vector<uint32_t> rows(64, 192);
  const auto work = [&](const CudaTile &tile, uint32_t columns) {
    return cudaGemmWork(tile, CudaGemm::down(columns, 1024), rows, gpu);
  };
  CHECK(work(wide, 256 * 8).loadBytes < work(alone, 256 * 8).loadBytes);
  CHECK(work(wide, 256 * 33).waves == work(wide, 256 * 34).waves); // the second block of the last cluster has nothing
  CHECK(work(wide, 256 * 33).waves == work(alone, 256 * 34).waves);
}

TEST_CASE("dispatch takes the first form that there is and that has room for the pairs", "[core][gpu]") {
  constexpr DispatchConfig config = dispatchConfigOf(64);
  constexpr uint32_t most = dispatchClusterPairs(config), mostGridBlocks = 44;
  static_assert(most > kOneBlockPairs);
  const auto form = [&](uint32_t pairs, bool hasClusters, uint32_t gridBlocks) {
    return dispatchFormOf(config, pairs, hasClusters, 132, gridBlocks);
  };
  CHECK((form(1, true, 0) == DispatchForm::Cluster && form(most, true, mostGridBlocks) == DispatchForm::Cluster));
  CHECK(form(kOneBlockPairs, false, mostGridBlocks) == DispatchForm::OneBlock);
  CHECK(form(kOneBlockPairs + 1, false, mostGridBlocks) == DispatchForm::Grid);
  CHECK((form(most + 1, true, mostGridBlocks) == DispatchForm::Grid &&
         form(1024 * mostGridBlocks, true, mostGridBlocks) == DispatchForm::Grid));
  CHECK(form(1024 * mostGridBlocks + 1, true, mostGridBlocks) == DispatchForm::ThreeLaunches);
  CHECK((form(most + 1, true, 0) == DispatchForm::ThreeLaunches &&
         form(kOneBlockPairs + 1, false, 0) == DispatchForm::ThreeLaunches));
}

TEST_CASE("wide tiles of who has blocks for both kinds of experts mix from few rows on", "[core][gpu]") {
  CHECK(mixRowsOf(GemmFamily::Fitted, 192) == kMixRowsWide);
  CHECK(mixRowsOf(GemmFamily::Fp8, 128) == kMixRowsWideE4M3);
  CHECK(mixRowsOf(GemmFamily::Fitted, 16) == kMixRows);
  CHECK(mixRowsOf(GemmFamily::Fp8, 16) == kMixRowsE4M3);
  for (uint32_t tokens : {16u, 128u}) { // who strides over tiles
    CHECK(mixRowsOf(GemmFamily::Hopper, tokens) == kMixRows);
    CHECK(mixRowsOf(GemmFamily::Portable, tokens) == kMixRows);
  }
}

TEST_CASE("down overlaps gate-up where tiles are wide and down's no longer", "[core][gpu]") {
  const GemmConfig wide = gemmConfigOf(*CudaTile::parse("fitted-192x256-s4-w2x1-b1"), DType::BF16, GemmRole::GateUp,
                                       false),
                   narrow =
                       gemmConfigOf(*CudaTile::parse("fitted-16x64-s5-w1x4-b1"), DType::BF16, GemmRole::GateUp, false);
  CHECK(overlapsProducts(GemmFamily::Fitted, wide, 2048, 1024));
  CHECK(overlapsProducts(GemmFamily::Fitted, wide, 2048, 2048));
  CHECK(!overlapsProducts(GemmFamily::Fitted, wide, 4096, 14336));
  CHECK(!overlapsProducts(GemmFamily::Fitted, narrow, 2048, 1024));
  CHECK(!overlapsProducts(GemmFamily::Fp8, wide, 2048, 1024));
  CHECK(!overlapsProducts(GemmFamily::Hopper, wide, 2048, 1024));
  uint32_t counts[1]{};
  const GateUpProgress progress = gateUpProgress(counts, wide, 1000, 131);
  CHECK(progress.counts == counts);
  CHECK(progress.all == 130 * 8);      // whole clusters of two blocks, with eight storing warps each
  CHECK(progress.ofTile == 4 * 2 * 8); // 256 columns a cluster
  // 193 rows of expert 0 are tiles of 112 and 81, then expert 1.
  CHECK(progressCount(192, 0, 0) == 1);
  CHECK(progressCount(192, 0, 112) == 2);
  CHECK(progressCount(192, 1, 193) == 4);
  CHECK(numProgressCounts(192, 2, 194) == 5);
}

TEST_CASE("down that combines saves most of combine, and never costs less than nothing", "[core][gpu]") {
  GpuCalibration gpu = GpuCalibration::assumed(gpuFacts("h100"));
  LayerShape shape{.hidden = 7168, .intermediate = 2048, .experts = 32, .topK = 1, .dtype = DType::BF16};
  const auto combineNs = [&](uint32_t tokens, GemmFamily down) {
    const CudaTile gateUpTile{.family = GemmFamily::Fitted}, downTile{.family = down};
    return glueCost(shape, tokens, gateUpTile, downTile, gpu).combineNs;
  };
  CHECK(combineNs(16384, GemmFamily::Fitted) < combineNs(16384, GemmFamily::Hopper) / 2);
  CHECK(combineNs(16384, GemmFamily::Fp8) == combineNs(16384, GemmFamily::Fitted));
  gpu.launchNs = 100;
  CHECK(combineNs(1, GemmFamily::Fitted) >= 0);
  shape.sharedIntermediate = 64;
  CHECK(combineNs(16384, GemmFamily::Fitted) == combineNs(16384, GemmFamily::Hopper));
}

TEST_CASE("steps of one and two tokens have no combine, but may wait for halves of multiprocessors", "[core][gpu]") {
  const GpuCalibration gpu = GpuCalibration::assumed(gpuFacts("h200"));
  LayerShape shape{.hidden = 2048, .intermediate = 768, .experts = 128, .topK = 8, .dtype = DType::BF16};
  const CudaTile one = *CudaTile::parse("fitted-16x64-s5-w1x4-b1"), two = *CudaTile::parse("fitted-16x64-s5-w1x2-b2"),
                 other = *CudaTile::parse("swapped-16x128-s6-w1x1-b2");
  const auto combineNs = [&](uint32_t tokens, const CudaTile &gateUp, const CudaTile &down) {
    return glueCost(shape, tokens, gateUp, down, gpu).combineNs;
  };
  CHECK((combineNs(1, one, one) == 0 && combineNs(2, one, two) == 0));
  CHECK(combineNs(3, one, one) > gpu.launchNs);
  // 192 and 256 tiles of 264 places.
  CHECK(combineNs(1, two, one) == Approx(3500 * 72 / 264.0));
  shape.intermediate = 1024;
  CHECK(combineNs(1, two, one) == Approx(3500 * 8 / 264.0));
  CHECK((combineNs(1, one, other) > gpu.launchNs && combineNs(1, other, one) > gpu.launchNs));
  shape.sharedIntermediate = 64;
  CHECK(combineNs(1, one, one) > gpu.launchNs);
}

TEST_CASE("steps of up to four tokens of e4m3 have no combine, and nothing quantises rows apart for down",
          "[core][gpu]") {
  const GpuCalibration gpu = GpuCalibration::assumed(gpuFacts("h200"));
  LayerShape shape = qwenE4M3;
  const CudaTile one = *CudaTile::parse("fp8-16x64-s5-w1x4-b1"), two = *CudaTile::parse("fp8-16x64-s5-w1x2-b2");
  const auto combineNs = [&](uint32_t tokens, const CudaTile &gateUp) {
    return glueCost(shape, tokens, gateUp, one, gpu).combineNs;
  };
  const auto quantise = [&](uint32_t tokens, const CudaTile &tile) {
    return cudaQuantiseCost(shape, CudaProducts::of(shape, tokens, tile, tile),
                            Histogram::uniform(tokens, shape.topK, shape.experts), gpu);
  };
  CHECK((combineNs(1, one) == 0 && combineNs(4, one) == 0 && combineNs(5, one) > gpu.launchNs));
  CHECK(combineNs(1, two) == 0); // (whatever places its 192 tiles leave empty)
  CHECK((quantise(4, one).activatedNs == 0 && quantise(5, one).activatedNs > gpu.launchNs));
  CHECK((quantise(4, one).ns() == 0 && quantise(4, two).ns() == 0)); // gate-up of few tokens does
  shape.hidden = 2000;                                               // which takes none of these
  CHECK((quantise(4, one).tokensNs > gpu.launchNs && quantise(4, one).activatedNs == 0));
  CHECK(quantise(4, two).ns() == 0); // gate-up quantises
  shape.sharedIntermediate = 768;
  CHECK((combineNs(1, one) > gpu.launchNs && quantise(1, one).activatedNs > gpu.launchNs));
  CHECK((quantise(1, two).ns() == 0 && quantise(4, two).inProductsNs > 0)); // both products do
  shape.hidden = 2048;
  CHECK(quantise(4, two).ns() == 0); // gate-up of few tokens, and down at no cost of its own
}

TEST_CASE("e4m3's gate-up and down of few tokens cost the same whatever their classes are", "[core][gpu]") {
  const GpuCalibration gpu = GpuCalibration::assumed(gpuFacts("h200"));
  LayerShape shape = qwenE4M3;
  const CudaTile one = *CudaTile::parse("fp8-16x64-s5-w1x4-b1"), two = *CudaTile::parse("fp8-16x64-s5-w1x2-b2"),
                 bf16 = *CudaTile::parse("fitted-16x64-s5-w1x4-b1");
  const auto costs = [&](uint32_t tokens, const CudaTile &gateUp, const CudaTile &down) {
    const Histogram histogram = Histogram::uniform(tokens, shape.topK, shape.experts);
    return cudaFewCosts(shape, CudaProducts::of(shape, tokens, gateUp, down), histogram.pairs, gpu);
  };
  const CudaFewCosts few = costs(1, one, two), four = costs(4, two, two);
  REQUIRE((few.gateUp && few.down && four.gateUp && four.down));
  CHECK((few.gateUp->ns == costs(1, two, one).gateUp->ns && few.down->ns == costs(1, two, two).down->ns));
  CHECK((four.gateUp->memoryNs == Approx(4 * few.gateUp->memoryNs) && four.gateUp->ns > few.gateUp->ns)); // 32 experts
  CHECK(few.gateUp->memoryNs == Approx(2 * few.down->memoryNs));
  CHECK((!costs(5, two, two).gateUp && !costs(5, two, two).down));
  CHECK((!costs(1, bf16, bf16).gateUp && !costs(1, bf16, bf16).down));
  shape.topK = 1;
  CHECK((costs(1, two, two).gateUp && costs(1, one, one).down));
  shape.topK = 2, shape.intermediate = 14336; // down has no such form: it must quantise its rows itself
  CHECK((costs(1, two, two).gateUp && !costs(1, two, two).down && !costs(1, one, two).gateUp));
  shape.topK = 8, shape.intermediate = 768;
  shape.hidden = 2000;
  CHECK((!costs(1, two, two).gateUp && costs(1, two, two).down));
}

TEST_CASE("steps whose blocks find their pairs cost less than with a dispatch", "[core][gpu]") {
  const GpuCalibration gpu = GpuCalibration::assumed(gpuFacts("h200"));
  LayerShape shape{.hidden = 2048, .intermediate = 768, .experts = 128, .topK = 8, .dtype = DType::BF16};
  const CudaTile narrow = *CudaTile::parse("fitted-16x64-s5-w1x4-b1"),
                 wide = *CudaTile::parse("fitted-192x256-s4-w2x1-b1");
  const auto dispatchNs = [&](uint32_t tokens, const CudaTile &gateUp, const CudaTile &down) {
    return glueCost(shape, tokens, gateUp, down, gpu).dispatchNs;
  };
  CHECK(dispatchNs(64, narrow, narrow) < dispatchNs(64, wide, wide));
  CHECK(dispatchNs(64, narrow, wide) == dispatchNs(64, wide, wide));
  CHECK(dispatchNs(65, narrow, narrow) == dispatchNs(65, wide, wide));
  CHECK(dispatchNs(4, narrow, narrow) == dispatchNs(4, wide, wide)); // a warp finds so few
  CHECK(dispatchNs(4, narrow, narrow) < dispatchNs(5, narrow, narrow));
  shape.sharedIntermediate = shape.intermediate; // a row more for each token
  shape.sharedAlike = true;
  CHECK(dispatchNs(56, narrow, narrow) < dispatchNs(56, wide, wide));
  CHECK(dispatchNs(57, narrow, narrow) == dispatchNs(57, wide, wide));
}

TEST_CASE("experts that merely move keep their kernels and their time", "[core][gpu]") {
  Random random(35);
  const TargetFacts facts = gpuFacts("h200");
  const Calibration calibration = gpuCalibration(facts);
  for (const LayerShape &shape : knownLayers()) {
    const Histogram histogram = roughHistogram(random, shape, tokensOf(random), 1);
    Histogram moved = histogram;
    std::rotate(moved.pairs.begin(), moved.pairs.begin() + 1 + random.below(shape.experts - 1), moved.pairs.end());
    const LayerPlan plan = planLayer(shape, histogram, facts, calibration, {});
    const LayerPlan table = planTable(shape, moved, facts, calibration, {}, plan.config);
    CHECK(table.config == plan.config);
    CHECK(planLayer(shape, moved, facts, calibration, {}).config == plan.config);
    CHECK(table.predictedNs == Approx(plan.predictedNs).epsilon(1e-9));
    CHECK(table.table.order == plan.table.order);
  }
}

TEST_CASE("generation 0 is planned for counts as chance deals them", "[core][gpu]") {
  // 512 tokens, 8 of 128 experts: 32 rows each on average. Tiles of 32 would fit the mean, but half of the experts have
  // more.
  const LayerShape shape = knownLayers()[2];
  const TargetFacts facts = gpuFacts("a100");
  const Calibration calibration = gpuCalibration(facts);
  const LayerPlan generic = planGenericLayer(shape, 512, facts, calibration, {});
  Random random(36);
  const Histogram drawn = randomHistogram(random, shape.experts, 512, shape.topK, 0);
  const double best = cudaCandidates(shape, drawn, facts, calibration).front().predictedNs;
  CHECK(predictLayer(shape, generic, generic.config, drawn, facts, calibration) <= best * 1.02);
}

TEST_CASE("only tiles of the calibration that the target can run are planned with", "[core][gpu]") {
  const LayerShape shape = knownLayers()[2];
  const TargetFacts facts = gpuFacts("h200");
  Calibration calibration = gpuCalibration(facts);
  std::erase_if(calibration.gpu->tiles, [](const CudaTileCost &cost) { return cost.tile.tokens != 32; });
  for (const CudaCandidate &candidate : cudaCandidates(shape, Histogram::uniform(64, 8, 128), facts, calibration))
    CHECK(candidate.config.gateUp.tokens == 32);
  // Hopper's tiles mean nothing to an A100: it falls back to its own.
  std::erase_if(calibration.gpu->tiles,
                [](const CudaTileCost &cost) { return cost.tile.family == GemmFamily::Portable; });
  for (const CudaCandidate &candidate :
       cudaCandidates(shape, Histogram::uniform(64, 8, 128), gpuFacts("a100"), calibration))
    CHECK(candidate.config.gateUp.family == GemmFamily::Portable);
}

TEST_CASE("a step without pairs, and one without tokens, have plans", "[core][gpu]") {
  const TargetFacts facts = gpuFacts("h200");
  for (const LayerShape &shape : knownLayers())
    for (uint32_t tokens : {0u, 5u}) {
      const LayerPlan plan =
          planLayer(shape, {tokens, std::vector<uint32_t>(shape.experts, 0)}, facts, gpuCalibration(facts), {});
      CHECK(plan.predictedNs > 0);
      CHECK(plan.predictedNs < 1e6);
      CHECK(planLayer(shape, {tokens, {}}, facts, gpuCalibration(facts), {}).config == plan.config);
    }
}
