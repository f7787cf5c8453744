#include "tools/bench/gpu/Layer.h"

#include "compiler/core/CudaLaunch.h"
#include "compiler/core/CudaTiles.h"

#include <algorithm>

namespace moec::bench {

namespace {

uint64_t addressOf(const void *pointer) { return reinterpret_cast<uint64_t>(pointer); }

} // namespace

std::string LayerChoice::name() const {
  const std::string full = shippedGemm(family, gateUp).name;
  // "family-gateup-element-tile" without the role, and down's tile where it is another
  const size_t role = full.find("-gateup");
  const std::string name = full.substr(0, role) + full.substr(role + 7);
  GemmConfig alike = down;
  alike.role = GemmRole::GateUp;
  alike.combines = false;
  const std::string other = shippedGemm(family, alike).name;
  if (other == full)
    return name;
  const size_t element = other.find('-', role + 1), tile = other.find('-', element + 1);
  return name + "+" + other.substr(tile + 1);
}

LayerChoice LayerChoice::combiningFor(const Shape &shape) const {
  LayerChoice other = *this;
  if (downCombines(shape.topK, false, family))
    other.down = combining(other.down);
  return other;
}

std::vector<LayerChoice> layerChoices(GemmFamily family, Element element) {
  const std::vector<GemmConfig> gateUp = shippedGemms(family, element, GemmRole::GateUp);
  const std::vector<GemmConfig> down = shippedGemms(family, element, GemmRole::Down);
  std::vector<LayerChoice> choices;
  for (size_t i = 0; i < gateUp.size(); ++i)
    choices.push_back({family, gateUp[i], down[i]});
  return choices;
}

std::vector<LayerChoice> mixedChoices(Element element) {
  const std::vector<LayerChoice> all = layerChoices(GemmFamily::Fitted, element);
  std::vector<LayerChoice> choices;
  for (const LayerChoice &first : all)
    for (const LayerChoice &second : all)
      if (&first != &second && first.gateUp.tileTokens == second.gateUp.tileTokens)
        choices.push_back({GemmFamily::Fitted, first.gateUp, second.down});
  return choices;
}

bool isWanted(const std::vector<std::string> &parts, const std::string &name) {
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
  MOEC_TRY(loadProduct(device, bundle, family, config, gemm.kernel));
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
    return make(
        weightTensor(config.element, addressOf(from), weights.k, weights.n, weights.experts, stride, boxRows(config)),
        to);
  };
  if (family == GemmFamily::Hopper) {
    MOEC_TRY(map(weights.first, firstMap));
    return map(config.role == GemmRole::GateUp ? weights.second : weights.first, secondMap);
  }
  MOEC_TRY(allocateBuffer(device, kTileCounters * 4, tileCounters));
  MOEC_TRY(device.fill(tileCounters, 0));
  if (config.role == GemmRole::Down)
    return map(weights.first, firstMap);
  const uint64_t gate = addressOf(weights.first), up = addressOf(weights.second);
  if (up <= gate)
    return makeError(Code::InvalidArgument, "up must lie behind gate");
  return make(
      interleavedTensor(config.element, gate, up, weights.k, weights.n, weights.experts, stride, boxGroups(config)),
      firstMap);
}

Status DeviceGemm::launchFitted(Device &device, GroupedGemmArgs &args, uint32_t numSlots, bool overlap) {
  const uint32_t rows = std::max(numSlots, 1u);
  Result<CUtensorMap> output =
      device.tensorMap(rowTensor(config.element, addressOf(args.output), weights.n, rows, kOutputBoxRows));
  MOEC_TRY(output.status());
  Result<CUtensorMap> tokens = *output; // who copies rows looks at no map of them
  if (!gathersTokens(config) || fetchesRows(config))
    tokens =
        device.tensorMap(rowTensor(config.element, addressOf(args.tokens), weights.k,
                                   gathersTokens(config) ? std::max(args.numRows, 1u) : rows, tokenBoxRows(config)));
  MOEC_TRY(tokens.status());
  args.tileCounters = tileCounters.as<uint32_t>();
  void *parameters[] = {&firstMap, &*tokens, &*output, &args};
  return device.launch(launchedKernel(kernel, config, args.few, weights.n, device.multiprocessors()),
                       {gemmBlocks(config, device.multiprocessors()), hopperThreads(config), overlap}, parameters);
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

Result<DeviceLayer> DeviceLayer::create(Device &device, Bundle &bundle, const Shape &shape, const LayerChoice &choice,
                                        const LayerWeightsOnDevice &weights, LayerBuffers &buffers) {
  DeviceLayer layer(device, shape, choice, buffers);
  MOEC_TRY(layer.loadEnds(bundle));
  const uint32_t H = shape.hidden, I = shape.intermediate;
  Result<DeviceGemm> gateUp = DeviceGemm::load(device, bundle, choice.family, choice.gateUp,
                                               {weights.gate, weights.up, shape.experts, H, I, weights.gateUpStride});
  MOEC_TRY(gateUp.status());
  Result<DeviceGemm> down = DeviceGemm::load(device, bundle, choice.family, choice.down,
                                             {weights.down, nullptr, shape.experts, I, H, int64_t{I} * H});
  MOEC_TRY(down.status());
  layer.findsFewPairs = moec::findsFewPairs(choice.family);
  layer.productsOverlap = overlapsProducts(choice.family, choice.gateUp, H, I);
  layer.downCombines = choice.down.combines;
  layer.gateUpGemm = std::move(*gateUp);
  layer.downGemm = std::move(*down);
  if (choice.family == GemmFamily::Fitted && downIsFew(shape.tokens, shape.topK, I, H)) {
    Result<DeviceDownFew> few = DeviceDownFew::load(device, bundle, shape, choice.down.element, weights.down);
    MOEC_TRY(few.status());
    layer.downFew = *few;
  }
  return layer;
}

GroupedGemmArgs DeviceLayer::productArgs() const {
  GroupedGemmArgs args = gemmArgs();
  if (productsOverlap && !args.few.ids)
    args.progress =
        gateUpProgress(buffers->progress.as<uint32_t>(), choice.gateUp, shape.intermediate, device->multiprocessors());
  return args;
}

Status DeviceLayer::gateUp(const void *hidden) {
  GroupedGemmArgs args = productArgs();
  args.tokens = hidden;
  args.output = buffers->activated.as<void>();
  return gateUpGemm.launch(*device, args, shape.tokens * shape.topK, overlap);
}

Status DeviceLayer::down(const float *pairWeights) {
  if (takesFewDown())
    return downFew->launch(*device, downFewArgs(buffers->activated, pairWeights), overlap);
  GroupedGemmArgs args = productArgs();
  args.tokens = buffers->activated.as<void>();
  args.output = buffers->expertOutput.as<void>();
  if (choice.down.combines)
    letDownCombine(args, pairWeights);
  return downGemm.launch(*device, args, shape.tokens * shape.topK, overlap);
}

Status DeviceLayer::forward(const void *hidden, const int32_t *ids, const float *pairWeights) {
  MOEC_TRY(assignSlots(ids));
  MOEC_TRY(gateUp(hidden));
  MOEC_TRY(down(pairWeights));
  return combine(pairWeights);
}

} // namespace moec::bench
