// Device time of each kernel of forwards on a GPU, by a pair of events around each launch.
#pragma once

#if defined(MOEC_WITH_CUDA)
#include "runtime/device/cuda/Driver.h"
#include "runtime/device/cuda/LaunchWatch.h"

#include <string>
#include <vector>

namespace moec::tool {

/// Events hold kernels apart that otherwise overlap, so the parts' times add up to more than the whole's. One stream,
/// one thread.
class KernelTimes final : public LaunchWatch {
public:
  explicit KernelTimes(std::shared_ptr<const CudaDriver> driver) : driver(std::move(driver)) {}

  /// From now on launches are timed, or not.
  void listen(bool on) { listening = on; }
  void begins(const char *kernel, void *stream) override;
  void ends(const char *kernel, void *stream) override;

  struct Kernel {
    std::string name;
    std::vector<double> us; // one of each launch
  };
  /// What was timed since the last call, once the device is done with it; in the order of first launches.
  /// Errors: the driver's, also those of recording.
  Result<std::vector<Kernel>> take();

private:
  struct Launch {
    const char *kernel = nullptr;
    CudaEvent begin, end;
  };
  Status record(CudaEvent &event, void *stream);

  std::shared_ptr<const CudaDriver> driver;
  bool listening = false;
  std::vector<Launch> launches; // events are made once and used again
  size_t used = 0;
  Status problem;
};

} // namespace moec::tool
#endif
