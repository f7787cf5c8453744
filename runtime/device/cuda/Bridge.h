// A GPU's side of HostRunner.
#pragma once

#include "runtime/HostRunner.h"
#include "runtime/device/cuda/Memory.h"

#include <array>

namespace moec {

class CudaBridge final : public HostBridge {
public:
  static Result<std::unique_ptr<HostBridge>> make(std::shared_ptr<const CudaDriver> driver, const DeviceMemory &memory);

  void *stream() const override { return queue.get(); }
  Result<void *> onDevice(unsigned index, void *from, uint64_t bytes, bool copy) override;
  Status toHost(unsigned index, void *to, uint64_t bytes) override;

private:
  CudaBridge(std::shared_ptr<const CudaDriver> driver, const DeviceMemory &memory)
      : driver(std::move(driver)), memory(memory) {}

  std::shared_ptr<const CudaDriver> driver;
  const DeviceMemory memory;
  CudaStream queue;
  std::array<DeviceBuffer, 4> buffers;
};

} // namespace moec
