// A small layer whose kernels are emulated: its inputs, the configs of the kernels around its products, and what must
// come out.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "tools/bench/gpu/Reference.h"
#include "tools/bench/gpu/Routing.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <string>
#include <vector>

namespace moec::emulation {

// One token has a hidden state of NaN: none of its logits is finite, and its output stays its own.
inline constexpr uint32_t T = 21, H = 136, I = 72, E = 8, K = 2, nanToken = 4;
inline constexpr RouterGemmConfig routerConfig{.element = Element::BF16, .tileTokens = 16, .tileExperts = 8};
inline constexpr RouteConfig routeConfig{.experts = E,
                                         .topK = K,
                                         .before = RouteScoring::Softmax,
                                         .after = RouteScoring::None,
                                         .correctionBias = false,
                                         .renormalise = true,
                                         .groups = 1,
                                         .groupsPicked = 1,
                                         .groupTop = 1,
                                         .threads = 64};
inline constexpr DispatchConfig dispatchConfig{.experts = E, .threads = 64, .pairsPerBlock = 64},
    joinedDispatchConfig{.experts = E, .threads = 64, .pairsPerBlock = 64, .joined = true};
inline constexpr CombineConfig combineConfig{.element = Element::BF16, .topK = K, .threads = 64};

struct LayerTestInputs {
  bench::LayerInputs layer;
  std::vector<uint16_t> router;
  std::vector<uint16_t> gateThenUp; // one allocation, as a session's
  // A shared expert of the routed ones' size, scaled by the sigmoid of a logit; and all weights with it before them.
  std::vector<uint16_t> sharedGate, sharedUp, sharedDown, sharedRouter;
  std::vector<uint16_t> joinedGateThenUp, joinedDown;
};

inline const LayerTestInputs &inputs() {
  static const LayerTestInputs made = [] {
    std::mt19937_64 random(17);
    const auto draw = [&](size_t count, double scale) { return bench::drawElements(count, scale, true, random); };
    LayerTestInputs in;
    in.layer.shape = {T, H, I, E, K};
    in.layer.bf16 = true;
    in.layer.hidden = draw(T * H, 1);
    std::fill_n(in.layer.hidden.begin() + nanToken * H, H, uint16_t{0x7fff});
    in.layer.gate = draw(E * I * H, 1 / std::sqrt(H));
    in.layer.up = draw(E * I * H, 1 / std::sqrt(H));
    in.gateThenUp = in.layer.gate;
    in.gateThenUp.insert(in.gateThenUp.end(), in.layer.up.begin(), in.layer.up.end());
    in.layer.down = draw(E * H * I, 1 / std::sqrt(I));
    in.router = draw(E * H, 1 / std::sqrt(H));
    in.sharedGate = draw(I * H, 1 / std::sqrt(H));
    in.sharedUp = draw(I * H, 1 / std::sqrt(H));
    in.sharedDown = draw(H * I, 1 / std::sqrt(I));
    in.sharedRouter = draw(H, 1 / std::sqrt(H));
    for (const auto *part : {&in.sharedGate, &in.layer.gate, &in.sharedUp, &in.layer.up})
      in.joinedGateThenUp.insert(in.joinedGateThenUp.end(), part->begin(), part->end());
    in.joinedDown = in.sharedDown;
    in.joinedDown.insert(in.joinedDown.end(), in.layer.down.begin(), in.layer.down.end());
    return in;
  }();
  return made;
}

/// The choices are checked against the logits, the output against the choices. `hasShared`: with the shared expert, by
/// the logits behind the routed experts'. Empty, or what is wrong.
inline std::string checkLayer(const float *logits, uint32_t logitStride, const int32_t *ids, const float *weights,
                              const uint16_t *output, bool weightOnInput = false, bool hasShared = false) {
  bench::LayerInputs layer = inputs().layer;
  layer.weightOnInput = weightOnInput;
  layer.ids.assign(ids, ids + T * K);
  layer.weights.assign(weights, weights + T * K);
  for (uint32_t t = 0; t < T; ++t) {
    const bench::ReferenceRoute expected = bench::referenceRoute(routeConfig, logits + t * logitStride, nullptr, 0, 1);
    for (uint32_t k = 0; k < K; ++k)
      if (layer.ids[t * K + k] != expected.ids[k])
        return fmt::format("token {} goes to expert {}, expected {}", t, layer.ids[t * K + k], expected.ids[k]);
  }
  std::fill_n(layer.hidden.begin() + nanToken * H, H, uint16_t{0}); // the reference is not asked about NaN
  bench::ReferenceLayer reference = bench::referenceLayer(layer, bench::referenceSlots(layer.ids, E));
  if (hasShared) {
    std::vector<double> gate(T);
    for (uint32_t t = 0; t < T; ++t)
      gate[t] = t == nanToken ? 0 : 1 / (1 + std::exp(-double{logits[t * logitStride + E]}));
    bench::addReferenceShared(layer, inputs().sharedGate, inputs().sharedUp, inputs().sharedDown, gate,
                              reference.output);
  }
  double squares = 0;
  for (double value : reference.output)
    squares += value * value;
  const double rms = std::sqrt(squares / static_cast<double>(reference.output.size()));
  for (uint32_t i = 0; i < T * H; ++i) {
    const float got = bench::elementValue(output[i], true);
    if (i / H == nanToken ? !std::isnan(got)
                          : !(std::abs(got - reference.output[i]) <= 4.0 / 256 * (std::abs(reference.output[i]) + rms)))
      return fmt::format("token {} column {}: {}, expected {}", i / H, i % H, got, reference.output[i]);
  }
  return "";
}

} // namespace moec::emulation
