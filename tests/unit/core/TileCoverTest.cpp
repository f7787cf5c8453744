#include "compiler/core/TileCover.h"
#include "tests/unit/Catch.h"
#include "tests/unit/core/Fixtures.h"

#include <limits>
#include <numeric>

using namespace moec;
using namespace moec::test;

namespace {

CpuConfig withHeights(std::vector<uint16_t> heights) {
  return {.isa = CpuIsa::Avx512, .compute = DType::F32, .tileRows = std::move(heights)};
}

/// All multisets of tiles, no table: independent of the code under test, and exponential.
double cheapestByEnumeration(int rows, const std::vector<uint16_t> &heights, size_t from,
                             const Calibration &calibration) {
  if (rows <= 0)
    return 0;
  if (from == heights.size())
    return std::numeric_limits<double>::infinity();
  double best = std::numeric_limits<double>::infinity(), spent = 0;
  for (int left = rows;; left -= heights[from]) {
    best = std::min(best, spent + cheapestByEnumeration(left, heights, from + 1, calibration));
    if (left <= 0)
      return best;
    spent += calibration.tileNsPerStep[heights[from]];
  }
}

std::vector<uint16_t> randomHeights(Random &random, uint32_t count) {
  std::vector<uint16_t> heights(14);
  std::iota(heights.begin(), heights.end(), uint16_t{1});
  while (heights.size() > count)
    heights.erase(heights.begin() + random.below(static_cast<uint32_t>(heights.size())));
  std::reverse(heights.begin(), heights.end());
  return heights;
}

} // namespace

TEST_CASE("a cover is as cheap as the best of all covers", "[core][plan]") {
  Random random(1);
  for (int round = 0; round < 200; ++round) {
    Calibration calibration = noisyCalibration(random, facts(CpuIsa::Avx512), DType::F32);
    std::vector<uint16_t> heights = randomHeights(random, 1 + random.below(4));
    uint32_t rows = random.below(40);
    double best = cheapestByEnumeration(static_cast<int>(rows), heights, 0, calibration);
    CAPTURE(rows, heights);
    CHECK(coverRows(rows, withHeights(heights), calibration).nsPerStep == Approx(best).epsilon(1e-12));
  }
}

TEST_CASE("a cover has all rows, runs tall tiles first, and only its last tile overhangs", "[core][plan]") {
  Random random(2);
  for (int round = 0; round < 500; ++round) {
    Calibration calibration = noisyCalibration(random, facts(CpuIsa::Avx512), DType::F32);
    std::vector<uint16_t> heights = randomHeights(random, 1 + random.below(6));
    uint32_t rows = 1 + random.below(400);
    TileCover cover = coverRows(rows, withHeights(heights), calibration);
    CAPTURE(rows, heights, cover.tiles);
    uint32_t covered = std::accumulate(cover.tiles.begin(), cover.tiles.end(), 0u);
    REQUIRE_FALSE(cover.tiles.empty());
    CHECK(covered >= rows);
    CHECK(covered - cover.tiles.back() < rows);
    CHECK(std::is_sorted(cover.tiles.rbegin(), cover.tiles.rend()));
    double ns = 0;
    for (uint16_t tile : cover.tiles) {
      CHECK(std::count(heights.begin(), heights.end(), tile) == 1);
      ns += calibration.tileNsPerStep[tile];
    }
    CHECK(cover.nsPerStep == Approx(ns).epsilon(1e-12));
  }
}

TEST_CASE("an overhanging tile is taken where it is cheaper than exact ones", "[core][plan]") {
  Calibration calibration;
  calibration.tileNsPerStep[8] = 5;
  calibration.tileNsPerStep[4] = 3;
  calibration.tileNsPerStep[1] = 2;
  // 7 rows: one 8 (5) beats 4+1+1+1 (9) and 4+4 (6). 4 rows: the 4 (3). 9 rows: 8+1 (7) beats 4+4+1
  // (8).
  CpuConfig config = withHeights({8, 4, 1});
  CHECK(coverRows(7, config, calibration).tiles == std::vector<uint16_t>{8});
  CHECK(coverRows(4, config, calibration).tiles == std::vector<uint16_t>{4});
  CHECK(coverRows(9, config, calibration).tiles == std::vector<uint16_t>{8, 1});
}

TEST_CASE("covers that cost the same take the taller tile", "[core][plan]") {
  Calibration calibration;
  for (uint32_t rows = 1; rows <= 14; ++rows)
    calibration.tileNsPerStep[rows] = rows; // every exact cover of n rows costs n
  CpuConfig config = withHeights({8, 4, 2, 1});
  CHECK(coverRows(8, config, calibration).tiles == std::vector<uint16_t>{8});
  CHECK(coverRows(15, config, calibration).tiles == std::vector<uint16_t>{8, 4, 2, 1});
  for (double &ns : calibration.tileNsPerStep)
    ns = 1; // 3 rows: any one tile will do
  CHECK(coverRows(3, config, calibration).tiles == std::vector<uint16_t>{8});
}

TEST_CASE("no rows need no tile, and no heights cover nothing", "[core][plan]") {
  Calibration calibration = Calibration::assumed(facts(CpuIsa::Avx2), DType::F32);
  CHECK(coverRows(0, withHeights({6, 1}), calibration).tiles.empty());
  CHECK(coverRows(0, withHeights({6, 1}), calibration).nsPerStep == 0);
  CHECK(coverRows(1000, withHeights({}), calibration).tiles.empty());
}

TEST_CASE("beyond the searched window a cover stays within 1 % of the best", "[core][plan]") {
  Random random(3);
  for (int round = 0; round < 50; ++round) {
    Calibration calibration = noisyCalibration(random, facts(CpuIsa::Avx512), DType::F32);
    std::vector<uint16_t> heights = randomHeights(random, 5);
    CpuConfig config = withHeights(heights);
    // The plain table over all rows, without a window.
    std::vector<double> best(5001, 0);
    for (uint32_t rows = 1; rows < best.size(); ++rows) {
      best[rows] = std::numeric_limits<double>::infinity();
      for (uint16_t height : heights)
        best[rows] = std::min(best[rows], best[rows > height ? rows - height : 0] + calibration.tileNsPerStep[height]);
    }
    for (uint32_t rows : {113u, 127u, 500u, 1023u, 5000u}) {
      TileCover cover = coverRows(rows, config, calibration);
      CAPTURE(rows, heights);
      CHECK(std::accumulate(cover.tiles.begin(), cover.tiles.end(), 0u) >= rows);
      CHECK(cover.nsPerStep <= best[rows] * 1.01);
      CHECK(cover.nsPerStep >= best[rows] * (1 - 1e-12));
    }
  }
}

TEST_CASE("a count of rows near 2^32 is answered at once", "[core][plan]") {
  Calibration calibration;
  calibration.tileNsPerStep[14] = 10;
  TileCosts costs(std::vector<uint16_t>{14}, calibration);
  // 4294967295 / 14 = 306783378.2..., so 306783379 tiles.
  CHECK(costs.nsPerStep(UINT32_MAX) == 3067833790.0);
}
