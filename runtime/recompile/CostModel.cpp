#include "runtime/recompile/CostModel.h"

#include <algorithm>

namespace moec {

CostModel::CostModel(const PolicyConfig &config)
    : smoothing(config.costSmoothing), perLayer(config.firstCost), packNsPerByte(config.firstPackNsPerByte) {}

ChangeCost CostModel::of(Verdict verdict, uint64_t newlyPackedBytes) const {
  ChangeCost cost = perLayer;
  cost.compileMs = verdict == Verdict::Compile ? perLayer.compileMs : 0;
  cost.loadMs = verdict == Verdict::Retable ? 0 : perLayer.loadMs;
  cost.packMs = verdict == Verdict::Retable ? 0 : static_cast<double>(newlyPackedBytes) * packNsPerByte / 1e6;
  return cost;
}

void CostModel::learn(const BuildReport &report, const BuildSize &size) {
  if (size.layers == 0)
    return;
  smooth(perLayer.validateMs, report.validateMs / size.layers);
  // A cache hit says nothing about what compiling costs.
  if (size.compiled && report.kernelsBuilt)
    smooth(perLayer.compileMs, report.compileMs / size.compiled);
  if (report.loadMs > 0)
    smooth(perLayer.loadMs, report.loadMs / size.layers);
  if (size.newlyPackedBytes)
    smooth(packNsPerByte, report.packMs * 1e6 / static_cast<double>(size.newlyPackedBytes));
}

bool RateLimit::available(int64_t nowNs) {
  if (started)
    tokens = std::min(perMinute, tokens + static_cast<double>(nowNs - lastNs) * 1e-9 / 60 * perMinute);
  started = true;
  lastNs = nowNs;
  return tokens >= 1;
}

} // namespace moec
