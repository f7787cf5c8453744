// What a layer does before and after its products, whatever these are made of: dispatch and combine.
#pragma once

#include "compiler/core/CudaLaunch.h"
#include "compiler/jit/ShippedKernels.h"
#include "tools/bench/gpu/Bundle.h"
#include "tools/bench/gpu/DownFew.h"
#include "tools/bench/gpu/Driver.h"
#include "tools/bench/gpu/Reference.h"

#include <optional>

namespace moec::bench {

/// Loads a kernel of the bundle into `kernel`.
Status loadKernel(Bundle &bundle, const std::string &name, uint32_t sharedBytes, Kernel &kernel);
/// Likewise a product.
Status loadProduct(Device &device, Bundle &bundle, GemmFamily family, const GemmConfig &config, Kernel &kernel);
/// A product as a step launches it (runsAlone); `kernel` from loadProduct().
Kernel launchedKernel(Kernel kernel, const GemmConfig &config, const FewPairs &few, uint32_t columns,
                      uint32_t multiprocessors);
/// Allocates at least 16 bytes into `buffer`.
Status allocateBuffer(Device &device, size_t bytes, Buffer &buffer);

/// What combine adds besides the experts' outputs; null pointers: nothing.
struct SharedOutput {
  const void *output = nullptr;     // [T, H]
  const float *gateLogit = nullptr; // one every `gateStride` floats
  uint32_t gateStride = 0;
};

/// Buffers between the kernels; enough for `shape`.
class LayerBuffers {
public:
  static Result<LayerBuffers> allocate(Device &device, const Shape &shape);

  Buffer counts, progress, expertBegin, tileHead, tiles, slotPair, slotOfPair, blockCounts, gridBarrier;
  Buffer activated;    // [T * K, I]
  Buffer expertOutput; // [T * K, H]
  Buffer output;       // [T, H]
};

/// Keeps a pointer to the buffers that it is given.
class LayerEnds {
public:
  /// Whether launches overlap (programmatic dependent launch; sm_90 and up). Off at first; 5 to 10 % at T = 1 on an
  /// H200.
  void setOverlap(bool on) { overlap = on; }

  /// At first as captured steps of a session (dispatchFormOf, without a grid).
  void setDispatch(DispatchForm form) { dispatchForm = form; }
  /// Takes the first form again, or, if not `on`, what it would be without clusters.
  void setClusters(bool on);
  /// Where dispatch leaves samples of its counts; nowhere at first.
  void setRing(const CountsRing &ring) { countsRing = ring; }

  /// For products that are launched by themselves: down waits for the launch before it, whatever that is.
  void keepProductsApart() { productsOverlap = false; }

  /// Whether downFew (of e4m3 downFewFp8) runs in place of down and combine where it can: of fitted tiles and of e4m3,
  /// in steps without a dispatch for which downIsFew() (downIsFewFp8()). On at first; off for layers with a shared
  /// output, which it does not add.
  void setDownFew(bool on) { usesDownFew = on; }
  /// Whether it was the last down.
  bool ranDownFew() const { return downWasFew; }

  /// Whether steps of few pairs have a dispatch too. Off at first.
  void setAlwaysDispatch(bool on) { alwaysDispatch = on; }
  /// Whether the layer's steps have none: their pairs are few (kFewPairs, in narrow tiles kBlockRows), and its products
  /// find them themselves.
  bool isOfFewPairs() const {
    const uint32_t pairs = shape.tokens * shape.topK;
    return findsFewPairs && !alwaysDispatch && arePairsFound(pairs, pairs, !isWide(tileTokens));
  }

  /// Queue the steps. ids, pairWeights [T, K] are on the device.
  ///
  /// By dispatch, but of few pairs by the kernels that need them.
  Status assignSlots(const int32_t *ids);
  Status dispatch(const int32_t *ids);
  Status combine(const float *pairWeights, const SharedOutput &shared = {}); // nothing where down does it

protected:
  /// Tiles are of `tileTokens` rows and mix from `mixRows` on, outputs are of `element`.
  LayerEnds(Device &device, const Shape &shape, uint32_t tileTokens, uint32_t mixRows, Element element,
            LayerBuffers &buffers);
  Status loadEnds(Bundle &bundle);
  /// What dispatch says to the products.
  GroupedGemmArgs gemmArgs() const;
  /// What down is told to write outputs itself (GemmConfig::combines).
  void letDownCombine(GroupedGemmArgs &args, const float *pairWeights) const;

  /// Whether the step's down is to be downFew.
  bool hasFewDown() const { return usesDownFew && downFew && few.ids; }
  /// The same, when down is launched: combine goes by it.
  bool takesFewDown() { return downWasFew = hasFewDown(); }
  /// What that is told.
  DownFewArgs downFewArgs(const Buffer &activated, const float *pairWeights) const;

  Device *device;
  Shape shape;
  LayerBuffers *buffers;
  std::optional<DeviceDownFew> downFew; // where the shape is for it
  bool overlap = false;
  bool findsFewPairs = false;   // whether the products can
  bool downCombines = false;    // by its config
  bool productsOverlap = false; // down goes by gate-up's progress
  bool alwaysDispatch = false;
  const int32_t *stepIds = nullptr; // of the step under way
  FewPairs few{};                   // likewise, if dispatch did not run
  CountsRing countsRing{};

private:
  uint32_t tileTokens, mixRows;
  DispatchConfig dispatchConfig{};
  CombineConfig combineConfig{};
  DispatchForm dispatchForm{};
  bool usesDownFew = true, downWasFew = false;
  Kernel oneBlock, cluster, grid, count, scan, place, combineKernel;
};

} // namespace moec::bench
