// Which tiles cover n rows, ready to be read on the step path.
#pragma once

#include "compiler/core/Calibration.h"
#include "compiler/core/Config.h"

#include <cstdint>
#include <vector>

namespace moec {

/// The answers of `coverRows` for one set of tile heights, looked up without searching or allocating.
class CoverTable {
public:
  CoverTable() = default;
  /// `config.tileRows`: descending, not empty.
  CoverTable(const CpuConfig &config, const Calibration &calibration);

  uint32_t tallest() const { return heights.front(); }
  /// Rows that the tiles of `rows` rows compute: `rows` plus the overhang of the last tile.
  uint32_t covered(uint32_t rows) const {
    uint32_t left = bulkRows(rows);
    return left + coveredBy[rows - left];
  }

  bool isOneTile(uint32_t rows) const { return rows <= window && begin[rows + 1] - begin[rows] == 1; }

  /// Calls tile(kernel index, first row, height) for each tile of `rows` rows, from row 0 on.
  template <typename Tile> void forEachTile(uint32_t rows, Tile &&tile) const {
    uint32_t row = 0;
    for (uint32_t end = bulkRows(rows); row < end; row += heights[bulk])
      tile(bulk, row, uint32_t{heights[bulk]});
    uint32_t left = rows - row;
    for (uint32_t i = begin[left]; i < begin[left + 1]; ++i) {
      tile(uint32_t{tiles[i]}, row, uint32_t{heights[tiles[i]]});
      row += heights[tiles[i]];
    }
  }

private:
  /// Beyond the searched window all that exceeds it goes to the height that costs least per row.
  uint32_t bulkRows(uint32_t rows) const {
    return rows <= window ? 0 : ((rows - window - 1) / heights[bulk] + 1) * heights[bulk];
  }

  std::vector<uint16_t> heights;
  uint32_t window = 0;
  uint32_t bulk = 0;
  std::vector<uint32_t> begin;     // [window + 2] into `tiles`
  std::vector<uint8_t> tiles;      // kernel indices
  std::vector<uint16_t> coveredBy; // [window + 1]
};

} // namespace moec
