// One MoE layer on the device: dispatch, gate-up, down and, but where down does it, combine, queued as a runtime would.
#pragma once

#include "compiler/core/CudaLaunch.h"
#include "tools/bench/gpu/LayerEnds.h"

#include <optional>

namespace moec::bench {

/// Which kernels a layer runs.
struct LayerChoice {
  GemmFamily family;
  GemmConfig gateUp, down; // of the same tileTokens
  std::string name() const;

  /// With down in the form that combines, where tokens have one expert. Not for layers with a shared output.
  LayerChoice combiningFor(const Shape &shape) const;
};

/// All choices of a family for an element whose products have one tile class.
std::vector<LayerChoice> layerChoices(GemmFamily family, Element element);
/// Those of the fitted family whose down has another class than gate-up, of as many tokens.
std::vector<LayerChoice> mixedChoices(Element element);

/// Whether a choice's name has one of `parts`, or is one that begins with '=', or there are none.
bool isWanted(const std::vector<std::string> &parts, const std::string &name);
inline bool isWanted(const std::vector<std::string> &parts, const LayerChoice &choice) {
  return isWanted(parts, choice.name());
}

/// Where a layer's weights are: gate and up may be one tensor [E, 2I, H] or two [E, I, H], up behind gate in memory.
struct LayerWeightsOnDevice {
  const void *gate, *up, *down;
  int64_t gateUpStride; // elements between experts
};

/// A product as a kernel, with the maps of its weights.
class DeviceGemm {
public:
  /// Gate and up: `first` and `second`; down: `first` alone.
  struct Weights {
    const void *first, *second;
    uint32_t experts, k, n;
    int64_t expertStride;
  };
  static Result<DeviceGemm> load(Device &device, Bundle &bundle, GemmFamily family, const GemmConfig &config,
                                 const Weights &weights);
  /// Fills in what the weights say, and queues the product. `numSlots`: rows of args.output, of which some may be
  /// unused.
  Status launch(Device &device, GroupedGemmArgs args, uint32_t numSlots, bool overlap);

private:
  GemmFamily family{};
  GemmConfig config{};
  Weights weights{};
  Kernel kernel;
  CUtensorMap firstMap{}, secondMap{}; // of the weights; fitted: gate and up in one
  Buffer tileCounters;                 // fitted

  Status makeMaps(Device &device);
  Status launchFitted(Device &device, GroupedGemmArgs &args, uint32_t numSlots, bool overlap);
};

/// A layer ready to launch. Keeps pointers to what it is given.
class DeviceLayer : public LayerEnds {
public:
  static Result<DeviceLayer> create(Device &device, Bundle &bundle, const Shape &shape, const LayerChoice &choice,
                                    const LayerWeightsOnDevice &weights, LayerBuffers &buffers);

  /// Queue the steps. hidden [T, H] is on the device.
  Status gateUp(const void *hidden);
  Status down(const float *pairWeights);
  Status forward(const void *hidden, const int32_t *ids, const float *pairWeights);

  static constexpr uint32_t numSteps = 4; // dispatch, gate-up, down, combine

  DeviceLayer(DeviceLayer &&) = default;

private:
  DeviceLayer(Device &device, const Shape &shape, const LayerChoice &choice, LayerBuffers &buffers)
      : LayerEnds(device, shape, choice.gateUp.tileTokens, mixRowsOf(choice.family, choice.gateUp.tileTokens),
                  choice.down.element, buffers),
        choice(choice) {}
  /// What dispatch says to the products, and they to each other.
  GroupedGemmArgs productArgs() const;

  LayerChoice choice;
  DeviceGemm gateUpGemm, downGemm;
};

} // namespace moec::bench
