// What measurements of layers of e4m3 weights share.
#pragma once

#include "tools/bench/gpu/Fp8Layer.h"
#include "tools/bench/gpu/MeasureInputs.h"

namespace moec::bench {

/// A model's weights and their scales (Fp8Inputs.h).
struct Fp8Tensors {
  Buffer gateUp, down, gateUpScales, downScales;

  /// H and I are multiples of 128.
  static Result<Fp8Tensors> make(Device &device, const ModelShape &model);
  Fp8WeightsOnDevice weights() const {
    return {gateUp.as<uint8_t>(), down.as<uint8_t>(), gateUpScales.as<float>(), downScales.as<float>()};
  }
};

/// Tokens of the largest problem measured.
Result<Buffer> makeHidden(Device &device, const ModelShape &model, const MeasureOptions &options);

/// The choices that may win, of those that options.kernels names.
std::vector<Fp8Choice> fp8ChoicesFor(const Problem &p, const MeasureOptions &options);

} // namespace moec::bench
