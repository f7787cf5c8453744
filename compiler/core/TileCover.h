// Covering rows with tiles at least cost: the table behind coverRows, also used where only the cost
// is asked.
#pragma once

#include "compiler/core/Calibration.h"
#include "compiler/core/Plan.h"

#include <array>
#include <cstdint>
#include <span>

namespace moec {

/// The cheapest covers of every count of rows with tiles of given heights.
///
/// Counts up to the window (8 times the tallest tile) are answered by dynamic programming. Beyond
/// it, the tile that costs least per row takes what exceeds the window: with that many rows left,
/// at most a fraction of one tile in eight could be placed better.
class TileCosts {
public:
  /// `heights` descending, each from 1 to Calibration::maxRows; others are ignored.
  TileCosts(std::span<const uint16_t> heights, const Calibration &calibration);

  /// Cost of covering `rows` rows: summed tileNsPerStep. 0 without rows or heights.
  double nsPerStep(uint32_t rows) const;
  /// The tiles of that cover, tallest first; only the last one can overhang.
  TileCover cover(uint32_t rows) const;

private:
  static constexpr uint32_t tilesSearched = 8;
  static constexpr uint32_t maxWindow = tilesSearched * Calibration::maxRows;

  struct Split {
    uint32_t bulkTiles = 0; // of the cheapest tile per row
    uint32_t searched = 0;  // rows that the table answers
  };
  Split split(uint32_t rows) const;
  void fillTable();

  std::array<uint16_t, Calibration::maxRows> heights{};
  std::array<double, Calibration::maxRows> tileNs{};
  uint32_t numHeights = 0;
  uint32_t window = 0;
  uint32_t bulk = 0; // index of the height that costs least per row

  // Entry `maxRows + n` is for n rows. The entries below are for "less than no rows left", which
  // cost nothing: an overhanging tile needs no case of its own.
  std::array<double, Calibration::maxRows + maxWindow + 1> cost{};
  std::array<uint8_t, maxWindow + 1> choice{}; // index of a height of the best cover of n rows
};

} // namespace moec
