// Step slots that captured graphs hold: a captured step runs whenever its graph is launched, so its buffers and its
// generation stay its own until the graph goes.
#pragma once

#include "compiler/core/ThreadSafety.h"
#include "runtime/device/cuda/Driver.h"

#include <functional>
#include <memory>

namespace moec {

/// Ties slots to graphs. Thread-safe. May outlive its session: a graph that goes later frees nothing.
class GraphSlots : public std::enable_shared_from_this<GraphSlots> {
public:
  /// `freeSlot` is called once for each held slot, from a thread of the driver: it must not call the driver.
  explicit GraphSlots(std::function<void(uint32_t)> freeSlot) : freeSlot(std::move(freeSlot)) {}

  /// Makes the graph that `stream` captures hold `slot`; which of all captures that is. After an error the slot is not
  /// held.
  Result<cuuint64_t> hold(const CudaDriver &driver, CUstream stream, uint32_t slot);
  /// The session goes: no slot is freed any more.
  void close() MOEC_EXCLUDES(mutex);

private:
  struct Lease {
    std::shared_ptr<GraphSlots> slots;
    uint32_t slot;
  };
  static void CUDA_CB released(void *lease);

  Mutex mutex;
  std::function<void(uint32_t)> freeSlot MOEC_GUARDED_BY(mutex);
};

/// Whether `stream` is being captured, into what graph, and in which of all captures.
Result<bool> isCapturing(const CudaDriver &driver, CUstream stream, CUgraph *graph = nullptr, cuuint64_t *id = nullptr);

} // namespace moec
