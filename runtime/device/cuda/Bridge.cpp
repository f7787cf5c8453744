#include "runtime/device/cuda/Bridge.h"

namespace moec {

Result<std::unique_ptr<HostBridge>> CudaBridge::make(std::shared_ptr<const CudaDriver> driver,
                                                     const DeviceMemory &memory) {
  std::unique_ptr<CudaBridge> bridge(new CudaBridge(driver, memory));
  ContextScope scope(*driver);
  MOEC_TRY(scope.status());
  Result<CudaStream> stream = makeStream(driver);
  MOEC_TRY(stream.status());
  bridge->queue = std::move(*stream);
  return std::unique_ptr<HostBridge>(std::move(bridge));
}

Result<void *> CudaBridge::onDevice(unsigned index, void *from, uint64_t bytes, bool copy) {
  ContextScope scope(*driver);
  MOEC_TRY(scope.status());
  DeviceBuffer &buffer = buffers[index];
  if (buffer.bytes() < bytes || buffer.address() == 0) {
    Result<DeviceBuffer> made = memory.allocate(bytes, "tensors from host memory");
    MOEC_TRY(made.status());
    buffer = std::move(*made);
  }
  if (copy && bytes > 0)
    MOEC_CUDA(*driver, cuMemcpyHtoDAsync, (buffer.address(), from, bytes, queue.get()), "uploading {} bytes", bytes);
  else if (bytes > 0) // poisoned, so that what is not written shows
    MOEC_CUDA(*driver, cuMemsetD8Async, (buffer.address(), 0xff, bytes, queue.get()), "clearing {} bytes", bytes);
  return reinterpret_cast<void *>(buffer.address());
}

Status CudaBridge::toHost(unsigned index, void *to, uint64_t bytes) {
  ContextScope scope(*driver);
  MOEC_TRY(scope.status());
  if (bytes > 0)
    MOEC_CUDA(*driver, cuMemcpyDtoHAsync, (to, buffers[index].address(), bytes, queue.get()), "downloading {} bytes",
              bytes);
  return wait();
}

Status CudaBridge::wait() {
  ContextScope scope(*driver);
  MOEC_TRY(scope.status());
  MOEC_CUDA(*driver, cuStreamSynchronize, (queue.get()), "waiting for a step");
  return {};
}

} // namespace moec
