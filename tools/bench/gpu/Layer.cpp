#include "tools/bench/gpu/Layer.h"

#include "compiler/core/CudaLaunch.h"

#include <algorithm>

namespace moec::bench {

namespace {

uint64_t addressOf(const void *pointer) { return reinterpret_cast<uint64_t>(pointer); }

} // namespace

std::string LayerChoice::name() const {
  const std::string full = shippedGemm(family, gateUp).name;
  // "family-gateup-element-tile" without the role
  const size_t role = full.find("-gateup");
  return full.substr(0, role) + full.substr(role + 7);
}

std::vector<LayerChoice> layerChoices(GemmFamily family, Element element) {
  const std::vector<GemmConfig> gateUp = shippedGemms(family, element, GemmRole::GateUp);
  const std::vector<GemmConfig> down = shippedGemms(family, element, GemmRole::Down);
  std::vector<LayerChoice> choices;
  for (size_t i = 0; i < gateUp.size(); ++i)
    choices.push_back({family, gateUp[i], down[i]});
  if (family == GemmFamily::Fitted)
    for (const GemmConfig &laid : shippedLaidGemms(element))
      for (size_t i = 0; i < gateUp.size(); ++i)
        if (gateUp[i].tileTokens == laid.tileTokens && gateUp[i].tileWeights == laid.tileWeights)
          choices.push_back({family, laid, down[i]});
  return choices;
}

Status loadKernel(Bundle &bundle, const std::string &name, uint32_t sharedBytes, Kernel &kernel) {
  Result<Kernel> found = bundle.kernel(name, sharedBytes);
  MOEC_TRY(found.status());
  kernel = *found;
  return {};
}

Status allocateBuffer(Device &device, size_t bytes, Buffer &buffer) {
  Result<Buffer> allocated = device.allocate(std::max<size_t>(bytes, 16));
  MOEC_TRY(allocated.status());
  buffer = std::move(*allocated);
  return {};
}

bool isWanted(const std::vector<std::string> &parts, const LayerChoice &choice) {
  const std::string name = choice.name();
  return parts.empty() || std::any_of(parts.begin(), parts.end(), [&](const std::string &part) {
           return part.starts_with('=') ? name == part.substr(1) : name.find(part) != std::string::npos;
         });
}

Result<DeviceGemm> DeviceGemm::load(Device &device, Bundle &bundle, GemmFamily family, const GemmConfig &config,
                                    const Weights &weights) {
  DeviceGemm gemm;
  gemm.family = family;
  gemm.config = config;
  gemm.weights = weights;
  MOEC_TRY(loadKernel(bundle, shippedGemm(family, config).name,
                      family == GemmFamily::Portable ? portableSharedBytes(config) : hopperSharedBytes(config),
                      gemm.kernel));
  MOEC_TRY(gemm.makeMaps(device));
  return gemm;
}

Status DeviceGemm::makeMaps(Device &device) {
  if (family == GemmFamily::Portable)
    return {};
  const auto stride = static_cast<uint64_t>(weights.expertStride);
  const auto make = [&](const CudaTensor &tensor, CUtensorMap &to) -> Status {
    Result<CUtensorMap> made = device.tensorMap(tensor);
    MOEC_TRY(made.status());
    to = *made;
    return {};
  };
  const auto map = [&](const void *from, CUtensorMap &to) {
    return make(weightTensor(config.element, addressOf(from), weights.k, weights.n, weights.experts, stride, boxRows(config)), to);
  };
  if (family == GemmFamily::Hopper) {
    MOEC_TRY(map(weights.first, firstMap));
    return map(config.role == GemmRole::GateUp ? weights.second : weights.first, secondMap);
  }
  MOEC_TRY(allocateBuffer(device, 4, tileCounter));
  MOEC_TRY(device.fill(tileCounter, 0));
  if (config.role == GemmRole::Down)
    return map(weights.first, firstMap);
  const uint64_t gate = addressOf(weights.first), up = addressOf(weights.second);
  if (up <= gate)
    return makeError(Code::InvalidArgument, "up must lie behind gate");
  return make(interleavedTensor(config.element, gate, up, weights.k, weights.n, weights.experts, stride, boxGroups(config)),
              firstMap);
}

Status DeviceGemm::launchFitted(Device &device, GroupedGemmArgs &args, uint32_t numSlots, bool overlap) {
  const uint32_t rows = std::max(numSlots, 1u);
  Result<CUtensorMap> output =
      device.tensorMap(rowTensor(config.element, addressOf(args.output), weights.n, rows, kOutputBoxRows));
  MOEC_TRY(output.status());
  Result<CUtensorMap> tokens = *output; // who gathers rows looks at no map of them
  if (!gathersTokens(config))
    tokens = device.tensorMap(rowTensor(config.element, addressOf(args.tokens), weights.k, rows, tokenBoxRows(config)));
  MOEC_TRY(tokens.status());
  args.tileCounter = tileCounter.as<uint32_t>();
  void *parameters[] = {&firstMap, &*tokens, &*output, &args};
  return device.launch(kernel, {device.multiprocessors() * config.blocksPerSm, hopperThreads(config), overlap}, parameters);
}

Status DeviceGemm::launch(Device &device, GroupedGemmArgs args, uint32_t numSlots, bool overlap) {
  args.weights = weights.first;
  args.upWeights = weights.second;
  args.expertStride = weights.expertStride;
  args.k = weights.k;
  args.n = weights.n;
  args.numExperts = weights.experts;
  if (family == GemmFamily::Fitted)
    return launchFitted(device, args, numSlots, overlap);
  const uint32_t blocks = device.multiprocessors() * config.blocksPerSm;
  if (family == GemmFamily::Portable) {
    void *parameters[] = {&args};
    return device.launch(kernel, {blocks, portableThreads(config), overlap}, parameters);
  }
  void *parameters[] = {&firstMap, &secondMap, &args};
  return device.launch(kernel, {blocks, hopperThreads(config), overlap}, parameters);
}

Result<LayerBuffers> LayerBuffers::allocate(Device &device, const Shape &shape) {
  LayerBuffers all;
  const size_t pairs = std::max<size_t>(size_t{shape.tokens} * shape.topK, 1);
  const auto get = [&](Buffer &buffer, size_t bytes) { return allocateBuffer(device, bytes, buffer); };
  const size_t blocks = std::max(ceilDivide(pairs, dispatchConfigOf(shape.experts).pairsPerBlock), kDispatchGridMost);
  MOEC_TRY(get(all.counts, shape.experts * 4));
  MOEC_TRY(get(all.expertBegin, (shape.experts + 1) * 4));
  MOEC_TRY(get(all.tileBegin, (shape.experts + 1) * 4));
  MOEC_TRY(get(all.tilePlace, (pairs / 8 + shape.experts) * 4)); // 8: the smallest tile
  MOEC_TRY(get(all.slotPair, pairs * 4));
  MOEC_TRY(get(all.slotOfPair, pairs * 4));
  MOEC_TRY(get(all.blockCounts, blocks * shape.experts * 4));
  MOEC_TRY(get(all.gridBarrier, 8));
  MOEC_TRY(device.fill(all.gridBarrier, 0));
  MOEC_TRY(get(all.activated, pairs * shape.intermediate * 2));
  MOEC_TRY(get(all.expertOutput, pairs * shape.hidden * 2));
  MOEC_TRY(get(all.output, size_t{shape.tokens} * shape.hidden * 2));
  return all;
}

Result<DeviceLayer> DeviceLayer::create(Device &device, Bundle &bundle, const Shape &shape, const LayerChoice &choice,
                                        const LayerWeightsOnDevice &weights, LayerBuffers &buffers) {
  DeviceLayer layer(device, shape, choice, buffers);
  layer.dispatchConfig = dispatchConfigOf(shape.experts);
  layer.dispatchForm =
      shape.tokens * shape.topK <= kOneBlockPairs ? DispatchForm::OneBlock : DispatchForm::ThreeLaunches;
  layer.combineConfig = combineConfigOf(choice.down.element, shape.topK);
  MOEC_TRY(layer.loadKernels(bundle));
  const uint32_t H = shape.hidden, I = shape.intermediate;
  Result<DeviceGemm> gateUp = DeviceGemm::load(device, bundle, choice.family, choice.gateUp,
                                               {weights.gate, weights.up, shape.experts, H, I, weights.gateUpStride});
  MOEC_TRY(gateUp.status());
  Result<DeviceGemm> down = DeviceGemm::load(device, bundle, choice.family, choice.down,
                                             {weights.down, nullptr, shape.experts, I, H, int64_t{I} * H});
  MOEC_TRY(down.status());
  layer.gateUpGemm = std::move(*gateUp);
  layer.downGemm = std::move(*down);
  return layer;
}

Status DeviceLayer::loadKernels(Bundle &bundle) {
  MOEC_TRY(loadKernel(bundle, shippedDispatch("OneBlock", dispatchConfig).name, 0, oneBlock));
  MOEC_TRY(loadKernel(bundle, shippedDispatch("Grid", dispatchConfig).name, 0, grid));
  MOEC_TRY(loadKernel(bundle, shippedDispatch("Count", dispatchConfig).name, 0, count));
  MOEC_TRY(loadKernel(bundle, shippedDispatch("Scan", dispatchConfig).name, 0, scan));
  MOEC_TRY(loadKernel(bundle, shippedDispatch("Place", dispatchConfig).name, 0, place));
  if (choice.gateUp.rowsLaid)
    MOEC_TRY(loadKernel(bundle, shippedLayRows(layRowsConfigOf(shape.topK)).name, 0, layRowsKernel));
  return loadKernel(bundle, shippedCombine(combineConfig).name, 0, combineKernel);
}

Status DeviceLayer::dispatch(const int32_t *ids) {
  DispatchArgs args{};
  args.ids = ids;
  args.counts = buffers->counts.as<int32_t>();
  args.expertBegin = buffers->expertBegin.as<int32_t>();
  args.tileBegin = buffers->tileBegin.as<int32_t>();
  args.tilePlace = buffers->tilePlace.as<int32_t>();
  args.slotPair = buffers->slotPair.as<int32_t>();
  args.slotOfPair = buffers->slotOfPair.as<int32_t>();
  args.blockCounts = buffers->blockCounts.as<int32_t>();
  args.gridBarrier = buffers->gridBarrier.as<uint32_t>();
  args.ring = countsRing;
  args.numPairs = shape.tokens * shape.topK;
  args.numBlocks = dispatchForm == DispatchForm::Grid ? dispatchGridBlocks(args.numPairs, device->multiprocessors())
                                                      : ceilDivide(args.numPairs, dispatchConfig.pairsPerBlock);
  args.tileTokens = choice.gateUp.tileTokens;
  void *parameters[] = {&args};
  if (dispatchForm == DispatchForm::OneBlock)
    return device->launch(oneBlock, {1, dispatchConfig.threads, overlap}, parameters);
  if (dispatchForm == DispatchForm::Grid)
    return device->launch(grid, {args.numBlocks, dispatchConfig.threads, overlap}, parameters);
  MOEC_TRY(device->launch(count, {args.numBlocks, dispatchConfig.threads, overlap}, parameters));
  MOEC_TRY(device->launch(scan, {1, dispatchConfig.threads, overlap}, parameters));
  return device->launch(place, {args.numBlocks, dispatchConfig.threads, overlap}, parameters);
}

GroupedGemmArgs DeviceLayer::gemmArgs() const {
  GroupedGemmArgs args{};
  args.slotPair = buffers->slotPair.as<int32_t>();
  args.expertBegin = buffers->expertBegin.as<int32_t>();
  args.expertEnd = args.expertBegin + 1;
  args.tileBegin = buffers->tileBegin.as<int32_t>();
  args.tilePlace = buffers->tilePlace.as<int32_t>();
  args.topK = shape.topK;
  return args;
}

Status DeviceLayer::layRows(const void *hidden) {
  if (!choice.gateUp.rowsLaid)
    return {};
  LayRowsArgs args{hidden, buffers->slotOfPair.as<int32_t>(), buffers->expertOutput.as<void>(), shape.tokens, shape.hidden};
  void *parameters[] = {&args};
  const LayRowsConfig config = layRowsConfigOf(shape.topK);
  return device->launch(layRowsKernel, {layRowsBlocks(shape.tokens), config.threads, overlap}, parameters);
}

Status DeviceLayer::gateUp(const void *hidden) {
  GroupedGemmArgs args = gemmArgs();
  args.tokens = choice.gateUp.rowsLaid ? buffers->expertOutput.as<void>() : hidden;
  args.output = buffers->activated.as<void>();
  return gateUpGemm.launch(*device, args, shape.tokens * shape.topK, overlap);
}

Status DeviceLayer::down() {
  GroupedGemmArgs args = gemmArgs();
  args.tokens = buffers->activated.as<void>();
  args.output = buffers->expertOutput.as<void>();
  return downGemm.launch(*device, args, shape.tokens * shape.topK, overlap);
}

Status DeviceLayer::combine(const float *pairWeights, const SharedOutput &shared) {
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
  void *parameters[] = {&args};
  const uint32_t blocks = combineBlocks(combineConfig, shape.tokens, shape.hidden);
  return device->launch(combineKernel, {blocks, combineConfig.threads, overlap}, parameters);
}

Status DeviceLayer::forward(const void *hidden, const int32_t *ids, const float *pairWeights) {
  MOEC_TRY(dispatch(ids));
  MOEC_TRY(layRows(hidden));
  MOEC_TRY(gateUp(hidden));
  MOEC_TRY(down());
  return combine(pairWeights);
}

} // namespace moec::bench
