#include "runtime/device/cpu/CoverTable.h"

#include "compiler/core/Plan.h"

#include <algorithm>

namespace moec {

CoverTable::CoverTable(const CpuConfig &config, const Calibration &calibration) : heights(config.tileRows) {
  window = 8u * heights.front();
  for (uint32_t i = 1; i < heights.size(); ++i)
    if (calibration.tileNsPerStep[heights[i]] * heights[bulk] < calibration.tileNsPerStep[heights[bulk]] * heights[i])
      bulk = i;
  begin.push_back(0);
  for (uint32_t rows = 0; rows <= window; ++rows) {
    uint32_t sum = 0;
    for (uint16_t height : coverRows(rows, config, calibration).tiles) {
      tiles.push_back(static_cast<uint8_t>(std::find(heights.begin(), heights.end(), height) - heights.begin()));
      sum += height;
    }
    begin.push_back(static_cast<uint32_t>(tiles.size()));
    coveredBy.push_back(static_cast<uint16_t>(sum));
  }
}

} // namespace moec
