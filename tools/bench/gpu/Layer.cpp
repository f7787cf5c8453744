#include "tools/bench/gpu/Layer.h"

#include <algorithm>

namespace moec::bench {
namespace {

constexpr uint32_t combineThreads = 256;

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
  return choices;
}

Result<LayerBuffers> LayerBuffers::allocate(Device &device, const Shape &shape) {
  LayerBuffers all;
  const size_t pairs = std::max<size_t>(size_t{shape.tokens} * shape.topK, 1);
  const auto get = [&](Buffer &buffer, size_t bytes) -> Status {
    Result<Buffer> allocated = device.allocate(std::max<size_t>(bytes, 16));
    if (!allocated)
      return allocated.status();
    buffer = std::move(*allocated);
    return {};
  };
  const size_t blocks = ceilDivide(pairs, dispatchConfig(shape.experts).pairsPerBlock);
  MOEC_TRY(get(all.counts, shape.experts * 4));
  MOEC_TRY(get(all.expertBegin, (shape.experts + 1) * 4));
  MOEC_TRY(get(all.tileBegin, (shape.experts + 1) * 4));
  MOEC_TRY(get(all.tilePlace, (pairs / 8 + shape.experts) * 4)); // 8: the smallest tile
  MOEC_TRY(get(all.slotPair, pairs * 4));
  MOEC_TRY(get(all.slotOfPair, pairs * 4));
  MOEC_TRY(get(all.blockCounts, blocks * shape.experts * 4));
  MOEC_TRY(get(all.activated, pairs * shape.intermediate * 2));
  MOEC_TRY(get(all.expertOutput, pairs * shape.hidden * 2));
  MOEC_TRY(get(all.output, size_t{shape.tokens} * shape.hidden * 2));
  return all;
}

Result<DeviceLayer> DeviceLayer::create(Device &device, Bundle &bundle, const Shape &shape, const LayerChoice &choice,
                                        const LayerWeightsOnDevice &weights, LayerBuffers &buffers) {
  DeviceLayer layer(device, shape, choice, buffers);
  layer.weights = weights;
  layer.dispatchConfig = moec::dispatchConfig(shape.experts);
  MOEC_TRY(layer.loadKernels(bundle));
  if (choice.family == GemmFamily::Hopper)
    MOEC_TRY(layer.makeMaps(weights));
  return layer;
}

Status DeviceLayer::loadKernels(Bundle &bundle) {
  const auto get = [&](Kernel &kernel, const std::string &name, uint32_t sharedBytes) -> Status {
    Result<Kernel> found = bundle.kernel(name, sharedBytes);
    if (!found)
      return found.status();
    kernel = *found;
    return {};
  };
  const auto sharedBytes = [&](const GemmConfig &config) {
    return choice.family == GemmFamily::Portable ? portableSharedBytes(config) : hopperSharedBytes(config);
  };
  MOEC_TRY(get(oneBlock, shippedDispatch("OneBlock", dispatchConfig).name, 0));
  MOEC_TRY(get(count, shippedDispatch("Count", dispatchConfig).name, 0));
  MOEC_TRY(get(scan, shippedDispatch("Scan", dispatchConfig).name, 0));
  MOEC_TRY(get(place, shippedDispatch("Place", dispatchConfig).name, 0));
  MOEC_TRY(get(gateUpKernel, shippedGemm(choice.family, choice.gateUp).name, sharedBytes(choice.gateUp)));
  MOEC_TRY(get(downKernel, shippedGemm(choice.family, choice.down).name, sharedBytes(choice.down)));
  return get(combineKernel,
             shippedCombine({.element = choice.down.element, .topK = shape.topK, .threads = combineThreads}).name, 0);
}

Status DeviceLayer::makeMaps(const LayerWeightsOnDevice &weights) {
  const bool bf16 = choice.gateUp.element == Element::BF16;
  const auto make = [&](CUtensorMap &map, const void *from, uint32_t k, uint32_t rows, int64_t stride,
                        uint32_t boxRows) -> Status {
    Result<CUtensorMap> made = device->weightMap(from, bf16, k, rows, shape.experts, stride, boxRows);
    if (!made)
      return made.status();
    map = *made;
    return {};
  };
  const uint32_t H = shape.hidden, I = shape.intermediate;
  MOEC_TRY(make(gateMap, weights.gate, H, I, weights.gateUpStride, boxRows(choice.gateUp)));
  MOEC_TRY(make(upMap, weights.up, H, I, weights.gateUpStride, boxRows(choice.gateUp)));
  return make(downMap, weights.down, I, H, int64_t{I} * H, boxRows(choice.down));
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
  args.numPairs = shape.tokens * shape.topK;
  args.numBlocks = ceilDivide(args.numPairs, dispatchConfig.pairsPerBlock);
  args.tileTokens = choice.gateUp.tileTokens;
  void *parameters[] = {&args};
  if (args.numPairs <= kOneBlockPairs)
    return device->launch(oneBlock, {1, dispatchConfig.threads, overlap}, parameters);
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
  args.numExperts = shape.experts;
  return args;
}

Status DeviceLayer::launchGemm(const Kernel &kernel, const GemmConfig &config, CUtensorMap &first, CUtensorMap &second,
                               GroupedGemmArgs &args) {
  const uint32_t blocks = device->multiprocessors() * config.blocksPerSm;
  if (choice.family == GemmFamily::Portable) {
    void *parameters[] = {&args};
    return device->launch(kernel, {blocks, portableThreads(config), overlap}, parameters);
  }
  void *parameters[] = {&first, &second, &args};
  return device->launch(kernel, {blocks, hopperThreads(config), overlap}, parameters);
}

Status DeviceLayer::gateUp(const void *hidden) {
  GroupedGemmArgs args = gemmArgs();
  args.tokens = hidden;
  args.weights = weights.gate;
  args.upWeights = weights.up;
  args.output = buffers->activated.as<void>();
  args.expertStride = weights.gateUpStride;
  args.k = shape.hidden;
  args.n = shape.intermediate;
  return launchGemm(gateUpKernel, choice.gateUp, gateMap, upMap, args);
}

Status DeviceLayer::down() {
  GroupedGemmArgs args = gemmArgs();
  args.tokens = buffers->activated.as<void>();
  args.weights = weights.down;
  args.output = buffers->expertOutput.as<void>();
  args.expertStride = int64_t{shape.intermediate} * shape.hidden;
  args.k = shape.intermediate;
  args.n = shape.hidden;
  return launchGemm(downKernel, choice.down, downMap, downMap, args);
}

Status DeviceLayer::combine(const float *pairWeights) {
  CombineArgs args{};
  args.expertOutput = buffers->expertOutput.as<void>();
  args.slotOfPair = buffers->slotOfPair.as<int32_t>();
  args.weights = pairWeights;
  args.output = buffers->output.as<void>();
  args.numTokens = shape.tokens;
  args.hidden = shape.hidden;
  void *parameters[] = {&args};
  const uint32_t blocks = ceilDivide(uint64_t{shape.tokens} * shape.hidden / 8, combineThreads);
  return device->launch(combineKernel, {std::max(blocks, 1u), combineThreads, overlap}, parameters);
}

Status DeviceLayer::forward(const void *hidden, const int32_t *ids, const float *pairWeights) {
  MOEC_TRY(dispatch(ids));
  MOEC_TRY(gateUp(hidden));
  MOEC_TRY(down());
  return combine(pairWeights);
}

} // namespace moec::bench
