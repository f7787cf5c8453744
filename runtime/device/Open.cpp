#include "runtime/device/Device.h"
#include "runtime/device/cpu/CpuDevice.h"

namespace moec {

Result<std::unique_ptr<Device>> openDevice(const SessionOptions &options, ForwardLog &log) {
  return CpuDevice::open(options, log);
}

} // namespace moec
