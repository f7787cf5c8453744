// Every kernel family against the float64 reference, on small odd shapes.
#pragma once

#include "tools/bench/gpu/Bundle.h"
#include "tools/bench/gpu/Driver.h"
#include "tools/bench/gpu/Layer.h"

namespace moec::bench {

struct VerifyOptions {
  bool quick = false;               // one element and the odd shapes alone: for runs under compute-sanitizer
  std::vector<std::string> kernels; // parts of names, of which a choice must have one; empty: all
};

/// Prints a line a check; VerificationMismatch with the number of failed ones.
Status verifyRouting(Device &device, Bundle &bundle, const VerifyOptions &options);
/// Whole layers of every family: router, shared experts and all.
Status verifyWholeLayers(Device &device, Bundle &bundle, const VerifyOptions &options);
Status verifyLayers(Device &device, Bundle &bundle, const VerifyOptions &options);
/// Layers of e4m3 weights.
Status verifyFp8Layers(Device &device, Bundle &bundle, const VerifyOptions &options);

/// Largest |got - expected| / (|expected| + rms of expected); NaN gives infinity.
double worstError(const std::vector<uint16_t> &got, const std::vector<double> &expected, bool bf16);
/// The tile choices of the device's families.
std::vector<LayerChoice> choicesOn(const Device &device, Element element);

} // namespace moec::bench
