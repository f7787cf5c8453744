#include "compiler/core/TileCover.h"

#include <algorithm>

namespace moec {

TileCosts::TileCosts(std::span<const uint16_t> wanted, const Calibration &calibration) {
  for (uint16_t height : wanted) {
    if (height == 0 || height > Calibration::maxRows || numHeights == heights.size())
      continue;
    heights[numHeights] = height;
    tileNs[numHeights] = calibration.tileNsPerStep[height];
    ++numHeights;
  }
  for (uint32_t index = 0; index < numHeights; ++index) {
    window = std::max(window, tilesSearched * heights[index]);
    // Cross-multiplied: ns per row of `index` against `bulk`. Descending heights let ties stay with
    // the taller.
    if (tileNs[index] * heights[bulk] < tileNs[bulk] * heights[index])
      bulk = index;
  }
  if (numHeights > 0)
    fillTable();
}

void TileCosts::fillTable() {
  for (uint32_t rows = 1; rows <= window; ++rows) {
    const double *here = cost.data() + Calibration::maxRows + rows;
    double best = here[-heights[0]] + tileNs[0];
    uint8_t chosen = 0;
    for (uint32_t index = 1; index < numHeights; ++index) {
      double ns = here[-heights[index]] + tileNs[index];
      if (ns < best) {
        best = ns;
        chosen = static_cast<uint8_t>(index);
      }
    }
    cost[Calibration::maxRows + rows] = best;
    choice[rows] = chosen;
  }
}

TileCosts::Split TileCosts::split(uint32_t rows) const {
  if (rows <= window || numHeights == 0)
    return {0, numHeights == 0 ? 0 : rows};
  uint32_t height = heights[bulk];
  uint32_t tiles = (rows - window - 1) / height + 1;
  return {tiles, rows - tiles * height};
}

double TileCosts::nsPerStep(uint32_t rows) const {
  Split parts = split(rows);
  return parts.bulkTiles * tileNs[bulk] + cost[Calibration::maxRows + parts.searched];
}

TileCover TileCosts::cover(uint32_t rows) const {
  Split parts = split(rows);
  TileCover cover{std::vector<uint16_t>(parts.bulkTiles, heights[bulk]), nsPerStep(rows)};
  for (uint32_t left = parts.searched; left > 0;) {
    uint16_t height = heights[choice[left]];
    cover.tiles.push_back(height);
    left -= std::min<uint32_t>(left, height);
  }
  std::sort(cover.tiles.begin(), cover.tiles.end(), std::greater<>());
  return cover;
}

TileCover coverRows(uint32_t rows, const CpuConfig &config, const Calibration &calibration) {
  return TileCosts(config.tileRows, calibration).cover(rows);
}

} // namespace moec
