// One MoE layer on the device: dispatch, gate-up, down, combine, queued as a runtime would queue them.
#pragma once

#include "compiler/jit/ShippedKernels.h"
#include "tools/bench/gpu/Bundle.h"
#include "tools/bench/gpu/Driver.h"
#include "tools/bench/gpu/Reference.h"

namespace moec::bench {

/// Which kernels a layer runs.
struct LayerChoice {
  GemmFamily family;
  GemmConfig gateUp, down; // of the same tileTokens
  std::string name() const;
};

/// All choices of a family for an element.
std::vector<LayerChoice> layerChoices(GemmFamily family, Element element);

/// Whether a choice's name has one of `parts`, or is one that begins with '=', or there are none.
bool isWanted(const std::vector<std::string> &parts, const LayerChoice &choice);

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
  /// Fills in what the weights say, and queues the product. `numSlots`: rows of args.output, of which some may be unused.
  Status launch(Device &device, GroupedGemmArgs args, uint32_t numSlots, bool overlap);

private:
  GemmFamily family{};
  GemmConfig config{};
  Weights weights{};
  Kernel kernel;
  CUtensorMap firstMap{}, secondMap{}; // of the weights; fitted: gate and up in one
  Buffer tileCounter;                  // fitted

  Status makeMaps(Device &device);
  Status launchFitted(Device &device, GroupedGemmArgs &args, uint32_t numSlots, bool overlap);
};

/// Loads a kernel of the bundle into `kernel`.
Status loadKernel(Bundle &bundle, const std::string &name, uint32_t sharedBytes, Kernel &kernel);
/// Allocates at least 16 bytes into `buffer`.
Status allocateBuffer(Device &device, size_t bytes, Buffer &buffer);

/// What combine adds besides the experts' outputs; null pointers: nothing.
struct SharedOutput {
  const void *output = nullptr;     // [T, H]
  const float *gateLogit = nullptr; // one every `gateStride` floats
  uint32_t gateStride = 0;
};

/// Buffers between the kernels; enough for `shape`.
class LayerBuffers {
public:
  static Result<LayerBuffers> allocate(Device &device, const Shape &shape);

  Buffer counts, expertBegin, tileBegin, tilePlace, slotPair, slotOfPair, blockCounts, gridBarrier;
  Buffer activated;    // [T * K, I]
  Buffer expertOutput; // [T * K, H]; before down: gate-up's rows, where they are laid out
  Buffer output;       // [T, H]
};

/// How pairs get their slots (dispatch.cuh, dispatchGrid.cuh); the slots are the same.
enum class DispatchForm : uint8_t {
  OneBlock,
  Grid,          // one launch of blocks that wait for each other
  ThreeLaunches, // count, scan, place
};

/// A layer ready to launch. Keeps pointers to what it is given.
class DeviceLayer {
public:
  static Result<DeviceLayer> create(Device &device, Bundle &bundle, const Shape &shape, const LayerChoice &choice,
                                    const LayerWeightsOnDevice &weights, LayerBuffers &buffers);

  /// Whether launches overlap (programmatic dependent launch; sm_90 and up). Off at first; 5 to 10 % at T = 1 on an H200.
  void setOverlap(bool on) { overlap = on; }

  /// At first: one block up to kOneBlockPairs pairs, three launches beyond.
  void setDispatch(DispatchForm form) { dispatchForm = form; }
  /// Where dispatch leaves samples of its counts; nowhere at first.
  void setRing(const CountsRing &ring) { countsRing = ring; }

  /// Queue the steps. ids, pairWeights [T, K] and hidden [T, H] are on the device.
  Status dispatch(const int32_t *ids);
  Status layRows(const void *hidden); // nothing where gate-up gathers its rows
  Status gateUp(const void *hidden);
  Status down();
  Status combine(const float *pairWeights, const SharedOutput &shared = {});
  Status forward(const void *hidden, const int32_t *ids, const float *pairWeights);

  static constexpr uint32_t numSteps = 5; // of the above, without forward

  DeviceLayer(DeviceLayer &&) = default;

private:
  DeviceLayer(Device &device, const Shape &shape, const LayerChoice &choice, LayerBuffers &buffers)
      : device(&device), shape(shape), choice(choice), buffers(&buffers) {}
  Status loadKernels(Bundle &bundle);
  GroupedGemmArgs gemmArgs() const;

  Device *device;
  Shape shape;
  LayerChoice choice;
  LayerBuffers *buffers;
  bool overlap = false;
  DispatchConfig dispatchConfig{};
  CombineConfig combineConfig{};
  DispatchForm dispatchForm{};
  CountsRing countsRing{};
  Kernel oneBlock, grid, count, scan, place, layRowsKernel, combineKernel;
  DeviceGemm gateUpGemm, downGemm;
};

} // namespace moec::bench
