// Runs one layer's launch list on a step's buffers.
#pragma once

#include "runtime/NonFinite.h"
#include "runtime/Tensor.h"
#include "runtime/device/cpu/CpuLayer.h"
#include "runtime/device/cpu/Dispatch.h"
#include "runtime/device/cpu/ThreadPool.h"
#include "runtime/device/cpu/Workspace.h"

#include <optional>
#include <span>

namespace moec {

/// What one forward counted, besides `Workspace::pairs`.
struct ForwardCounts {
  uint64_t spilledPairs = 0;
  uint64_t nonFiniteLogits = 0;
};

/// Interprets the launch list of `layer` with the threads of `pool`.
///
/// Results do not depend on tile heights, packing, slots, threads or timing: each output element is summed by one
/// thread, over the shared expert first and then over experts in ascending order, and every tile height sums over K
/// alike. Allocates nothing. One executor is used by one thread at a time.
class LayerExecutor {
public:
  /// `workers` has scratch for each worker of the pool.
  LayerExecutor(const CpuLayer &layer, Workspace &space, ThreadPool &pool, std::span<const ThreadScratch> workers)
      : layer(layer), kernels(*layer.kernels), space(space), pool(pool), workers(workers) {}

  /// hidden [T, H], output [T, H]: in the layer's dtype, checked by the caller; T at least 1 and at most what the
  /// workspace is for. Without `routing` the layer's own router routes.
  ///
  /// Errors: InvalidArgument (ids of `routing`; no router where none is given), Failure (policy Fail).
  Status run(ConstTensorView hidden, const std::optional<RoutingView> &routing, TensorView output,
             NonFinitePolicy policy, ForwardCounts &counts);

private:
  Status launch(LaunchKind kind, TensorView output, NonFinitePolicy policy, ForwardCounts &counts);
  void stage(ConstTensorView hidden);
  void routerLogits();
  uint64_t route();
  void dispatch(ForwardCounts &counts);
  void fillSharedRows();
  void gatherRows(uint32_t rowBegin, uint32_t rowEnd);
  uint32_t cutGateUp();
  void gateUp();
  void gateUpItem(const WorkItem &item, const WorkItem *next, const ThreadScratch &scratch);
  void down();
  void downPanels(uint32_t panelBegin, uint32_t panelEnd, const ThreadScratch &scratch);
  void sharedGateUp();
  void sharedDown();
  void store(TensorView output);

  const LayerKernels &kernelsOf(uint32_t expert) const { return space.spilled[expert] ? *layer.generic : kernels; }
  const ThreadScratch &scratchOf(unsigned thread) const { return thread ? workers[thread - 1] : space.scratch; }
  uint32_t accStride() const { return accumulatorStride(layer.shape.hidden, kernels.lanes); }

  const CpuLayer &layer;
  const LayerKernels &kernels;
  Workspace &space;
  ThreadPool &pool;
  std::span<const ThreadScratch> workers;
  RoutedPairs routed;
  uint32_t tokens = 0;
};

} // namespace moec
