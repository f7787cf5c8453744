// What measurements run on, on the device.
#pragma once

#include "tools/bench/gpu/Inputs.h"
#include "tools/bench/gpu/Measure.h"
#include "tools/bench/gpu/Reference.h"

#include "compiler/core/Median.h"

#include <chrono>
#include <thread>

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

/// The layer cannot be quicker than its arithmetic or its traffic, with the experts really hit. Microseconds.
double floorMicroseconds(const Problem &p, double bytesPerSecond, double flops);
/// The same of e4m3 weights with block scales: products at twice the rate of bf16's, `flops`.
double fp8FloorMicroseconds(const Problem &p, double bytesPerSecond, double flops);

/// A measurement as a line of JSON.
std::string measuredLine(const Problem &p, const std::string &kernels, double microseconds, double floor);

/// A problem's routings, each with its own tokens, as arguments of a layer. Keeps references to what it is given.
class RoutedInputs {
public:
  /// hidden [routings, T, H]
  RoutedInputs(const Problem &problem, const Buffer &hidden) : p(problem), hidden(hidden) {}

  const void *tokens(uint32_t routing) const {
    return hidden.as<void>(size_t{routing} * p.shape.tokens * p.shape.hidden * 2);
  }
  const int32_t *ids(uint32_t routing) const { return p.ids.as<int32_t>(size_t{routing} * pairs() * 4); }
  const float *weights(uint32_t routing) const { return p.weights.as<float>(size_t{routing} * pairs() * 4); }

  /// A graph of a layer for each routing.
  template <class Layer> Result<Graph> record(Device &device, Layer &layer) const {
    return device.record([&]() -> Status {
      for (uint32_t i = 0; i < p.routings; ++i)
        MOEC_TRY(layer.forward(tokens(i), ids(i), weights(i)));
      return {};
    });
  }

  /// Median microseconds of one layer, after a rest and a replay that does not count.
  template <class Layer> Result<double> time(Device &device, Layer &layer, const MeasureOptions &options) const {
    Result<Graph> graph = record(device, layer);
    MOEC_TRY(graph.status());
    std::this_thread::sleep_for(std::chrono::milliseconds(options.restMs));
    MOEC_TRY(graph->launch());
    Result<std::vector<double>> times = device.time(options.repeats, [&] { return graph->launch(); });
    MOEC_TRY(times.status());
    return median(*times) / p.routings;
  }

  /// Writes what the layer leaves in `output` for the first routing, [T, H] bf16, where rivals look for it.
  template <class Layer>
  Status writeOutput(Device &device, Layer &layer, const Buffer &output, const std::string &folder) const {
    MOEC_TRY(layer.forward(tokens(0), ids(0), weights(0)));
    MOEC_TRY(device.synchronise());
    Result<std::vector<uint16_t>> values = device.downloaded<uint16_t>(output, size_t{p.shape.tokens} * p.shape.hidden);
    MOEC_TRY(values.status());
    return writeValues(problemPath(folder, p.model, p.shape.tokens, p.skew) + ".bf16", *values);
  }

private:
  size_t pairs() const { return size_t{p.shape.tokens} * p.shape.topK; }

  const Problem &p;
  const Buffer &hidden;
};

} // namespace moec::bench
