#include "compiler/core/CudaTiles.h"
#include "tests/unit/core/GpuFixtures.h"

#include <set>

using namespace moec;
using namespace moec::test;

namespace {

std::vector<std::string> texts(const std::vector<CudaTile> &tiles) {
  std::vector<std::string> all;
  for (const CudaTile &tile : tiles)
    all.push_back(tile.text());
  return all;
}

} // namespace

TEST_CASE("tile classes have texts of their own", "[core][gpu]") {
  std::set<std::string> all;
  for (std::span<const CudaTile> classes : {cudaTileClasses(), e4m3TileClasses()})
    for (const CudaTile &tile : classes) {
      CHECK(all.insert(tile.text()).second);
      CHECK(tile.tokens % rowGranule(tile) == 0);
      const Result<CudaTile> read = CudaTile::parse(tile.text());
      REQUIRE(read.ok());
      CHECK(*read == tile);
    }
}

TEST_CASE("e4m3 experts have e4m3 tiles where such kernels can compute them, and others' elsewhere",
          "[core][gpu][fp8]") {
  const LayerShape marked{
      .hidden = 7168, .intermediate = 2048, .experts = 8, .topK = 2, .expertFormat = WeightFormat::BlockE4M3};
  for (const char *name : gpuTargets) {
    const TargetFacts facts = gpuFacts(name);
    CAPTURE(name);
    CHECK(multipliesE4M3(marked, facts) == (facts.arch == "sm_90a"));
    const std::vector<CudaTile> tiles = expertTiles(marked, facts);
    CHECK(tiles.size() == (facts.arch == "sm_90a" ? e4m3TileClasses().size() : cudaTiles(facts).size()));
    for (const CudaTile &tile : tiles) {
      CHECK((tile.family == GemmFamily::Fp8) == (facts.arch == "sm_90a"));
      CHECK(residentBlocks(tile, facts.gpu) == tile.blocksPerSm);
    }
  }
  CHECK_FALSE(hasE4M3Kernels({.hidden = 7168, .intermediate = 2048, .experts = 8, .topK = 2}));
  for (void (*change)(LayerShape &) :
       {+[](LayerShape &shape) { shape.dtype = DType::F16; }, +[](LayerShape &shape) { shape.expertBias = true; },
        +[](LayerShape &shape) { shape.weightOnInput = true; }, +[](LayerShape &shape) { shape.hidden = 7176; },
        +[](LayerShape &shape) { shape.intermediate = 2056; }}) {
    LayerShape other = marked;
    change(other);
    CHECK_FALSE(hasE4M3Kernels(other));
    CHECK(expertTiles(other, gpuFacts("h100")) == cudaTiles(gpuFacts("h100")));
  }
}

TEST_CASE("an e4m3 tile's elements have one byte, and its stages their scales", "[core][gpu][fp8]") {
  const CudaTile deep{GemmFamily::Fp8, true, 16, 64, 5, 1, 4, 1}; // stages of 512 elements of the sum
  CHECK(sharedBytes(deep) == 5 * ((16 + 64) * 512 + 4 * (16 + 4) * 4) + 1024);
  CHECK(elementBytes(deep) == 1);
  CHECK(rowGranule(deep) == 16);
  CHECK(rowGranule({GemmFamily::Fp8, false, 128, 256, 4, 2, 1, 1}) == 64);
  CHECK_FALSE(hasDenseForm(deep));
}

TEST_CASE("every block of a target's tiles fits beside its neighbours", "[core][gpu]") {
  for (const char *name : gpuTargets) {
    const TargetFacts facts = gpuFacts(name);
    const std::vector<CudaTile> tiles = cudaTiles(facts);
    CAPTURE(name);
    CHECK(tiles.size() >= 4);
    for (const CudaTile &tile : tiles) {
      CAPTURE(tile.text());
      CHECK(runsOn(tile, facts.arch));
      CHECK(residentBlocks(tile, facts.gpu) == tile.blocksPerSm);
      CHECK(tile.stages >= 3);
    }
  }
}

TEST_CASE("only sm_90a runs Hopper's tiles", "[core][gpu]") {
  for (const char *name : gpuTargets)
    for (const CudaTile &tile : cudaTiles(gpuFacts(name)))
      CHECK((tile.family == GemmFamily::Portable || gpuFacts(name).arch == "sm_90a"));
}

TEST_CASE("tiles are cut to the shared memory there is", "[core][gpu]") {
  const auto portable = [](const char *name) {
    std::vector<CudaTile> tiles = cudaTiles(gpuFacts(name));
    std::erase_if(tiles, [](const CudaTile &tile) { return tile.family != GemmFamily::Portable; });
    return texts(tiles);
  };
  // 228 KB: all as they are. 164 KB: two of 90 KB need a stage less; 128x128 has 96 KB with the fewest, so one.
  CHECK(portable("h200") == std::vector<std::string>{"portable-16x128-s5-w1x4-b2", "portable-32x128-s4-w1x4-b2",
                                                     "portable-64x128-s3-w2x2-b2", "portable-128x128-s3-w2x4-b2"});
  CHECK(portable("a100") == std::vector<std::string>{"portable-16x128-s4-w1x4-b2", "portable-32x128-s4-w1x4-b2",
                                                     "portable-64x128-s3-w2x2-b2", "portable-128x128-s3-w2x4-b1"});
  // 100 KB: three stages of the smallest are 54 KB, so no two blocks of any.
  for (const char *name : {"l40s", "rtx4090", "rtx5090"})
    CHECK(portable(name) == std::vector<std::string>{"portable-16x128-s5-w1x4-b1", "portable-32x128-s4-w1x4-b1",
                                                     "portable-64x128-s3-w2x2-b1", "portable-128x128-s3-w2x4-b1"});
}

TEST_CASE("a fitted tile's stages are as deep as it says, and empty sixteens of rows cost little", "[core][gpu]") {
  const CudaTile deep{GemmFamily::Fitted, true, 16, 64, 5, 1, 4, 1}; // stages of 256 elements of the sum
  CHECK(sharedBytes(deep) == 5 * (16 + 64) * 256 * 2 + 1024);
  CHECK(rowGranule(deep) == 16);
  CHECK(rowGranule({GemmFamily::Fitted, true, 192, 256, 4, 2, 1, 1}) == 16);
  CHECK_FALSE(hasDenseForm(deep));
}

TEST_CASE("blocks that do not fit are counted by shared memory", "[core][gpu]") {
  const CudaTile tile{GemmFamily::Portable, false, 16, 128, 5, 1, 4, 2}; // 90 KB and one reserved
  CHECK(sharedBytes(tile) == 90 * 1024);
  CHECK(residentBlocks(tile, gpuFacts("h200").gpu) == 2);
  CHECK(residentBlocks(tile, gpuFacts("a100").gpu) == 1); // 182 of 164 KB
  CHECK(residentBlocks(tile, gpuFacts("l40s").gpu) == 1);
  const CudaTile large{GemmFamily::Hopper, false, 128, 256, 4, 2, 1, 1};
  CHECK(residentBlocks(large, gpuFacts("h200").gpu) == 1);
  CHECK(residentBlocks(large, gpuFacts("l40s").gpu) == 0);
}
