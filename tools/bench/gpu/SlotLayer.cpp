#include "tools/bench/gpu/SlotLayer.h"

#include "compiler/core/CudaLaunch.h"

namespace moec::bench {

Result<SlotLayer> SlotLayer::create(Device &device, Bundle &bundle, const Shape &shape, const LayerChoice &choice,
                                    const LayerWeightsOnDevice &weights, const std::vector<int32_t> &slots) {
  SlotLayer layer(device, shape, choice);
  std::vector<int32_t> begin{0};
  for (int32_t rows : slots)
    begin.push_back(begin.back() + rows);
  layer.numSlots = begin.back();
  MOEC_TRY(layer.allocate(begin));
  MOEC_TRY(layer.load(bundle, weights));
  return layer;
}

Status SlotLayer::allocate(const std::vector<int32_t> &begin) {
  const size_t pairs = size_t{shape.tokens} * shape.topK, slots = static_cast<size_t>(numSlots), E = shape.experts;
  const size_t rows = slots + pairs;
  const auto get = [&](Buffer &buffer, size_t count, size_t bytes = 4) {
    return allocateBuffer(*device, count * bytes, buffer);
  };
  Result<Buffer> uploaded = device->uploaded(begin);
  MOEC_TRY(uploaded.status());
  slotBegin = std::move(*uploaded);
  for (Buffer *buffer : {&counts, &spillCounts})
    MOEC_TRY(get(*buffer, E));
  for (Buffer *buffer : {&tileHead, &spillTileHead})
    MOEC_TRY(get(*buffer, 1, sizeof(TileHead)));
  MOEC_TRY(get(spillBegin, E + 1));
  for (Buffer *buffer : {&slotOfPair, &spillPairs, &spillIds, &spillSlotPair})
    MOEC_TRY(get(*buffer, pairs));
  MOEC_TRY(get(tiles, slots / 8 + E, sizeof(TokenTile))); // 8: the smallest tile
  MOEC_TRY(get(spillTiles, pairs / 8 + E, sizeof(TokenTile)));
  MOEC_TRY(get(slotPair, slots));
  MOEC_TRY(get(spillCount, 1));
  MOEC_TRY(get(cursors, E + 2));
  MOEC_TRY(device->fill(cursors, 0));
  MOEC_TRY(get(activated, rows * shape.intermediate, 2));
  MOEC_TRY(get(expertOutput, rows * shape.hidden, 2));
  return get(output, size_t{shape.tokens} * shape.hidden, 2);
}

Status SlotLayer::load(Bundle &bundle, const LayerWeightsOnDevice &weights) {
  dispatchConfig = dispatchConfigOf(shape.experts);
  combineConfig = combineConfigOf(choice.down.element, shape.topK);
  MOEC_TRY(loadKernel(bundle, shippedDispatch("Slots", dispatchConfig).name, 0, slotsKernel));
  MOEC_TRY(loadKernel(bundle, shippedDispatch("OneBlock", dispatchConfig).name, 0, oneBlock));
  MOEC_TRY(loadKernel(bundle, shippedCombine(combineConfig).name, 0, combineKernel));
  const uint32_t H = shape.hidden, I = shape.intermediate;
  Result<DeviceGemm> first = DeviceGemm::load(*device, bundle, choice.family, choice.gateUp,
                                              {weights.gate, weights.up, shape.experts, H, I, weights.gateUpStride});
  MOEC_TRY(first.status());
  Result<DeviceGemm> second = DeviceGemm::load(*device, bundle, choice.family, choice.down,
                                               {weights.down, nullptr, shape.experts, I, H, int64_t{I} * H});
  MOEC_TRY(second.status());
  gateUp = std::move(*first);
  down = std::move(*second);
  return {};
}

Status SlotLayer::dispatch(const int32_t *ids) {
  DispatchSlotsArgs args{};
  args.ids = ids;
  args.slotBegin = slotBegin.as<int32_t>();
  args.counts = counts.as<int32_t>();
  args.tileHead = tileHead.as<TileHead>();
  args.tiles = tiles.as<TokenTile>();
  args.slotPair = slotPair.as<int32_t>();
  args.slotOfPair = slotOfPair.as<int32_t>();
  args.spillPairs = spillPairs.as<int32_t>();
  args.spillIds = spillIds.as<int32_t>();
  args.spillCount = spillCount.as<int32_t>();
  args.cursors = cursors.as<int32_t>();
  args.ring = countsRing;
  args.numPairs = shape.tokens * shape.topK;
  args.tileTokens = choice.gateUp.tileTokens;
  args.mixRows = mixRowsOf(choice.family, args.tileTokens);
  void *parameters[] = {&args};
  const uint32_t blocks = dispatchSlotsBlocks(dispatchConfig, args.numPairs);
  return device->launch(slotsKernel, {blocks, dispatchConfig.threads, overlap}, parameters);
}

Status SlotLayer::dispatchSpill() {
  DispatchArgs args{};
  args.ids = spillIds.as<int32_t>();
  args.pairOf = spillPairs.as<int32_t>();
  args.pairsOnDevice = spillCount.as<int32_t>();
  args.counts = spillCounts.as<int32_t>();
  args.expertBegin = spillBegin.as<int32_t>();
  args.tileHead = spillTileHead.as<TileHead>();
  args.tiles = spillTiles.as<TokenTile>();
  args.slotPair = spillSlotPair.as<int32_t>();
  args.slotOfPair = slotOfPair.as<int32_t>();
  args.slotOffset = numSlots;
  args.tileTokens = choice.gateUp.tileTokens;
  args.mixRows = mixRowsOf(choice.family, args.tileTokens);
  void *parameters[] = {&args};
  return device->launch(oneBlock, {1, dispatchConfig.threads, overlap}, parameters);
}

Status SlotLayer::runProducts(GroupedGemmArgs tables, const void *hidden, size_t firstRow, size_t count) {
  void *rows = activated.as<void>(firstRow * shape.intermediate * 2),
       *outputs = expertOutput.as<void>(firstRow * shape.hidden * 2);
  tables.topK = shape.topK;
  tables.numRows = shape.tokens;
  tables.tokens = hidden;
  tables.output = rows;
  MOEC_TRY(gateUp.launch(*device, tables, static_cast<uint32_t>(count), overlap));
  tables.tokens = rows;
  tables.output = outputs;
  return down.launch(*device, tables, static_cast<uint32_t>(count), overlap);
}

Status SlotLayer::products(const void *hidden) {
  GroupedGemmArgs args{};
  args.slotPair = slotPair.as<int32_t>();
  args.tileHead = tileHead.as<TileHead>();
  args.tiles = tiles.as<TokenTile>();
  return runProducts(args, hidden, 0, static_cast<size_t>(numSlots));
}

Status SlotLayer::spillProducts(const void *hidden) {
  GroupedGemmArgs args{};
  args.slotPair = spillSlotPair.as<int32_t>();
  args.tileHead = spillTileHead.as<TileHead>();
  args.tiles = spillTiles.as<TokenTile>();
  return runProducts(args, hidden, static_cast<size_t>(numSlots), size_t{shape.tokens} * shape.topK);
}

Status SlotLayer::combine(const float *pairWeights) {
  CombineArgs args{};
  args.expertOutput = expertOutput.as<void>();
  args.slotOfPair = slotOfPair.as<int32_t>();
  args.weights = pairWeights;
  args.output = output.as<void>();
  args.numTokens = shape.tokens;
  args.hidden = shape.hidden;
  void *parameters[] = {&args};
  return device->launch(combineKernel,
                        {combineBlocks(combineConfig, shape.tokens, shape.hidden), combineConfig.threads, overlap},
                        parameters);
}

Status SlotLayer::forward(const void *hidden, const int32_t *ids, const float *pairWeights) {
  MOEC_TRY(dispatch(ids));
  MOEC_TRY(dispatchSpill());
  MOEC_TRY(products(hidden));
  MOEC_TRY(spillProducts(hidden));
  return combine(pairWeights);
}

} // namespace moec::bench
