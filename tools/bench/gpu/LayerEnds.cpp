#include "tools/bench/gpu/LayerEnds.h"

#include <algorithm>

namespace moec::bench {

Status loadKernel(Bundle &bundle, const std::string &name, uint32_t sharedBytes, Kernel &kernel) {
  Result<Kernel> found = bundle.kernel(name, sharedBytes);
  MOEC_TRY(found.status());
  kernel = *found;
  return {};
}

Status loadProduct(Device &device, Bundle &bundle, GemmFamily family, const GemmConfig &config, Kernel &kernel) {
  MOEC_TRY(loadKernel(bundle, shippedGemm(family, config).name, gemmSharedBytes(family, config), kernel));
  return device.allowShared(kernel, mostSharedBytes(family, config));
}

Kernel launchedKernel(Kernel kernel, const GemmConfig &config, const FewPairs &few, uint32_t columns,
                      uint32_t multiprocessors) {
  if (runsAlone(config, few, columns, multiprocessors))
    kernel.sharedBytes = kAloneSharedBytes;
  return kernel;
}

Status allocateBuffer(Device &device, size_t bytes, Buffer &buffer) {
  Result<Buffer> allocated = device.allocate(std::max<size_t>(bytes, 16));
  MOEC_TRY(allocated.status());
  buffer = std::move(*allocated);
  return {};
}

Result<LayerBuffers> LayerBuffers::allocate(Device &device, const Shape &shape) {
  LayerBuffers all;
  const size_t pairs = std::max<size_t>(size_t{shape.tokens} * shape.topK, 1);
  const auto get = [&](Buffer &buffer, size_t bytes) { return allocateBuffer(device, bytes, buffer); };
  const size_t blocks = std::max(ceilDivide(pairs, dispatchConfigOf(shape.experts).pairsPerBlock), kDispatchGridMost);
  MOEC_TRY(get(all.counts, shape.experts * 4));
  MOEC_TRY(get(all.expertBegin, (shape.experts + 1) * 4));
  MOEC_TRY(get(all.tileHead, sizeof(TileHead)));
  MOEC_TRY(get(all.tiles, (pairs / 8 + shape.experts) * sizeof(TokenTile))); // 8: the smallest tile
  MOEC_TRY(get(all.slotPair, pairs * 4));
  MOEC_TRY(get(all.slotOfPair, pairs * 4));
  MOEC_TRY(get(all.blockCounts, blocks * shape.experts * 4));
  MOEC_TRY(get(all.gridBarrier, 8));
  MOEC_TRY(device.fill(all.gridBarrier, 0));
  MOEC_TRY(get(all.activated, pairs * shape.intermediate * 2));
  MOEC_TRY(get(all.expertOutput, pairs * shape.hidden * 2));
  MOEC_TRY(get(all.output, size_t{shape.tokens} * shape.hidden * 2));
  MOEC_TRY(get(all.progress, numProgressCounts(kLeastWideTile, shape.experts, pairs) * 4));
  return all;
}

LayerEnds::LayerEnds(Device &device, const Shape &shape, uint32_t tileTokens, uint32_t mixRows, Element element,
                     LayerBuffers &buffers)
    : device(&device), shape(shape), buffers(&buffers), tileTokens(tileTokens), mixRows(mixRows),
      dispatchConfig(dispatchConfigOf(shape.experts)), combineConfig(combineConfigOf(element, shape.topK)) {
  setClusters(true);
}

void LayerEnds::setClusters(bool on) {
  dispatchForm = dispatchFormOf(dispatchConfig, shape.tokens * shape.topK, on && device->hasClusters(),
                                device->multiprocessors(), 0);
}

Status LayerEnds::loadEnds(Bundle &bundle) {
  MOEC_TRY(loadKernel(bundle, shippedDispatch("OneBlock", dispatchConfig).name, 0, oneBlock));
  if (device->hasClusters())
    MOEC_TRY(loadKernel(bundle, shippedDispatch("Cluster", dispatchConfig).name, 0, cluster));
  MOEC_TRY(loadKernel(bundle, shippedDispatch("Grid", dispatchConfig).name, 0, grid));
  MOEC_TRY(loadKernel(bundle, shippedDispatch("Count", dispatchConfig).name, 0, count));
  MOEC_TRY(loadKernel(bundle, shippedDispatch("Scan", dispatchConfig).name, 0, scan));
  MOEC_TRY(loadKernel(bundle, shippedDispatch("Place", dispatchConfig).name, 0, place));
  return loadKernel(bundle, shippedCombine(combineConfig).name, 0, combineKernel);
}

Status LayerEnds::assignSlots(const int32_t *ids) {
  if (!isOfFewPairs())
    return dispatch(ids);
  stepIds = ids;
  few = {ids, shape.tokens, shape.topK, shape.experts, 0, buffers->slotOfPair.as<int32_t>()};
  return {};
}

Status LayerEnds::dispatch(const int32_t *ids) {
  stepIds = ids;
  few = {};
  DispatchArgs args{};
  args.ids = ids;
  args.counts = buffers->counts.as<int32_t>();
  args.progress = buffers->progress.as<uint32_t>();
  args.expertBegin = buffers->expertBegin.as<int32_t>();
  args.tileHead = buffers->tileHead.as<TileHead>();
  args.tiles = buffers->tiles.as<TokenTile>();
  args.slotPair = buffers->slotPair.as<int32_t>();
  args.slotOfPair = buffers->slotOfPair.as<int32_t>();
  args.blockCounts = buffers->blockCounts.as<int32_t>();
  args.gridBarrier = buffers->gridBarrier.as<uint32_t>();
  args.ring = countsRing;
  args.numPairs = shape.tokens * shape.topK;
  args.numBlocks = dispatchForm == DispatchForm::Grid ? dispatchGridBlocks(args.numPairs, device->multiprocessors())
                                                      : ceilDivide(args.numPairs, dispatchConfig.pairsPerBlock);
  args.tileTokens = tileTokens;
  args.mixRows = mixRows;
  if (productsOverlap)
    args.numProgress = numProgressCounts(tileTokens, shape.experts, args.numPairs);
  void *parameters[] = {&args};
  if (dispatchForm == DispatchForm::OneBlock)
    return device->launch(oneBlock, {1, dispatchConfig.threads, overlap}, parameters);
  if (dispatchForm == DispatchForm::Cluster)
    return device->launch(cluster, {kDispatchClusterBlocks, dispatchConfig.threads, overlap}, parameters);
  if (dispatchForm == DispatchForm::Grid)
    return device->launch(grid, {args.numBlocks, dispatchConfig.threads, overlap}, parameters);
  MOEC_TRY(device->launch(count, {args.numBlocks, dispatchConfig.threads, overlap}, parameters));
  MOEC_TRY(device->launch(scan, {1, dispatchConfig.threads, overlap}, parameters));
  return device->launch(place, {args.numBlocks, dispatchConfig.threads, overlap}, parameters);
}

GroupedGemmArgs LayerEnds::gemmArgs() const {
  GroupedGemmArgs args{};
  args.slotPair = buffers->slotPair.as<int32_t>();
  args.tileHead = buffers->tileHead.as<TileHead>();
  args.tiles = buffers->tiles.as<TokenTile>();
  args.topK = shape.topK;
  args.numRows = shape.tokens;
  args.few = few;
  args.ring = countsRing;
  return args;
}

void LayerEnds::letDownCombine(GroupedGemmArgs &args, const float *pairWeights) const {
  args.output = buffers->output.as<void>();
  args.pairWeights = pairWeights;
  args.ids = stepIds;
}

DownFewArgs LayerEnds::downFewArgs(const Buffer &activated, const float *pairWeights) const {
  DownFewArgs args{};
  args.activated = activated.as<void>();
  args.output = buffers->output.as<void>();
  args.pairWeights = pairWeights;
  args.few = few;
  args.ring = countsRing;
  return args;
}

Status LayerEnds::combine(const float *pairWeights, const SharedOutput &shared) {
  if (downCombines || downWasFew)
    return shared.output ? makeError(Code::InvalidArgument, "down that combines adds no shared output") : Status();
  CombineArgs args{};
  args.expertOutput = buffers->expertOutput.as<void>();
  args.slotOfPair = buffers->slotOfPair.as<int32_t>();
  args.weights = pairWeights;
  args.shared = shared.output;
  args.sharedGate = shared.gateLogit;
  args.gateStride = shared.gateStride;
  args.output = buffers->output.as<void>();
  args.numTokens = shape.tokens;
  args.hidden = shape.hidden;
  if (isFew(few)) // else gate-up has left the slots, and down leaves the counts
    args.few = few;
  args.ring = countsRing;
  void *parameters[] = {&args};
  const uint32_t counting = args.few.ids && countsRing.words ? 1 : 0; // a block more
  const uint32_t blocks = combineBlocks(combineConfig, shape.tokens, shape.hidden) + counting;
  return device->launch(combineKernel, {blocks, combineConfig.threads, overlap}, parameters);
}

} // namespace moec::bench
