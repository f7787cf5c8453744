#include "runtime/device/Device.h"
#include "runtime/device/cpu/CpuDevice.h"
#if defined(MOEC_WITH_CUDA)
#include "runtime/device/cuda/CudaDevice.h"
#endif

namespace moec {

Result<std::unique_ptr<Device>> openDevice(const SessionOptions &options, ForwardLog &log) {
  if (!options.device.starts_with("cuda"))
    return CpuDevice::open(options, log);
#if defined(MOEC_WITH_CUDA)
  return CudaDevice::open(options, log);
#else
  return makeError(Code::DeviceMissing, "device {}: this build was made without CUDA's headers", options.device);
#endif
}

} // namespace moec
