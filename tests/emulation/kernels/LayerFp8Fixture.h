// A small layer of e4m3 weights whose kernels are emulated: its inputs, the configs of the kernels around its products,
// and what must come out.
#pragma once

#include "compiler/kernels/Fp8Abi.h"
#include "tests/emulation/kernels/CompareRows.h"
#include "tests/emulation/kernels/JoinedSlots.h"
#include "tools/bench/gpu/Fp8Reference.h"
#include "tools/bench/gpu/Routing.h"

#include <cmath>
#include <fmt/format.h>
#include <string>
#include <vector>

namespace moec::emulation {

// One token has a NaN in its hidden state, and every fifth pair is padding.
inline constexpr uint32_t T = 21, H = 272, I = 144, Is = 40, E = 8, K = 2, nanToken = 4, stride = 44;
inline constexpr DispatchConfig dispatchConfig{.experts = E, .threads = 64, .pairsPerBlock = 64},
    joinedDispatchConfig{.experts = E, .threads = 64, .pairsPerBlock = 64, .joined = true};
inline constexpr QuantiseConfig quantiseConfig{.element = Element::BF16, .threads = 64},
    joinedQuantiseConfig{.element = Element::BF16, .threads = 256, .joined = true}; // as shipped
inline constexpr CombineConfig combineConfig{.element = Element::BF16, .topK = K, .threads = 64};

/// What a layer's shared expert is made of.
enum class SharedKind { None, TwoByte, Joined };

struct LayerFp8Inputs {
  std::vector<uint16_t> hidden;
  std::vector<int32_t> ids;
  std::vector<float> pairWeights;
  bench::Fp8Weights gate, up, down;
  bench::Fp8Weights joinedGate, joinedUp, joinedDown;     // with one more expert, of the same size, before them
  std::vector<uint16_t> sharedGate, sharedUp, sharedDown; // of two-byte elements, [Is, H], [Is, H], [H, Is]
};

inline bench::Fp8Weights joined(bench::Fp8Weights first, const bench::Fp8Weights &others) {
  first.elements.insert(first.elements.end(), others.elements.begin(), others.elements.end());
  first.scales.insert(first.scales.end(), others.scales.begin(), others.scales.end());
  return first;
}

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
    in.joinedGate = joined(bench::drawFp8Weights(1, I, H, 1 / std::sqrt(H), random), in.gate);
    in.joinedUp = joined(bench::drawFp8Weights(1, I, H, 1 / std::sqrt(H), random), in.up);
    in.joinedDown = joined(bench::drawFp8Weights(1, H, I, 1 / std::sqrt(I), random), in.down);
    return in;
  }();
  return made;
}

/// What a layer has left between its products, [T * K, I] (joined: [T * (K + 1), I]) by slot: rounded to bf16, or
/// quantised by gate-up itself.
struct MiddleRows {
  const uint16_t *rounded = nullptr;
  const uint8_t *quantised = nullptr;
  const float *scales = nullptr; // [ceil(I / 128), scaleStride]
  size_t scaleStride = 0;

  /// As down takes them, if they are near those expected; else `wrong` says what is not.
  bench::Fp8Rows checked(const std::vector<double> &expected, std::string &wrong) const {
    if (rounded) {
      wrong = compareRows("activated", expected, rounded, 1.02 / 256);
      // From here on with what the layer itself has rounded: where a rounding ends may depend on an f32's last place.
      return bench::quantiseRows({rounded, rounded + expected.size()}, I, true);
    }
    const size_t blocks = (I + 127) / 128;
    const bench::Fp8Rows rows{
        I, scaleStride, {quantised, quantised + expected.size()}, {scales, scales + blocks * scaleStride}};
    const auto value = [&](size_t i) { return rows.at(i / I, static_cast<uint32_t>(i % I)); };
    wrong = compareRows("quantised", expected, value, 0.07); // three bits after the first: a 16th at most
    return rows;
  }
};

/// Empty, or what is wrong with a layer's rows between the products and its output.
inline std::string checkLayer(const MiddleRows &middleRows, const uint16_t *got, SharedKind shared = SharedKind::None) {
  const LayerFp8Inputs &in = inputs();
  const bool isJoined = shared == SharedKind::Joined;
  const bench::ReferenceSlots routed = bench::referenceSlots(in.ids, E),
                              slots = isJoined ? joinedSlots(routed, T, K) : routed;
  const bench::Fp8Weights &gate = isJoined ? in.joinedGate : in.gate, &up = isJoined ? in.joinedUp : in.up,
                          &down = isJoined ? in.joinedDown : in.down;
  const bench::Fp8Rows rows = bench::gatherRows(bench::quantiseRows(in.hidden, H, true), slots.slotPair, K);
  const std::vector<double> activated = bench::referenceFp8Activated(rows, gate, up, slots.expertBegin);
  std::string wrongRows;
  const bench::Fp8Rows middle = middleRows.checked(activated, wrongRows);
  if (!wrongRows.empty())
    return wrongRows;
  std::vector<double> output = bench::referenceFp8Combined(middle, down, slots, in.pairWeights, K);
  if (isJoined) { // whose rows come first, token by token
    const std::vector<double> products = bench::referenceFp8Product(middle, down, slots.expertBegin);
    for (size_t i = 0; i < output.size(); ++i)
      output[i] += products[i];
  }
  if (shared == SharedKind::TwoByte) {
    bench::LayerInputs layer;
    layer.shape = {T, H, I, E, K};
    layer.bf16 = true;
    layer.hidden = in.hidden;
    bench::addReferenceShared(layer, in.sharedGate, in.sharedUp, in.sharedDown, std::vector<double>(T, 1.0), output);
  }
  if (const std::string wrong = compareRows("output", output, got, (shared == SharedKind::None ? 3.0 : 4.0) / 256);
      !wrong.empty())
    return wrong;
  for (uint32_t i = 0; i < T * H; ++i)
    if (std::isnan(output[i]) != (i / H == nanToken))
      return "the test's own token of NaN is not where it should be";
  return "";
}

} // namespace moec::emulation
