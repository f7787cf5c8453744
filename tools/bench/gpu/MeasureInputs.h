// What measurements run on, on the device.
#pragma once

#include "tools/bench/gpu/Inputs.h"
#include "tools/bench/gpu/Measure.h"
#include "tools/bench/gpu/Reference.h"

namespace moec::bench {

/// Repeats `block` over a buffer.
Status fillWith(Device &device, const Buffer &buffer, const void *block, size_t bytes);
/// Fills a buffer with a tensor of these elements (Inputs.h).
Status fillWith(Device &device, const Buffer &buffer, InputTensor tensor);

/// Bytes a second of a large copy, read and written; the buffer's second half is what is written to.
Result<double> copyRate(Device &device, const Buffer &buffer);

/// One shape, batch size and routing.
struct Problem {
  ModelShape model;
  Shape shape;
  double skew;
  uint32_t routings;
  double expertsHit; // mean over the routings
  Buffer ids, weights;
};

/// Leaves its routings in options.inputFolder, where there is one.
Result<Problem> makeProblem(Device &device, const ModelShape &model, uint32_t tokens, double skew,
                            const MeasureOptions &options);

} // namespace moec::bench
