// One MoE layer of e4m3 weights on the device: dispatch, quantise, gate-up, quantise, down, combine.
#pragma once

#include "compiler/core/CudaLaunch.h"
#include "compiler/jit/ShippedFp8.h"
#include "tools/bench/gpu/GateUpFew.h"
#include "tools/bench/gpu/LayerEnds.h"

namespace moec::bench {

/// Tiles of both products, of the same tileTokens.
struct Fp8Choice {
  GemmConfig gateUp, down;
  bool quantisesFew = false; // in their other form, of few tokens (compiler/core/CudaTiles.h)
  std::string name() const;

  /// As LayerChoice's.
  Fp8Choice combiningFor(const Shape &shape) const;
};
std::vector<Fp8Choice> fp8Choices();

/// Where the weights are: of each expert gate [I, H], then up; down [H, I]. Scales of 128x128 blocks likewise.
struct Fp8WeightsOnDevice {
  const uint8_t *gateUp, *down;
  const float *gateUpScales, *downScales;
};

/// What the quantised rows need, beside LayerBuffers.
class Fp8Buffers {
public:
  static Result<Fp8Buffers> allocate(Device &device, const Shape &shape);

  uint32_t scaleStride = 0;
  Buffer tokens, tokenScales;        // [T * K, H] e4m3, [ceil(H / 128), scaleStride]
  Buffer activated, activatedScales; // [T * K, I] e4m3, [ceil(I / 128), scaleStride]
};

/// A layer ready to launch. Keeps pointers to what it is given. H and I are multiples of 16.
class Fp8Layer : public LayerEnds {
public:
  static Result<Fp8Layer> create(Device &device, Bundle &bundle, const Shape &shape, const Fp8Choice &choice,
                                 const Fp8WeightsOnDevice &weights, LayerBuffers &buffers, Fp8Buffers &quantised);

  /// Queue the steps. hidden [T, H] bf16 is on the device.
  Status quantiseTokens(const void *hidden); // nothing where products do it (quantisesFew)
  Status gateUp(const void *hidden);
  Status quantiseActivated(); // nor where gate-up does it (givesQuantised)
  Status down(const float *pairWeights);
  Status forward(const void *hidden, const int32_t *ids, const float *pairWeights);

  bool quantisesOutputs() const { return givesQuantised(gateUpGemm.config); }
  bool quantisesInputs() const { return few.ids && isFew(few) && quantisesFew && shape.tokens <= kFewTokens; }

  /// Whether gateUpFewFp8 runs in place of quantise and gate-up where it can be: in steps of few tokens whose down
  /// quantises its rows itself (gateUpIsFew, compiler/core/CudaTiles.h). On at first.
  void setGateUpFew(bool on) { usesGateUpFew = on; }
  /// Whether it was the last gate-up.
  bool ranGateUpFew() const { return gateUpWasFew; }

  static constexpr uint32_t numSteps = 6; // dispatch, the four, combine

  Fp8Layer(Fp8Layer &&) = default;

private:
  /// A product's kernel and the maps that do not change.
  struct Gemm {
    GemmConfig config{};
    Kernel kernel, quantising;
    CUtensorMap weights{}, tokens{}, output{};
    Buffer tileCounters;
  };
  Fp8Layer(Device &device, const Shape &shape, const Fp8Choice &choice, LayerBuffers &buffers, Fp8Buffers &quantised)
      : LayerEnds(device, shape, choice.gateUp.tileTokens, mixRowsOf(GemmFamily::Fp8, choice.gateUp.tileTokens),
                  Element::BF16, buffers),
        quantised(&quantised), quantisesFew(choice.quantisesFew) {
    findsFewPairs = true;
  }
  Status loadGemm(Bundle &bundle, const GemmConfig &config, const CudaTensor &weights, const Buffer &rows, uint32_t k,
                  const Buffer &output, uint32_t n, Gemm &gemm);
  Status quantise(const QuantiseArgs &args);
  Status launch(Gemm &gemm, Fp8GemmArgs args);
  bool hasFewGateUp() const { return usesGateUpFew && gateUpFew && few.ids && (hasFewDown() || quantisesInputs()); }
  uint32_t numSlots() const { return shape.tokens * shape.topK; }

  Fp8Buffers *quantised;
  bool quantisesFew;
  std::optional<DeviceGateUpFew> gateUpFew; // where the shape is for it
  bool usesGateUpFew = true, gateUpWasFew = false;
  const float *gateUpScales = nullptr, *downScales = nullptr;
  QuantiseConfig quantiseConfig{};
  Kernel quantiseKernel;
  Gemm gateUpGemm, downGemm;
};

} // namespace moec::bench
