#include "tools/bench/gpu/WholeLayer.h"

namespace moec::bench {

Result<WholeLayer> WholeLayer::create(Device &device, Bundle &bundle, const Shape &shape, const WholeSpec &spec,
                                      const LayerChoice &choice, const WholeWeights &weights, LayerBuffers &buffers) {
  Result<DeviceLayer> experts = DeviceLayer::create(device, bundle, shape, choice, weights.experts, buffers);
  MOEC_TRY(experts.status());
  experts->setDownFew(spec.sharedIntermediate == 0);
  WholeLayer layer(device, shape, spec, weights, std::move(*experts));
  MOEC_TRY(layer.allocate());
  MOEC_TRY(layer.useRouter(bundle, routerGemmFor(choice.gateUp.element, shape.experts, "sm_90a", shape.tokens)));
  MOEC_TRY(loadKernel(bundle, shippedRoute(spec.route).name, 0, layer.routeKernel));
  if (spec.sharedIntermediate > 0)
    MOEC_TRY(layer.loadShared(bundle, choice));
  return layer;
}

Status WholeLayer::allocate() {
  const size_t tokens = shape.tokens, pairs = tokens * shape.topK;
  MOEC_TRY(allocateBuffer(*device, tokens * logitStride() * 4, logits));
  MOEC_TRY(allocateBuffer(*device, pairs * 4, ids));
  MOEC_TRY(allocateBuffer(*device, pairs * 4, pairWeights));
  MOEC_TRY(allocateBuffer(*device, 4, numNonFinite));
  MOEC_TRY(allocateBuffer(*device, tokens * spec.sharedIntermediate * 2, sharedActivated));
  return allocateBuffer(*device, tokens * shape.hidden * 2, sharedOutput);
}

Status WholeLayer::loadShared(Bundle &bundle, const LayerChoice &choice) {
  const uint32_t H = shape.hidden, I = spec.sharedIntermediate;
  const int64_t size = int64_t{I} * H;
  const auto load = [&](GemmRole role, const DeviceGemm::Weights &from, DeviceGemm &gemm) -> Status {
    const GemmFamily family = choice.family == GemmFamily::Fitted ? GemmFamily::Hopper : choice.family; // no dense form
    const GemmConfig config = denseGemmFor(family, choice.gateUp.element, role, shape.tokens);
    Result<DeviceGemm> loaded = DeviceGemm::load(*device, bundle, family, config, from);
    MOEC_TRY(loaded.status());
    gemm = std::move(*loaded);
    return {};
  };
  MOEC_TRY(load(GemmRole::GateUp, {weights.sharedGate, weights.sharedUp, 1, H, I, size}, sharedGateUp));
  return load(GemmRole::Down, {weights.sharedDown, nullptr, 1, I, H, size}, sharedDown);
}

void WholeLayer::setOverlap(bool on) {
  overlap = on;
  experts.setOverlap(on);
}

Status WholeLayer::useRouter(Bundle &bundle, const RouterGemmConfig &config) {
  routerConfig = config;
  return loadKernel(bundle, shippedRouterLogits(config).name, routerSharedBytes(config), routerKernel);
}

Status WholeLayer::router(const void *hidden) {
  RouterGemmArgs args{};
  args.hidden = hidden;
  args.weight = weights.router;
  args.extraRow = spec.sharedGate ? weights.sharedRoute : nullptr;
  args.bias = spec.routerBias ? weights.routerBias : nullptr;
  args.logits = logits.as<float>();
  args.numTokens = shape.tokens;
  args.numExperts = shape.experts;
  args.hiddenSize = shape.hidden;
  args.planes = spec.routerPlanes;
  args.logitStride = logitStride();
  void *parameters[] = {&args};
  const uint32_t blocks = routerBlocks(routerConfig, shape.tokens, logitStride());
  return device->launch(routerKernel, {blocks, routerThreads(routerConfig), overlap}, parameters);
}

Status WholeLayer::route() {
  RouteArgs args{};
  args.logits = logits.as<float>();
  args.correctionBias = weights.correctionBias;
  args.ids = ids.as<int32_t>();
  args.weights = pairWeights.as<float>();
  args.numNonFinite = numNonFinite.as<uint32_t>();
  args.numTokens = shape.tokens;
  args.logitStride = logitStride();
  args.epsilon = static_cast<float>(spec.epsilon);
  args.scale = static_cast<float>(spec.scale);
  void *parameters[] = {&args};
  return device->launch(routeKernel, {routeBlocks(spec.route, shape.tokens), spec.route.threads, overlap}, parameters);
}

Status WholeLayer::shared(const void *hidden) {
  GroupedGemmArgs args{};
  args.numRows = shape.tokens;
  args.tokens = hidden;
  args.output = sharedActivated.as<void>();
  MOEC_TRY(sharedGateUp.launch(*device, args, shape.tokens, overlap));
  args.tokens = sharedActivated.as<void>();
  args.output = sharedOutput.as<void>();
  return sharedDown.launch(*device, args, shape.tokens, overlap);
}

Status WholeLayer::forward(const void *hidden) {
  MOEC_TRY(router(hidden));
  MOEC_TRY(route());
  SharedOutput out;
  if (spec.sharedIntermediate > 0) {
    MOEC_TRY(shared(hidden));
    out = {.output = sharedOutput.as<void>(),
           .gateLogit = spec.sharedGate ? logits.as<float>() + shape.experts : nullptr,
           .gateStride = logitStride()};
  }
  MOEC_TRY(experts.assignSlots(ids.as<int32_t>()));
  MOEC_TRY(experts.gateUp(hidden));
  MOEC_TRY(experts.down(pairWeights.as<float>()));
  return experts.combine(pairWeights.as<float>(), out);
}

} // namespace moec::bench
