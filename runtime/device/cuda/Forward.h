// Queues one layer's kernels on a stream.
#pragma once

#include "runtime/Tensor.h"
#include "runtime/device/cuda/LaunchWatch.h"
#include "runtime/device/cuda/Layer.h"
#include "runtime/device/cuda/Workspace.h"

namespace moec {

/// What a forward runs on besides its layer.
struct CudaLaunchSite {
  const CudaDriver &driver;
  CUstream stream = nullptr;
  uint32_t multiprocessors = 0;
  bool overlap = false;    // launches start while the one before ends (programmatic dependent launch; sm_90 and up)
  bool tensorMaps = false; // the GPU runs kernels that take them (sm_90a)
  // The most blocks of a dispatch that wait for each other: those of all steps that may run at once must be able to.
  uint32_t gridBlocks = 0;
  LaunchWatch *watch = nullptr;
};

/// Where a step leaves its counts, and routing its non-finite logits.
struct CudaCounters {
  CountsRing ring{};
  uint32_t *nonFinite = nullptr; // may be null
};

/// Queues router, routing, dispatch, both products, the shared expert and combine, as far as a step has them. Every
/// pointer is the device's. Nothing waits or allocates, so that a capture can record it.
class CudaForward {
public:
  CudaForward(const CudaLayer &layer, const CudaWorkspace &space, const CudaLaunchSite &site)
      : layer(layer), kernels(*layer.kernels), weights(*layer.weights), space(space), site(site),
        rows(space.mapsOf(layer.shape)) {}

  /// hidden, output [tokens, H]; `routing` null: the layer's router routes. Errors: InvalidArgument (no router), the
  /// driver's.
  Status run(const void *hidden, uint32_t tokens, const RoutingView *routing, const CudaCounters &counters,
             void *output);

  /// Whether steps of more than kFewPairs have a dispatch even where blocks could find the pairs. Off at first.
  void alwaysDispatch(bool on) { dispatchesAlways = on; }

  /// Whether what leaves the step's counts was queued, however `run` ended.
  bool leavesCounts() const { return countsQueued; }

  /// Parts alone, for who measures them: dispatch of `ids` [numTokens, topK], and down's product over the tables and
  /// rows that lie in the workspace.
  Status dispatchAlone(const int32_t *ids, uint32_t numTokens);
  Status downAlone() { return down(nullptr, nullptr, {}, space.expertOutput); }

private:
  bool isPadded() const { return layer.shape.hidden % 8 != 0; }
  Status copyRows(const void *from, uint64_t fromStride, void *to, uint64_t toStride);
  Status routerLogits(const void *hidden, bool experts);
  Status route(uint32_t *nonFinite);
  /// By dispatch, or, where there are few pairs, by whoever needs them.
  Status assignSlots(const int32_t *ids, const CountsRing &ring);
  Status dispatch(const int32_t *ids, const CountsRing &ring);
  /// Whether the step's products quantise their rows themselves.
  bool quantisesFew() const;
  /// Whether down begins while gate-up ends.
  bool overlapsProducts() const;
  Status quantise(QuantiseArgs args, const char *name);
  Status quantiseTokens(const void *hidden);
  Status quantiseActivated();
  Status gateUp(const void *hidden, const float *pairWeights);
  /// `ids`, `pairWeights` of the step, `output` of who combines (GemmConfig::combines), `ring` of who leaves the
  /// counts.
  Status down(const int32_t *ids, const float *pairWeights, const CountsRing &ring, void *output);
  Status shared(const void *hidden);
  Status combine(const float *pairWeights, const CountsRing &ring, void *output);
  /// Which of the two launches below the step has.
  FewForms fewForms() const;
  /// The launch that takes the place of quantising tokens and of gate-up.
  Status gateUpFew(const void *hidden);
  /// The launch that takes down's and combine's place.
  Status downFew(const float *pairWeights, const CountsRing &ring, void *output);
  GroupedGemmArgs groupedArgs() const;
  /// Where a product's weights are; the scales of e4m3 alone.
  struct Weights {
    CUdeviceptr first = 0, second = 0; // gate and up, or down twice
    CUdeviceptr firstScales = 0, secondScales = 0;
  };
  /// `tokens`, `output`: the rows of `args` as maps; of no meaning but for the fitted family and e4m3, which have no
  /// dense products.
  Status gemm(const CudaProduct &gemm, const GemmMaps &maps, GroupedGemmArgs args, const Weights &from,
              const CUtensorMap *tokens = nullptr, const CUtensorMap *output = nullptr);
  Status launch(const CudaKernel &kernel, uint32_t blocks, void **parameters, const char *name);

  const CudaLayer &layer;
  const CudaKernels &kernels;
  const CudaWeights &weights;
  const CudaWorkspace &space;
  const CudaLaunchSite &site;
  uint32_t tokens = 0;
  FewPairs few{}; // of a step without dispatch
  FewForms forms; // of the step
  bool countsQueued = false, dispatchesAlways = false;
  const float *sharedGate = nullptr; // logits of the shared expert's gate
  const CudaRowMaps *rows = nullptr; // of the workspace, for this layer; null where the GPU has no maps
};

} // namespace moec
