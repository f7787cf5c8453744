// A layer with static slots: dispatch in one pass, both products over the slots, the same for what spilled, combine.
#pragma once

#include "tools/bench/gpu/Layer.h"

namespace moec::bench {

class SlotLayer {
public:
  /// `slots` [E] rows of each expert. Generation 0's kernels, here those of the same choice, compute what spills.
  static Result<SlotLayer> create(Device &device, Bundle &bundle, const Shape &shape, const LayerChoice &choice,
                                  const LayerWeightsOnDevice &weights, const std::vector<int32_t> &slots);

  void setOverlap(bool on) { overlap = on; }
  void setRing(const CountsRing &ring) { countsRing = ring; }
  /// Queue the steps.
  Status dispatch(const int32_t *ids);
  Status dispatchSpill();
  Status products(const void *hidden);
  Status spillProducts(const void *hidden);
  Status forward(const void *hidden, const int32_t *ids, const float *pairWeights);

  Buffer spillCount; // [1]
  Buffer counts;     // [E]
  Buffer output;     // [T, H]

private:
  SlotLayer(Device &device, const Shape &shape, const LayerChoice &choice)
      : device(&device), shape(shape), choice(choice) {}
  Status allocate(const std::vector<int32_t> &begin);
  Status load(Bundle &bundle, const LayerWeightsOnDevice &weights);
  Status runProducts(GroupedGemmArgs tables, const void *hidden, size_t firstRow, size_t count);
  Status combine(const float *pairWeights);

  Device *device;
  Shape shape;
  LayerChoice choice;
  bool overlap = false;
  CountsRing countsRing{};
  int32_t numSlots = 0;
  Buffer slotBegin, tileHead, tiles, slotPair, slotOfPair, spillPairs, spillIds, cursors;
  Buffer spillCounts, spillBegin, spillTileHead, spillTiles, spillSlotPair;
  Buffer activated, expertOutput; // [numSlots + T * K, I or H]: slots, then what spilled
  DispatchConfig dispatchConfig{};
  CombineConfig combineConfig{};
  Kernel slotsKernel, oneBlock, combineKernel;
  DeviceGemm gateUp, down;
};

} // namespace moec::bench
