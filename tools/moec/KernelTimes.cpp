#include "tools/moec/KernelTimes.h"

#if defined(MOEC_WITH_CUDA)
#include <algorithm>

namespace moec::tool {

Status KernelTimes::record(CudaEvent &event, void *stream) {
  if (!event) {
    Result<CudaEvent> made = makeEvent(driver, true);
    MOEC_TRY(made.status());
    event = std::move(*made);
  }
  MOEC_CUDA(*driver, cuEventRecord, (event.get(), static_cast<CUstream>(stream)), "beside a kernel");
  return {};
}

void KernelTimes::begins(const char *kernel, void *stream) {
  if (!listening || !problem.ok())
    return;
  if (used == launches.size())
    launches.emplace_back();
  launches[used].kernel = kernel;
  problem = record(launches[used].begin, stream);
}

void KernelTimes::ends(const char *, void *stream) {
  if (listening && problem.ok())
    problem = record(launches[used++].end, stream);
}

Result<std::vector<KernelTimes::Kernel>> KernelTimes::take() {
  MOEC_TRY(problem);
  std::vector<Kernel> kernels;
  for (size_t index = 0; index < used; ++index) {
    const Launch &launch = launches[index];
    MOEC_TRY(waitFor(*driver, launch.end.get()));
    float milliseconds = 0;
    MOEC_CUDA(*driver, cuEventElapsedTime, (&milliseconds, launch.begin.get(), launch.end.get()), "the time of {}",
              launch.kernel);
    auto known = std::find_if(kernels.begin(), kernels.end(),
                              [&](const Kernel &kernel) { return kernel.name == launch.kernel; });
    if (known == kernels.end())
      known = kernels.insert(kernels.end(), Kernel{launch.kernel, {}});
    known->us.push_back(1e3 * static_cast<double>(milliseconds));
  }
  used = 0;
  return kernels;
}

} // namespace moec::tool
#endif
