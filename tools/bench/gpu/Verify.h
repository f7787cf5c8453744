// Every kernel family against the float64 reference, on small odd shapes.
#pragma once

#include "tools/bench/gpu/Bundle.h"
#include "tools/bench/gpu/Driver.h"

namespace moec::bench {

struct VerifyOptions {
  bool quick = false; // one element and the odd shapes alone: for runs under compute-sanitizer
};

/// Prints a line a check; VerificationMismatch with the number of failed ones.
Status verifyRouting(Device &device, Bundle &bundle, const VerifyOptions &options);
Status verifyLayers(Device &device, Bundle &bundle, const VerifyOptions &options);

} // namespace moec::bench
