// Do all kernels sum in one order? Only then may a swap between them be asked to change no bit.
#pragma once

#include "tools/bench/gpu/Bundle.h"

namespace moec::bench {

/// Runs one layer of awkward sums through every choice of every family that the device has, and prints which choices
/// agree bit for bit in the activated rows, in the experts' outputs and in the layer's output.
///
/// Errors: the driver's. Choices that differ are an answer, not an error.
Status compareOrders(Device &device, Bundle &bundle);

} // namespace moec::bench
