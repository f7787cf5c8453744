// A small layer of e4m3 weights whose kernels are emulated: its inputs, the configs of the kernels around its products,
// and what must come out.
#pragma once

#include "compiler/kernels/Fp8Abi.h"
#include "tools/bench/gpu/Fp8Reference.h"
#include "tools/bench/gpu/Routing.h"

#include <cmath>
#include <fmt/format.h>
#include <string>
#include <vector>

namespace moec::emulation {

// One token has a NaN in its hidden state, and every fifth pair is padding.
inline constexpr uint32_t T = 21, H = 272, I = 144, Is = 40, E = 8, K = 2, nanToken = 4, stride = 44;
inline constexpr DispatchConfig dispatchConfig{.experts = E, .threads = 64, .pairsPerBlock = 64};
inline constexpr QuantiseConfig quantiseConfig{.element = Element::BF16, .threads = 64};
inline constexpr CombineConfig combineConfig{.element = Element::BF16, .topK = K, .threads = 64};

struct LayerFp8Inputs {
  std::vector<uint16_t> hidden;
  std::vector<int32_t> ids;
  std::vector<float> pairWeights;
  bench::Fp8Weights gate, up, down;
  std::vector<uint16_t> sharedGate, sharedUp, sharedDown; // of two-byte elements, [Is, H], [Is, H], [H, Is]
};

inline const LayerFp8Inputs &inputs() {
  static const LayerFp8Inputs made = [] {
    std::mt19937_64 random(23);
    LayerFp8Inputs in;
    in.hidden = bench::drawElements(T * H, 1, true, random);
    in.hidden[nanToken * H + 150] = 0x7fc0;
    in.ids = bench::drawIds(T, E, K, 0.5, random);
    for (size_t i = 1; i < in.ids.size(); i += 5)
      in.ids[i] = -1;
    in.pairWeights = bench::drawWeights(T, K, random);
    in.gate = bench::drawFp8Weights(E, I, H, 1 / std::sqrt(H), random);
    in.up = bench::drawFp8Weights(E, I, H, 1 / std::sqrt(H), random);
    in.down = bench::drawFp8Weights(E, H, I, 1 / std::sqrt(I), random);
    in.sharedGate = bench::drawElements(Is * H, 1 / std::sqrt(H), true, random);
    in.sharedUp = bench::drawElements(Is * H, 1 / std::sqrt(H), true, random);
    in.sharedDown = bench::drawElements(H * Is, 1 / std::sqrt(Is), true, random);
    return in;
  }();
  return made;
}

/// NaN is expected of the token that has one, and of no other.
inline std::string compareRows(const char *what, const std::vector<double> &expected, const uint16_t *got,
                               double bound) {
  double squares = 0;
  for (double value : expected)
    squares += std::isnan(value) ? 0 : value * value;
  const double rms = std::sqrt(squares / static_cast<double>(expected.size()));
  for (size_t i = 0; i < expected.size(); ++i) {
    const float value = bench::elementValue(got[i], true);
    if (std::isnan(expected[i]) ? !std::isnan(value)
                                : !(std::abs(value - expected[i]) <= bound * (std::abs(expected[i]) + rms)))
      return fmt::format("{}: element {} is {}, expected {}", what, i, value, expected[i]);
  }
  return "";
}

/// What a layer has left in [T * K, I] by slot, and its output. Empty, or what is wrong.
inline std::string checkLayer(const uint16_t *activatedRows, const uint16_t *got, bool hasShared = false) {
  const LayerFp8Inputs &in = inputs();
  const bench::ReferenceSlots slots = bench::referenceSlots(in.ids, E);
  const bench::Fp8Rows rows = bench::gatherRows(bench::quantiseRows(in.hidden, H, true), slots.slotPair, K);
  const std::vector<double> activated = bench::referenceFp8Activated(rows, in.gate, in.up, slots.expertBegin);
  if (const std::string wrong = compareRows("activated", activated, activatedRows, 1.02 / 256); !wrong.empty())
    return wrong;
  // From here on with what the layer itself has rounded: where a rounding ends may depend on an f32's last place.
  const std::vector<uint16_t> own(activatedRows, activatedRows + activated.size());
  std::vector<double> output =
      bench::referenceFp8Combined(bench::quantiseRows(own, I, true), in.down, slots, in.pairWeights, K);
  if (hasShared) {
    bench::LayerInputs layer;
    layer.shape = {T, H, I, E, K};
    layer.bf16 = true;
    layer.hidden = in.hidden;
    bench::addReferenceShared(layer, in.sharedGate, in.sharedUp, in.sharedDown, std::vector<double>(T, 1.0), output);
  }
  if (const std::string wrong = compareRows("output", output, got, (hasShared ? 4.0 : 3.0) / 256); !wrong.empty())
    return wrong;
  for (uint32_t i = 0; i < T * H; ++i)
    if (std::isnan(output[i]) != (i / H == nanToken))
      return "the test's own token of NaN is not where it should be";
  return "";
}

} // namespace moec::emulation
