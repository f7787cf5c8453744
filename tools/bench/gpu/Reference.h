// The layer in float64 on the host: what the kernels are compared with.
#pragma once

#include "compiler/kernels/KernelAbi.h"

#include <cstdint>
#include <vector>

namespace moec::bench {

/// One layer's sizes.
struct Shape {
  uint32_t tokens, hidden, intermediate, experts, topK;
};

/// Inputs as the device gets them.
struct LayerInputs {
  Shape shape;
  bool bf16;
  std::vector<uint16_t> hidden; // [T, H]
  std::vector<uint16_t> gate;   // [E, I, H]
  std::vector<uint16_t> up;     // [E, I, H]
  std::vector<uint16_t> down;   // [E, H, I]
  std::vector<int32_t> ids;     // [T, K]; -1: padding
  std::vector<float> weights;   // [T, K]
  bool weightOnInput = false;   // weights multiply what an expert takes in
};

/// Where dispatch must put each pair: an expert's pairs follow each other in token order.
struct ReferenceSlots {
  std::vector<int32_t> expertBegin; // [E + 1]
  std::vector<int32_t> slotPair;    // [numSlots]
  std::vector<int32_t> slotOfPair;  // [T * K]
};
ReferenceSlots referenceSlots(const std::vector<int32_t> &ids, uint32_t experts);

/// What dispatch must leave of the tiles of experts with `rows` [X], the first of which have slots `firstSlots` [X]: in
/// the planned order (empty: 0 .. X-1), or, where they mix, experts with several tiles before the others.
struct ReferenceTiles {
  std::vector<TokenTile> tiles;
  TileHead head{};
};
ReferenceTiles referenceTiles(const std::vector<int32_t> &rows, const std::vector<int32_t> &firstSlots,
                              uint32_t tileTokens, uint32_t mixRows, const std::vector<int32_t> &planned = {});

struct ReferenceLayer {
  std::vector<double> activated; // [numSlots, I]
  std::vector<double> output;    // [T, H]
};
ReferenceLayer referenceLayer(const LayerInputs &inputs, const ReferenceSlots &slots);

/// Logits [T, rows] of weights [rows, H] given in float64.
std::vector<double> referenceLogits(const LayerInputs &inputs, const std::vector<double> &weights);

/// Adds gate[t] * shared expert(hidden[t]) to `output` [T, H]; weights [Is, H], [Is, H], [H, Is]; gate [T].
void addReferenceShared(const LayerInputs &inputs, const std::vector<uint16_t> &gateWeight,
                        const std::vector<uint16_t> &upWeight, const std::vector<uint16_t> &downWeight,
                        const std::vector<double> &gate, std::vector<double> &output);

/// One token's routing as runtime/device/cpu/Route.h describes it: ids, best first, and weights.
struct ReferenceRoute {
  std::vector<int32_t> ids;
  std::vector<double> weights;
  double margin; // the closest of its choices: below an f32's precision it may go either way
};
ReferenceRoute referenceRoute(const RouteConfig &config, const float *logits, const float *correction, double epsilon,
                              double scale);

} // namespace moec::bench
