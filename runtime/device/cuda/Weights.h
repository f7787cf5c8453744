// One layer's weights on a GPU: the checkpoint's own layout, once, for all generations.
#pragma once

#include "compiler/core/ModelDescription.h"
#include "runtime/device/cuda/Memory.h"
#include "runtime/weights/WeightSource.h"

#include <memory>

namespace moec {

/// Addresses are 0 where the layer has no such weight.
struct CudaWeights {
  DeviceBuffer memory;
  // H, I and Is here are rounded up (CudaLaunch.h, paddedForCuda); what is added is zero.
  // [X, I, H], [X, I, H], [X, H, I], X the experts of the grouped products (JoinedShared.h): a shared expert that joins
  // the routed ones comes first. Up lies behind gate, as a map of both asks.
  CUdeviceptr gate = 0, up = 0, down = 0;
  // Where gate, up and down are e4m3: f32, of each 128 by 128 elements [X, ceil(I / 128), ceil(H / 128)], the same, [X,
  // ceil(H / 128), ceil(I / 128)].
  CUdeviceptr gateScales = 0, upScales = 0, downScales = 0;
  CUdeviceptr gateBias = 0, upBias = 0, downBias = 0;       // f32 [E, I], [E, I], [E, H]
  CUdeviceptr sharedGate = 0, sharedUp = 0, sharedDown = 0; // [Is, H], [Is, H], [H, Is]; 0 where it joins
  CUdeviceptr router = 0, sharedRouter = 0;                 // [planes, E, H], [planes, H]
  CUdeviceptr routerBias = 0, correctionBias = 0;           // f32 [E]
  uint32_t planes = 1; // the router's weight is the sum of so many; more than one where it is f32 and needs them
};

/// Copies to the device through pinned memory, on a stream of its own. One thread at a time.
class Uploader {
public:
  static Result<std::unique_ptr<Uploader>> make(std::shared_ptr<const CudaDriver> driver);

  /// Queues a copy; `from` may be reused on return.
  Status copy(CUdeviceptr to, const void *from, uint64_t bytes);
  /// Returns when all copies are done; sleeps meanwhile.
  Status finish();
  CUstream stream() const { return queue.get(); }

private:
  struct Stage {
    PinnedBuffer buffer;
    CudaEvent copied; // out of the buffer
    bool busy = false;
  };

  std::shared_ptr<const CudaDriver> driver;
  CudaStream queue;
  CudaEvent finished;
  Stage stages[2];
  unsigned next = 0;
};

/// Reads a layer's weights and uploads them; done on return. `e4m3`: the grouped products' as such, with their scales.
/// Errors: those of WeightSource::read, ResourceExhausted (no memory), the driver's.
Result<std::shared_ptr<const CudaWeights>> uploadWeights(const LayerDescription &layer, const WeightSource &source,
                                                         const DeviceMemory &memory, Uploader &uploader, bool e4m3);

} // namespace moec
