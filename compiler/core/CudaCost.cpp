#include "compiler/core/CudaCost.h"

#include "compiler/core/JoinedShared.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

namespace moec {

namespace {

constexpr double rowElementBytes = 2;    // of hidden states and outputs
constexpr uint32_t oneBlockPairs = 4096; // up to here dispatch takes longer by the pair (beyond as long as many take)

// Of the time of a step, what rows that are left out save of their share. Hopper: the other warpgroup alone is slower.
// Fitted: what is left is the weights' way to the matrix units (docs/performance-log.md, H100).
constexpr double hopperRowsSaved = 0.73, fittedRowsSaved = 0.92;
// Of a launch, where the kernel's first weights come while the one before it still runs: 1 to 2 us less a layer, and
// the more the more blocks a multiprocessor has that can begin (docs/results/2026-11-26-h100, T = 1 to 64).
constexpr double fittedLaunch = 0.5, loneFittedLaunch = 0.75;
// What two such products in narrow tiles take less, whose down begins where blocks of gate-up end
// (FittedRing::beginsNext): an H100's layers of one token (docs/results/2026-11-28-h100-early/every-tile.txt).
constexpr double earlyDownSavesNs = 1800;
// What one more tile costs that has fewer weights than wgmma takes, drawn and found in half the time that one of 64 is;
// the same file.
constexpr double fewWeightsNs = 100;
// How much longer reading weights takes where one multiprocessor alone has a tile of them, less as more do, nothing
// where each of those does that take all of memory's rate together: in the same file gate-up of one token of the
// DeepSeek-V3 slice has 64 tiles of 64 weights or 128 of 32, and takes 2 of 24 us more with 64. (An H100's 132 of 3,350
// GB/s.)
constexpr double idleStretch = 0.14, busyBytesPerNs = 25.4;

constexpr double quantiseShare = 0.85; // of a copy's rate (docs/results/2026-11-26-h100/e4m3.txt)
// Fitted to e4m3 layers of an H200 (docs/results/2026-11-28-h200/e4m3-every-tile.txt) and held to an H100's: what two
// products that quantise more than one row take longer, for each byte a nanosecond of memory, which hides less of it
// the quicker it is; quantise behind a dispatch, for whose slots it waits; and, of a launch, wide tiles with weights on
// the 64-row side. Of gate-up alone, where down is downFewFp8, nothing is to be seen
// (docs/results/2026-11-28-h200-few-fp8/e4m3-every-tile.txt).
constexpr double quantisingRowsNsPerRate = 1.0, quantiseWaitsNs = 3000, wideE4M3Launch = 1.5;
// e4m3's gate-up and down in their forms of few tokens, which no tiles make wait: launches, and how much longer memory
// takes than its rate has it (docs/results/2026-11-28-h200-few-gateup/e4m3-every-tile.txt).
constexpr double gateUpFewLaunches = 0.9, downFewFp8Launches = 1.5, fewStretch = 1.09;
// Each token has downFewFp8 read its experts' weights anew, from the second-level cache: how much faster than memory.
constexpr double againRate = 1.5;

// What a step of few pairs takes less than with a dispatch: measured in turns on an H100 3.2 to 3.5 us at one token in
// bf16 but for the DeepSeek-V3 slice's 1.1, and 4 to 7 in e4m3 (docs/results/2026-11-27-h100/few-pairs.txt). Less than
// a dispatch by itself: products find the pairs instead.
constexpr double noDispatchSavesNs = 4000;
// The same of pairs that blocks find: measured in turns on an H200 with 8 to 64 tokens of OLMoE and Qwen3 1 to 3.5 us
// in bf16, and in e4m3 2 to 6 (docs/results/2026-11-28-h200/block-pairs-bf16.txt, -e4m3.txt).
constexpr double blockPairsSaveNs = 3000;
// What down that combines saves of combine's launch, and the part of its traffic that down takes longer for: the
// DeepSeek-V3 slice on an H100, 1 to 16,384 tokens (docs/results/2026-11-27-h100-combining/forms.txt).
constexpr double combiningSavesNs = 1000, combiningShare = 0.2;

// What downFew waits where gate-up has two blocks a multiprocessor, times the share of its places that stay empty: half
// of a multiprocessor is then at work, and a block of downFew wants the whole. An H200's one and two tokens of OLMoE
// and Qwen3 (docs/results/2026-11-28-h200-few/down-few.txt). Of downFewFp8 no such wait is to be seen: its
// times vary by more.
constexpr double halfEmptyNs = 3500;

double rowsSaved(const CudaTile &tile) { return isFitted(tile) ? fittedRowsSaved : hopperRowsSaved; }
double launchShare(const CudaTile &tile) {
  if (tile.family == GemmFamily::Fp8 && tile.swapAB && isWide(tile.tokens))
    return wideE4M3Launch;
  return !isFitted(tile) ? 1 : tile.blocksPerSm > 1 ? fittedLaunch : loneFittedLaunch;
}
// (Of e4m3 what down saves so, half a per cent to two of many tiles, is not counted.)
bool beginsEarly(const CudaTile &tile) { return tile.family == GemmFamily::Fitted && !isWide(tile.tokens); }

double fewWeightsExtraNs(const CudaTile &tile, double waves) {
  return tile.family == GemmFamily::Fitted && tile.weights < 64 ? fewWeightsNs * std::max(0.0, waves - 1) : 0;
}

/// Of GpuCalibration::overlapLoss. Fitted to an H100's and an H200's layers; with 1 plans took tiles of this family for
/// skewed steps of Mixtral that they are 8 to 11 % slower at than fitted ones.
double overlapShare(const CudaTile &tile) { return tile.family == GemmFamily::Hopper ? 1.35 : 1; }

double of(uint64_t count) { return static_cast<double>(count); }

/// Of the places for blocks in the rounds of such a gate-up, the share that stays empty.
double emptyPlaces(const LayerShape &shape, const Histogram &histogram, const CudaTile &gateUp,
                   uint32_t multiprocessors) {
  if (gateUp.blocksPerSm == 1)
    return 0;
  const auto hit = std::ranges::count_if(histogram.pairs, [](uint32_t pairs) { return pairs > 0; });
  const double tiles = of(static_cast<uint64_t>(hit) * ceilDivide(2 * shape.intermediate, gateUp.weights)),
               places = of(uint64_t{multiprocessors} * gateUp.blocksPerSm);
  return 1 - tiles / places / std::max(1.0, std::ceil(tiles / places));
}

/// What a fitted gate-up that gathers its token rows takes of arithmetic beside one whose rows follow each other: it
/// waits for copies, and longer where few tiles of weights share a row that has come from memory. Fitted to an H100's
/// and an H200's layers, which have 6, 8, 16 and 112 of them (docs/performance-log.md, rows laid out by slot).
double gatherStretch(uint64_t columnTiles) { return 1.09 + 1 / of(std::max<uint64_t>(columnTiles, 16)); }

constexpr uint32_t mostGranules = 32;

/// Parts of a tile's rows that are left out where they are empty.
uint32_t granulesOf(const CudaTile &tile) {
  return std::min<uint32_t>(mostGranules, std::max<uint32_t>(1, tile.tokens / rowGranule(tile)));
}

/// Times that an expert's token rows come from device memory: once, where half of the second-level cache holds them
/// (the weights pass through the rest), else once for each set of tiles that run at a time.
double tokenPasses(uint32_t rows, const CudaTile &tile, const CudaGemm &gemm, const GpuFacts &gpu) {
  if (2.0 * elementBytes(tile) * rows * gemm.k <= of(gpu.l2Bytes))
    return 1;
  const uint64_t tiles = uint64_t{ceilDivide(rows, tile.tokens)} * ceilDivide(gemm.n, tile.weights);
  return std::max(1.0, of(tiles) / gpu.multiprocessors);
}

} // namespace

CudaGemmWork cudaGemmWork(const CudaTile &tile, const CudaGemm &gemm, std::span<const uint32_t> rows,
                          const GpuFacts &gpu) {
  const uint32_t perTile = granulesOf(tile), granule = tile.tokens / perTile;
  std::array<uint64_t, mostGranules + 1> tilesWith{}; // at least so many granules with rows
  uint64_t hit = 0, allRows = 0;
  uint32_t busiest = 0;
  double tokenRows = 0;
  for (uint32_t count : rows) {
    if (count == 0)
      continue;
    ++hit;
    allRows += count;
    busiest = std::max(busiest, count);
    tokenRows += count * tokenPasses(count, tile, gemm, gpu);
    const uint64_t full = count / tile.tokens, last = ceilDivide(count % tile.tokens, granule);
    for (uint32_t granules = 1; granules <= perTile; ++granules)
      tilesWith[granules] += full + (granules <= last);
  }
  if (hit == 0)
    return {};
  // Blocks of one multiprocessor share what it can do, so waves count multiprocessors. Each set of granules is dealt
  // out by itself, which keeps more rows from ever costing less.
  const uint32_t multiprocessors = std::max(1u, gpu.multiprocessors), together = clusterBlocksOf(tile);
  const uint64_t columnTiles = uint64_t{ceilDivide(gemm.n, tile.weights * together)} * together;
  const auto wavesWith = [&](uint32_t granules) {
    return of(ceilDivide(tilesWith[granules] * columnTiles, multiprocessors));
  };
  CudaGemmWork work;
  work.waves = wavesWith(1);
  work.fullWaves = work.waves * (1 - rowsSaved(tile) * (perTile - 1) / perTile);
  for (uint32_t granules = 2; granules <= perTile; ++granules)
    work.fullWaves += wavesWith(granules) * rowsSaved(tile) / perTile;
  work.steps = of(ceilDivide(gemm.k, kCudaTileK));
  if (gemm.fromTokens && tile.family == GemmFamily::Fitted && together == 1)
    work.stretch = gatherStretch(columnTiles);
  const double rowsLoaded =
      std::max(of(allRows * columnTiles) / (multiprocessors * together), of(std::min<uint32_t>(busiest, tile.tokens)));
  work.loadBytes = elementBytes(tile) * kCudaTileK * work.steps * (work.waves * tile.weights + rowsLoaded);
  const double rowBytes = of(uint64_t{elementBytes(tile)} * gemm.k), weightBytes = rowBytes * of(hit) * gemm.n;
  work.memoryBytes = weightBytes + rowBytes * tokenRows;
  // By tiles of weights, however many token tiles meet each, and whatever multiprocessors there are: so neither more
  // rows nor fewer multiprocessors ever cost less.
  const double idle = 1 - std::min(1.0, of(hit * columnTiles) * busyBytesPerNs / gpu.memoryBytesPerNs);
  work.idleBytes = weightBytes * idleStretch * idle;
  return work;
}

CudaGemmCost cudaGemmCost(const CudaGemmWork &work, const CudaTileCost &tile, const GpuCalibration &gpu) {
  CudaGemmCost cost;
  cost.computeNs = work.steps * tile.stepNs * work.stretch * work.fullWaves + work.waves * tile.fixedNs;
  cost.loadNs = work.loadBytes / gpu.perSmBytesPerNs;
  cost.memoryNs = (work.memoryBytes + work.idleBytes) / gpu.memoryBytesPerNs;
  // Nothing is lost where one of them is far shorter: it always finds room beside the other.
  const double longer = cost.longerNs(), shorter = cost.shorterNs();
  cost.ns = launchShare(tile.tile) * gpu.launchNs + fewWeightsExtraNs(tile.tile, work.waves) + longer +
            (longer > 0 ? overlapShare(tile.tile) * gpu.overlapLoss * shorter * (shorter / longer) : 0);
  return cost;
}

CudaFewCosts cudaFewCosts(const LayerShape &shape, const CudaProducts &products, std::span<const uint32_t> rows,
                          const GpuCalibration &gpu) {
  CudaFewCosts costs;
  const auto hit = static_cast<uint64_t>(std::ranges::count_if(rows, [](uint32_t count) { return count > 0; }));
  const auto cost = [&](double launches, const CudaGemm &gemm) {
    CudaGemmCost made;
    made.memoryNs = fewStretch * of(hit * gemm.n * gemm.k) / gpu.memoryBytesPerNs;
    made.ns = launches * gpu.launchNs + made.memoryNs;
    return made;
  };
  if (products.few.gateUp)
    costs.gateUp = cost(gateUpFewLaunches, CudaGemm::gateUp(shape.intermediate, shape.hidden));
  if (products.few.down && products.down.family == GemmFamily::Fp8) {
    costs.down = cost(downFewFp8Launches, CudaGemm::down(shape.intermediate, shape.hidden));
    const uint64_t again = std::accumulate(rows.begin(), rows.end(), uint64_t{0}) - hit;
    costs.down->ns += of(again * shape.intermediate * shape.hidden) / (againRate * gpu.memoryBytesPerNs);
  }
  return costs;
}

double earlyDownNs(const CudaTile &gateUp, const CudaTile &down, const GpuCalibration &gpu) {
  if (!beginsEarly(gateUp) || !beginsEarly(down))
    return 0;
  return std::min(earlyDownSavesNs, (launchShare(gateUp) + launchShare(down)) * gpu.launchNs);
}

CudaQuantiseCost cudaQuantiseCost(const LayerShape &shape, const CudaProducts &products, const Histogram &histogram,
                                  const GpuCalibration &gpu) {
  const auto &[gateUp, down, few] = products;
  CudaQuantiseCost cost;
  if (gateUp.family != GemmFamily::Fp8)
    return cost;
  if (few.gateUp)
    return cost; // (what down in tiles takes longer for its rows is not to be seen in cudaFewCosts()' times)
  if (quantisesFew(histogram.tokens, shape.topK, gateUp, down)) {
    cost.inProductsNs = histogram.tokens > 1 && !few.down ? quantisingRowsNsPerRate * gpu.memoryBytesPerNs : 0;
    return cost;
  }
  const double rows = of(totalRows(shape, histogram)), rate = quantiseShare * gpu.copyBytesPerNs;
  const bool waits = !hasNoDispatch(shape, histogram.tokens, gateUp, down);
  cost.tokensNs =
      gpu.launchNs + (waits ? quantiseWaitsNs : 0) + shape.hidden * (rowElementBytes * histogram.tokens + rows) / rate;
  if (!givesQuantised(gateUp) && !few.down)
    cost.activatedNs = gpu.launchNs + shape.intermediate * rows * (rowElementBytes + 1) / rate;
  return cost;
}

CudaGlueCost cudaGlueCost(const LayerShape &shape, const CudaProducts &products, const Histogram &histogram,
                          const GpuCalibration &gpu, uint32_t multiprocessors) {
  const auto &[gateUp, down, few] = products;
  const double rowBytes = rowElementBytes * shape.hidden, pairs = of(histogram.total());
  CudaGlueCost cost;
  // Two launches: products, which are few beside the rows that they read, and top-k.
  cost.routerNs = 2 * gpu.launchNs + (of(shape.experts) + histogram.tokens) * rowBytes / gpu.copyBytesPerNs;
  cost.dispatchNs =
      pairs <= oneBlockPairs ? gpu.launchNs + gpu.dispatchNs + gpu.dispatchNsPerPair * pairs : gpu.dispatchGridNs;
  if (hasNoDispatch(shape, histogram.tokens, gateUp, down))
    cost.dispatchNs =
        std::max(0.0, cost.dispatchNs - (uint64_t{histogram.tokens} * shape.topK <= kFewPairs ? noDispatchSavesNs
                                                                                              : blockPairsSaveNs));
  if (few.gateUp && few.down)
    cost.dispatchNs = 0; // what finding pairs costs either is in what they were timed at
  const double added = pairs + (shape.sharedIntermediate ? histogram.tokens : 0);
  const double trafficNs = (added + histogram.tokens) * rowBytes / gpu.copyBytesPerNs;
  cost.combineNs = downCombines(shape, down.family)
                       ? std::max(0.0, gpu.launchNs - combiningSavesNs) + combiningShare * trafficNs
                       : gpu.launchNs + trafficNs;
  if (few.down)
    cost.combineNs =
        down.family == GemmFamily::Fp8 ? 0 : halfEmptyNs * emptyPlaces(shape, histogram, gateUp, multiprocessors);
  return cost;
}

} // namespace moec
