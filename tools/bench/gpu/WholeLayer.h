// A whole MoE layer on the device, from hidden states to output: router, experts, shared experts.
#pragma once

#include "tools/bench/gpu/Layer.h"

namespace moec::bench {

/// What a layer has besides its experts.
struct WholeSpec {
  RouteConfig route;
  bool routerBias = false;
  uint32_t routerPlanes = 1;       // 3: an f32 router weight
  uint32_t sharedIntermediate = 0; // 0: no shared expert
  bool sharedGate = false;
  double epsilon = 0, scale = 1;
};

/// Weights on the device; null where the spec has none.
struct WholeWeights {
  LayerWeightsOnDevice experts;
  const void *router;      // [planes, E, H]
  const void *sharedRoute; // [planes, H]
  const float *routerBias, *correctionBias;
  const void *sharedGate, *sharedUp, *sharedDown; // [Is, H], [Is, H], [H, Is]
};

class WholeLayer {
public:
  static Result<WholeLayer> create(Device &device, Bundle &bundle, const Shape &shape, const WholeSpec &spec,
                                   const LayerChoice &choice, const WholeWeights &weights, LayerBuffers &buffers);

  void setOverlap(bool on);
  /// Chooses the tile of the router's product; at first the one for the tokens.
  Status useRouter(Bundle &bundle, const RouterGemmConfig &config);

  /// Queue the steps. Routes and the shared expert first, then the experts.
  Status router(const void *hidden);
  Status route();
  Status shared(const void *hidden);
  Status forward(const void *hidden);

  uint32_t logitStride() const { return shape.experts + spec.sharedGate; }
  Buffer logits; // [T, logitStride]
  Buffer ids, pairWeights;
  Buffer numNonFinite; // [1], not cleared
  Buffer sharedActivated, sharedOutput;

private:
  WholeLayer(Device &device, const Shape &shape, const WholeSpec &spec, const WholeWeights &weights,
             DeviceLayer experts)
      : device(&device), shape(shape), spec(spec), weights(weights), experts(std::move(experts)) {}
  Status allocate();
  Status loadShared(Bundle &bundle, const LayerChoice &choice);

  Device *device;
  Shape shape;
  WholeSpec spec;
  WholeWeights weights;
  DeviceLayer experts;
  bool overlap = false;
  RouterGemmConfig routerConfig{};
  Kernel routerKernel, routeKernel;
  DeviceGemm sharedGateUp, sharedDown;
};

} // namespace moec::bench
