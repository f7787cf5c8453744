#include "compiler/core/CudaTiles.h"

#include "compiler/core/CudaLaunch.h"
#include "compiler/core/JoinedShared.h"
#include "compiler/kernels/KernelAbi.h"

#include <algorithm>

namespace moec {

namespace {

constexpr uint32_t kib = 1024;
constexpr uint32_t reservedBytes = kib; // that each block takes besides what it asks for
constexpr uint16_t fewestStages = 3;    // fewer do not hide the latency of memory

// Family, swapped, tokens x weights, stages, warps along tokens and weights (fitted: kCudaTileK of a stage), blocks a
// multiprocessor.
//
// Fitted: first, since where memory decides and the model sees no difference they were the quickest, in this order
// (docs/results/2026-11-26-h100/layers-every-tile.txt). Tokens are the most that a tile takes. Few rows: long stages,
// since what a step costs besides its bytes decides; of 32 weights, where those of 64 are too few for all
// multiprocessors (one token of one expert: 64 tiles). Four stages of 56 KB: 1.5 times the products of a byte loaded
// that 128x256 has.
//
// Portable: at most 99 KB a block, so that sm_86, sm_89 and sm_120 run them too. Hopper: at most 227 KB. Few tokens:
// all of it in flight for the weights.
constexpr CudaTile classes[] = {
    {GemmFamily::Fitted, true, 16, 64, 5, 1, 4, 1},     {GemmFamily::Fitted, true, 16, 64, 5, 1, 2, 2},
    {GemmFamily::Fitted, true, 192, 256, 4, 2, 1, 1},   {GemmFamily::Fitted, true, 16, 32, 4, 1, 8, 1},
    {GemmFamily::Portable, false, 16, 128, 5, 1, 4, 2}, {GemmFamily::Portable, false, 32, 128, 4, 1, 4, 2},
    {GemmFamily::Portable, false, 64, 128, 3, 2, 2, 2}, {GemmFamily::Portable, false, 128, 128, 3, 2, 4, 2},
    {GemmFamily::Hopper, true, 8, 128, 12, 1, 1, 1},    {GemmFamily::Hopper, true, 16, 128, 12, 1, 1, 1},
    {GemmFamily::Hopper, true, 16, 128, 6, 1, 1, 2},    {GemmFamily::Hopper, true, 32, 128, 10, 1, 1, 1},
    {GemmFamily::Hopper, true, 64, 128, 8, 1, 1, 1},    {GemmFamily::Hopper, true, 64, 256, 5, 2, 1, 1},
    {GemmFamily::Hopper, false, 128, 128, 6, 2, 1, 1},  {GemmFamily::Hopper, false, 128, 256, 4, 2, 1, 1},
};

// Of e4m3, columns as above; a stage has so many 128 elements of the sum. Very few rows: two blocks with all of shared
// memory in flight, or one with long stages; of few tokens the first quantises the rows that it brings. With 256
// weights gate-up has all columns of a scale and gives its rows quantised; down then has any of those. Beyond, two
// warpgroups, of which one adds up products while the other multiplies, with token rows on the 64-row side: adding up
// costs half there, and gate-up gives its rows quantised (docs/performance-log.md, e4m3). Where experts have somewhat
// more than 128 rows one wide tile is as good as two.
constexpr CudaTile e4m3Classes[] = {
    {GemmFamily::Fp8, true, 16, 64, 5, 1, 2, 2},    {GemmFamily::Fp8, true, 16, 64, 5, 1, 4, 1},
    {GemmFamily::Fp8, true, 16, 256, 6, 2, 1, 1},   {GemmFamily::Fp8, true, 192, 128, 5, 2, 1, 1},
    {GemmFamily::Fp8, false, 128, 256, 4, 2, 1, 1},
};

/// Shared memory of a multiprocessor: what a block may ask for, and what each block takes besides (CUDA C++ Programming
/// Guide, "Technical Specifications per Compute Capability": 163 of 164 KB, 99 of 100, 227 of 228).
uint32_t sharedBytesPerSm(const GpuFacts &gpu) { return gpu.sharedBytesPerBlock + reservedBytes; }

bool fits(const CudaTile &tile, const GpuFacts &gpu) {
  const uint32_t bytes = sharedBytes(tile);
  return bytes <= gpu.sharedBytesPerBlock && tile.blocksPerSm * (bytes + reservedBytes) <= sharedBytesPerSm(gpu);
}

/// The class with as many stages as fit; false where not even the fewest do.
bool cutStages(CudaTile &tile, const GpuFacts &gpu) {
  for (; tile.stages >= fewestStages; --tile.stages)
    if (fits(tile, gpu))
      return true;
  return false;
}

/// Those of `classes` that the target can run.
std::vector<CudaTile> fitting(std::span<const CudaTile> classes, const TargetFacts &facts) {
  std::vector<CudaTile> tiles;
  for (const CudaTile &tile : classes) {
    if (!runsOn(tile, facts.arch))
      continue;
    CudaTile cut = tile, alone = tile;
    alone.blocksPerSm = 1;
    if (cutStages(cut, facts.gpu))
      tiles.push_back(cut);
    else if (cutStages(alone, facts.gpu))
      tiles.push_back(alone);
  }
  return tiles;
}

} // namespace

std::span<const CudaTile> cudaTileClasses() { return classes; }

std::span<const CudaTile> e4m3TileClasses() { return e4m3Classes; }

bool hasE4M3Kernels(const LayerShape &shape) {
  return shape.expertFormat == WeightFormat::BlockE4M3 && shape.dtype == DType::BF16 && !shape.expertBias &&
         !shape.weightOnInput && shape.hidden % 16 == 0 && shape.intermediate % 16 == 0;
}

bool multipliesE4M3(const LayerShape &shape, const TargetFacts &facts) {
  return hasE4M3Kernels(shape) && !fitting(e4m3Classes, facts).empty();
}

bool runsOn(const CudaTile &tile, const std::string &arch) {
  return tile.family == GemmFamily::Portable || arch == "sm_90a";
}

bool hasDenseForm(const CudaTile &tile) {
  return tile.family == GemmFamily::Portable || tile.family == GemmFamily::Hopper;
}

bool hasNoDispatch(const LayerShape &shape, uint64_t tokens, const CudaTile &gateUp, const CudaTile &down) {
  return findsFewPairs(gateUp.family) && findsFewPairs(down.family) &&
         arePairsFound(tokens * shape.topK, tokens * rowsPerToken(shape),
                       !isWide(gateUp.tokens) && !isWide(down.tokens));
}

bool givesQuantised(const CudaTile &tile) {
  return tile.family == GemmFamily::Fp8 && givesQuantised(gemmConfigOf(tile, DType::BF16, GemmRole::GateUp, false));
}

bool hasDownFew(const LayerShape &shape, GemmFamily gateUp, GemmFamily down) {
  return hasDownFew(shape.topK, shape.sharedIntermediate != 0, paddedForCuda(shape.intermediate),
                    paddedForCuda(shape.hidden), gateUp, down);
}

bool downIsFew(const LayerShape &shape, uint64_t tokens, GemmFamily gateUp, GemmFamily down) {
  if (!hasDownFew(shape, gateUp, down) || tokens > kFewPairs)
    return false;
  const auto count = static_cast<uint32_t>(tokens);
  const uint32_t k = paddedForCuda(shape.intermediate), n = paddedForCuda(shape.hidden);
  return down == GemmFamily::Fp8 ? downIsFewFp8(count, shape.topK, k, n) : downIsFew(count, shape.topK, k, n);
}

bool quantisesFew(uint32_t tokens, uint32_t topK, const CudaTile &gateUp, const CudaTile &down) {
  return tokens <= kFewTokens && tokens * topK <= kFewPairs && bothHaveQuantisingForms(gateUp, down);
}

bool hasGateUpFew(uint64_t topK, bool hasShared, uint32_t intermediate, uint32_t hidden, const CudaTile &gateUp,
                  const CudaTile &down) {
  return gateUp.family == GemmFamily::Fp8 && fitsGateUpFew(hidden, intermediate) &&
         (bothHaveQuantisingForms(gateUp, down) ||
          hasDownFew(topK, hasShared, intermediate, hidden, gateUp.family, down.family));
}

bool hasGateUpFew(const LayerShape &shape, const CudaTile &gateUp, const CudaTile &down) {
  return hasGateUpFew(shape.topK, shape.sharedIntermediate != 0, paddedForCuda(shape.intermediate),
                      paddedForCuda(shape.hidden), gateUp, down);
}

bool gateUpIsFew(const LayerShape &shape, uint64_t tokens, const CudaTile &gateUp, const CudaTile &down) {
  if (gateUp.family != GemmFamily::Fp8 ||
      !gateUpIsFewFp8(tokens, shape.topK, paddedForCuda(shape.hidden), paddedForCuda(shape.intermediate)))
    return false;
  return downIsFew(shape, tokens, gateUp.family, down.family) ||
         quantisesFew(static_cast<uint32_t>(tokens), shape.topK, gateUp, down);
}

uint32_t sharedBytes(const CudaTile &tile) {
  if (tile.family == GemmFamily::Fp8)
    return fp8SharedBytes(gemmConfigOf(tile, DType::BF16, GemmRole::Down, false));
  const uint32_t depth = tile.family == GemmFamily::Fitted ? kCudaTileK * tile.warpsWeights : kCudaTileK;
  const uint32_t stage = (uint32_t{tile.tokens} + tile.weights) * depth * 2;
  // Swizzled tiles start at multiples of 1024 bytes, which dynamic shared memory does not promise.
  return tile.stages * stage + (tile.family == GemmFamily::Portable ? 0 : kib);
}

uint32_t residentBlocks(const CudaTile &tile, const GpuFacts &gpu) {
  const uint32_t bytes = sharedBytes(tile);
  if (bytes > gpu.sharedBytesPerBlock)
    return 0;
  return std::min<uint32_t>(tile.blocksPerSm, sharedBytesPerSm(gpu) / (bytes + reservedBytes));
}

std::vector<CudaTile> cudaTiles(const TargetFacts &facts) { return fitting(classes, facts); }

std::vector<CudaTile> expertTiles(const LayerShape &shape, const TargetFacts &facts) {
  return fitting(multipliesE4M3(shape, facts) ? std::span<const CudaTile>(e4m3Classes)
                                              : std::span<const CudaTile>(classes),
                 facts);
}

uint32_t rowGranule(const CudaTile &tile) {
  const bool fits = tile.family == GemmFamily::Fitted || (tile.family == GemmFamily::Fp8 && tile.swapAB);
  if (fits)
    return std::min<uint32_t>(16, tile.tokens);
  return tile.family != GemmFamily::Portable && !tile.swapAB ? std::min<uint32_t>(64, tile.tokens) : tile.tokens;
}

} // namespace moec
