#include "tools/moec/Gpus.h"

#if defined(MOEC_WITH_CUDA)
#include "runtime/device/cuda/Facts.h"
#endif

namespace moec::tool {

#if defined(MOEC_WITH_CUDA)
std::vector<GpuReport> examineGpus() {
  std::vector<GpuReport> reports;
  Result<std::shared_ptr<const CudaApi>> api = CudaApi::load();
  int count = 0;
  if (!api || (*api)->cuInitFn(0) != CUDA_SUCCESS || (*api)->cuDeviceGetCountFn(&count) != CUDA_SUCCESS)
    return reports;
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    GpuReport report{fmt::format("cuda:{}", ordinal), "", "", {}};
    Result<std::shared_ptr<CudaDriver>> driver = CudaDriver::open(report.device, *api);
    if (driver) {
      report.model = (*driver)->deviceName();
      if (Result<TargetFacts> facts = cudaFacts(**driver); facts)
        report.facts = *facts;
      else
        report.problem = facts.status().message();
    } else {
      report.problem = driver.status().message();
    }
    reports.push_back(std::move(report));
  }
  return reports;
}
#else
std::vector<GpuReport> examineGpus() { return {}; }
#endif

} // namespace moec::tool
