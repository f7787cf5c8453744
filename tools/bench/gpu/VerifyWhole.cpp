// Whole layers: each router that we ship with the rest of its family's layer, step by step against the reference.
#include "tools/bench/gpu/Routing.h"
#include "tools/bench/gpu/Verify.h"
#include "tools/bench/gpu/WholeLayer.h"

#include <algorithm>
#include <cmath>

namespace moec::bench {
namespace {

// Multiples of 8 but not of any tile.
constexpr uint32_t hiddenSize = 264, intermediateSize = 40, sharedSize = 104;

WholeSpec specOf(const RouteConfig &route) {
  WholeSpec spec;
  spec.route = route;
  spec.epsilon = route.renormalise ? 1e-20 : 0;
  if (route.experts == 60) { // Qwen1.5-MoE
    spec.sharedIntermediate = sharedSize;
    spec.sharedGate = true;
  } else if (route.groups > 1 ||
             route.experts == 384) { // DeepSeek, Kimi: f32 router weights in part of the checkpoints
    spec.sharedIntermediate = sharedSize;
    spec.routerPlanes = 3;
    spec.scale = 2.5;
  } else if (route.before == RouteScoring::None) { // gpt-oss
    spec.routerBias = true;
  }
  return spec;
}

struct HostWeights {
  std::vector<float> router; // [E + gate, H]; exact values where there is one plane
  std::vector<uint16_t> routerPlanes, sharedRoutePlanes;
  std::vector<float> routerBias, correctionBias;
  std::vector<uint16_t> sharedGate, sharedUp, sharedDown;
};

struct Case {
  WholeSpec spec;
  LayerInputs inputs; // ids and weights: the device's, once it has routed
  HostWeights weights;
};

std::vector<float> drawFloats(size_t count, float scale, std::mt19937_64 &random) {
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(count);
  for (float &value : values)
    value = normal(random);
  return values;
}

Case makeCase(const RouteConfig &route, uint32_t tokens, bool bf16) {
  Case c;
  c.spec = specOf(route);
  const uint32_t H = hiddenSize, I = intermediateSize, S = c.spec.sharedIntermediate, E = route.experts;
  std::mt19937_64 random(tokens * 7919 + E);
  c.inputs.shape = {tokens, H, I, E, route.topK};
  c.inputs.bf16 = bf16;
  const double in = 1 / std::sqrt(H), out = 1 / std::sqrt(I);
  c.inputs.hidden = drawElements(size_t{tokens} * H, 1.0, bf16, random);
  c.inputs.gate = drawElements(size_t{E} * I * H, in, bf16, random);
  c.inputs.up = drawElements(size_t{E} * I * H, in, bf16, random);
  c.inputs.down = drawElements(size_t{E} * H * I, out, bf16, random);
  HostWeights &w = c.weights;
  w.router = drawFloats(size_t{E + c.spec.sharedGate} * H, static_cast<float>(2 * in), random);
  const std::vector<float> experts(w.router.begin(), w.router.begin() + size_t{E} * H);
  const std::vector<float> extra(w.router.begin() + size_t{E} * H, w.router.end());
  w.routerPlanes = splitIntoPlanes(experts, c.spec.routerPlanes, bf16);
  w.sharedRoutePlanes = splitIntoPlanes(extra, c.spec.routerPlanes, bf16);
  if (c.spec.routerPlanes == 1)
    for (size_t i = 0; i < w.router.size(); ++i)
      w.router[i] =
          elementValue(i < experts.size() ? w.routerPlanes[i] : w.sharedRoutePlanes[i - experts.size()], bf16);
  w.routerBias = drawFloats(E, 0.5f, random);
  w.correctionBias = drawFloats(E, 0.1f, random);
  w.sharedGate = drawElements(size_t{S} * H, in, bf16, random);
  w.sharedUp = drawElements(size_t{S} * H, in, bf16, random);
  w.sharedDown = drawElements(size_t{H} * S, 1 / std::sqrt(S + 1), bf16, random);
  return c;
}

/// A case on the device.
struct OnDevice {
  std::vector<Buffer> buffers;
  const void *hidden = nullptr;
  WholeWeights weights{};

  static Result<OnDevice> upload(Device &device, const Case &c) {
    OnDevice on;
    Status status;
    const auto put = [&](const auto &values) -> CUdeviceptr {
      Result<Buffer> buffer = device.uploaded(values);
      if (!buffer) {
        status = buffer.status();
        return 0;
      }
      on.buffers.push_back(std::move(*buffer));
      return on.buffers.back().address();
    };
    const auto elements = [&](const auto &values) { return reinterpret_cast<const void *>(put(values)); };
    const auto floats = [&](const auto &values) { return reinterpret_cast<const float *>(put(values)); };
    on.hidden = elements(c.inputs.hidden);
    const HostWeights &w = c.weights;
    const int64_t expert = int64_t{c.inputs.shape.intermediate} * c.inputs.shape.hidden;
    // In one buffer, so that up lies behind gate, as fitted tiles want it.
    std::vector<uint16_t> gateThenUp = c.inputs.gate;
    gateThenUp.insert(gateThenUp.end(), c.inputs.up.begin(), c.inputs.up.end());
    const void *gate = elements(gateThenUp);
    const void *up = static_cast<const uint16_t *>(gate) + c.inputs.gate.size();
    on.weights = {.experts = {gate, up, elements(c.inputs.down), expert},
                  .router = elements(w.routerPlanes),
                  .sharedRoute = elements(w.sharedRoutePlanes),
                  .routerBias = floats(w.routerBias),
                  .correctionBias = floats(w.correctionBias),
                  .sharedGate = elements(w.sharedGate),
                  .sharedUp = elements(w.sharedUp),
                  .sharedDown = elements(w.sharedDown)};
    MOEC_TRY(status);
    return on;
  }
};

/// Logits against float64, and the same bits from every tile.
Status checkRouter(Device &device, Bundle &bundle, const Case &c, const OnDevice &on, WholeLayer &layer,
                   std::vector<float> &logits) {
  const std::vector<double> weights(c.weights.router.begin(), c.weights.router.end());
  std::vector<double> expected = referenceLogits(c.inputs, weights);
  const uint32_t E = c.inputs.shape.experts, stride = layer.logitStride();
  for (size_t i = 0; c.spec.routerBias && i < expected.size(); ++i)
    expected[i] += i % stride < E ? c.weights.routerBias[i % stride] : 0.0f;
  const Element element = c.inputs.bf16 ? Element::BF16 : Element::F16;
  std::vector<float> first;
  for (const RouterGemmConfig &config : shippedRouterGemms(element, "sm_90a")) {
    MOEC_TRY(layer.useRouter(bundle, config));
    MOEC_TRY(device.fill(layer.logits, 0xff));
    MOEC_TRY(layer.router(on.hidden));
    Result<std::vector<float>> got = device.downloaded<float>(layer.logits, expected.size());
    MOEC_TRY(got.status());
    // Logits are of size 1 to 10; 264 f32 additions, in tensor cores, which cut bits off instead of rounding.
    for (size_t i = 0; i < expected.size(); ++i)
      if (!(std::abs((*got)[i] - expected[i]) <= 5e-5))
        return makeError(Code::VerificationMismatch, "{}: logit {} of token {} is {}, expected {}",
                         shippedRouterLogits(config).name, i % stride, i / stride, (*got)[i], expected[i]);
    if (first.empty())
      first = *got;
    else if (first != *got)
      return makeError(Code::VerificationMismatch, "{} gives other bits", shippedRouterLogits(config).name);
  }
  logits = first;
  return layer.useRouter(bundle, routerGemmFor(element, c.inputs.shape.experts, "sm_90a", c.inputs.shape.tokens));
}

/// The device's routing against the reference's of the same logits. The layer's inputs then take it over.
Status checkRoute(Device &device, const std::vector<float> &logits, WholeLayer &layer, Case &c) {
  const auto [T, H, I, E, K] = c.inputs.shape;
  MOEC_TRY(device.fill(layer.numNonFinite, 0));
  MOEC_TRY(layer.route());
  Result<std::vector<int32_t>> ids = device.downloaded<int32_t>(layer.ids, size_t{T} * K);
  MOEC_TRY(ids.status());
  Result<std::vector<float>> weights = device.downloaded<float>(layer.pairWeights, size_t{T} * K);
  MOEC_TRY(weights.status());
  for (uint32_t token = 0; token < T; ++token) {
    const ReferenceRoute expected = referenceRoute(c.spec.route, &logits[size_t{token} * layer.logitStride()],
                                                   c.weights.correctionBias.data(), c.spec.epsilon, c.spec.scale);
    if (expected.margin < 1e-6)
      continue;
    for (uint32_t k = 0; k < K; ++k) {
      const size_t at = size_t{token} * K + k;
      if ((*ids)[at] != expected.ids[k] ||
          !(std::abs((*weights)[at] - expected.weights[k]) <= 2e-5 * std::max(1e-3, expected.weights[k])))
        return makeError(Code::VerificationMismatch, "token {} choice {}: expert {} at {}, expected {} at {}", token, k,
                         (*ids)[at], (*weights)[at], expected.ids[k], expected.weights[k]);
    }
  }
  c.inputs.ids = *ids;
  c.inputs.weights = *weights;
  return {};
}

std::vector<double> expectedOutput(const Case &c, const std::vector<float> &logits, uint32_t stride) {
  ReferenceLayer reference = referenceLayer(c.inputs, referenceSlots(c.inputs.ids, c.inputs.shape.experts));
  if (c.spec.sharedIntermediate > 0) {
    std::vector<double> gate(c.inputs.shape.tokens, 1.0);
    for (size_t token = 0; c.spec.sharedGate && token < gate.size(); ++token)
      gate[token] = 1 / (1 + std::exp(-static_cast<double>(logits[token * stride + c.inputs.shape.experts])));
    addReferenceShared(c.inputs, c.weights.sharedGate, c.weights.sharedUp, c.weights.sharedDown, gate,
                       reference.output);
  }
  return reference.output;
}

struct Verifier {
  Device &device;
  Bundle &bundle;
  Case c;
  OnDevice on;
  LayerBuffers buffers;
  std::vector<float> logits;
  std::vector<double> expected; // output; empty before the first choice has routed
  std::vector<uint16_t> output; // of the first choice
  double worst = 0;

  /// One choice of tiles; the second run overlaps launches where the device can, and must give the same bits.
  Status run(const LayerChoice &choice) {
    Result<WholeLayer> layer = WholeLayer::create(device, bundle, c.inputs.shape, c.spec, choice, on.weights, buffers);
    MOEC_TRY(layer.status());
    if (expected.empty()) {
      MOEC_TRY(checkRouter(device, bundle, c, on, *layer, logits));
      MOEC_TRY(checkRoute(device, logits, *layer, c));
      expected = expectedOutput(c, logits, layer->logitStride());
    }
    std::vector<uint16_t> first;
    for (bool overlap : {false, true}) {
      layer->setOverlap(overlap && device.computeCapability() >= 90);
      for (const Buffer *buffer : {&buffers.activated, &buffers.expertOutput, &buffers.output, &layer->logits,
                                   &layer->ids, &layer->pairWeights, &layer->sharedActivated, &layer->sharedOutput})
        MOEC_TRY(device.fill(*buffer, 0xff));
      MOEC_TRY(layer->forward(on.hidden));
      Result<std::vector<uint16_t>> got = device.downloaded<uint16_t>(buffers.output, expected.size());
      MOEC_TRY(got.status());
      const double error = worstError(*got, expected, c.inputs.bf16);
      worst = std::max(worst, error);
      // Five roundings: of both activations, of the experts' and the shared outputs, and of the sum; see Verify.cpp.
      if (!(error <= 5.0 / (c.inputs.bf16 ? 256 : 2048)))
        return makeError(Code::VerificationMismatch, "{}: output is {:.2e} off", choice.name(), error);
      if (!first.empty() && first != *got)
        return makeError(Code::VerificationMismatch, "{}: two runs differ", choice.name());
      first = *got;
    }
    // All tiles of both families add in one order (docs/gpu-facts.md).
    if (!output.empty() && first != output)
      return makeError(Code::VerificationMismatch, "{}: other bits than the tiles before", choice.name());
    output = first;
    return {};
  }
};

Status verifyCase(Device &device, Bundle &bundle, Case c, const std::vector<std::string> &kernels,
                  std::string &report) {
  const Element element = c.inputs.bf16 ? Element::BF16 : Element::F16;
  Result<OnDevice> on = OnDevice::upload(device, c);
  MOEC_TRY(on.status());
  Result<LayerBuffers> buffers = LayerBuffers::allocate(device, c.inputs.shape);
  MOEC_TRY(buffers.status());
  Verifier verifier{device, bundle, std::move(c), std::move(*on), std::move(*buffers), {}, {}, {}, 0};
  std::vector<LayerChoice> choices = choicesOn(device, element);
  std::erase_if(choices, [&](const LayerChoice &choice) { return !isWanted(kernels, choice); });
  if (choices.empty())
    return makeError(Code::InvalidArgument, "no choice of tiles has a name with one of the parts in --kernels");
  for (const LayerChoice &choice : choices)
    MOEC_TRY(verifier.run(choice));
  report = fmt::format("error {:.1e}, the same bits from {} choices of tiles", verifier.worst, choices.size());
  return {};
}

} // namespace

Status verifyWholeLayers(Device &device, Bundle &bundle, const VerifyOptions &options) {
  uint32_t failed = 0, passed = 0;
  for (const RouteConfig &route : shippedRouters())
    for (bool bf16 : {true, false})
      for (uint32_t tokens : {1u, 37u, 150u}) {
        if (options.quick && (!bf16 || tokens > 37))
          continue;
        std::string report;
        const Status status = verifyCase(device, bundle, makeCase(route, tokens, bf16), options.kernels, report);
        status.ok() ? ++passed : ++failed;
        fmt::print("{} whole layer, {} {} tokens {}: {}\n", status.ok() ? "ok  " : "FAIL", shippedRoute(route).name,
                   tokens, bf16 ? "bf16" : "f16", status.ok() ? report : status.message());
        if (status.code() == Code::Failure)
          return status; // a device error sticks
      }
  fmt::print("{} whole layers passed, {} failed\n", passed, failed);
  return failed == 0 ? Status() : makeError(Code::VerificationMismatch, "{} whole layers failed", failed);
}

} // namespace moec::bench
