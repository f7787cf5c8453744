// Times of layers of e4m3 weights by themselves, taken as measureLayers takes those of bf16 ones, and what rivals need
// to run on the same.
#include "tools/bench/gpu/Fp8Inputs.h"
#include "tools/bench/gpu/Layer.h"
#include "tools/bench/gpu/MeasureFp8.h"

#include <algorithm>
#include <fstream>
#include <optional>

namespace moec::bench {
namespace {

/// A model's tensors and the device's rate.
struct Given {
  Fp8Tensors tensors;
  Buffer hidden;
  double bytesPerSecond = 0;

  static Result<Given> make(Device &device, const ModelShape &model, const MeasureOptions &options) {
    Given given;
    Result<Buffer> hidden = makeHidden(device, model, options);
    MOEC_TRY(hidden.status());
    given.hidden = std::move(*hidden);
    Result<Buffer> copied = device.allocate(size_t{1} << 30);
    MOEC_TRY(copied.status());
    Result<double> rate = copyRate(device, *copied);
    MOEC_TRY(rate.status());
    given.bytesPerSecond = *rate;
    Result<Fp8Tensors> tensors = Fp8Tensors::make(device, model);
    MOEC_TRY(tensors.status());
    given.tensors = std::move(*tensors);
    return given;
  }
};

class AloneCell {
public:
  AloneCell(Device &device, Bundle &bundle, const Given &given, const Problem &problem, const MeasureOptions &options)
      : device(device), bundle(bundle), given(given), p(problem), options(options), inputs(problem, given.hidden) {}

  /// A line for each choice.
  Status run(std::ofstream &json) {
    Result<LayerBuffers> allocated = LayerBuffers::allocate(device, p.shape);
    MOEC_TRY(allocated.status());
    buffers = std::move(*allocated);
    Result<Fp8Buffers> rows = Fp8Buffers::allocate(device, p.shape);
    MOEC_TRY(rows.status());
    quantised = std::move(*rows);
    std::optional<Fp8Choice> best;
    double least = 0;
    for (const Fp8Choice &choice : fp8ChoicesFor(p, options)) {
      Result<double> time = measure(choice);
      if (!time)
        return time.status().withContext("{}", choice.name());
      report(choice, *time, json);
      if (!best || *time < least) {
        best = choice;
        least = *time;
      }
    }
    if (!best)
      return makeError(Code::InvalidArgument, "--kernels leaves no tile");
    return options.inputFolder.empty() ? Status() : writeOutput(*best);
  }

private:
  Result<Fp8Layer> layer(const Fp8Choice &choice) {
    Result<Fp8Layer> made = Fp8Layer::create(device, bundle, p.shape, choice.combiningFor(p.shape),
                                             given.tensors.weights(), buffers, quantised);
    if (made) {
      made->setOverlap(options.overlap);
      made->setAlwaysDispatch(options.alwaysDispatch);
      made->setClusters(options.clusters);
      made->setDownFew(options.downFew);
      made->setGateUpFew(options.gateUpFew);
    }
    return made;
  }

  Result<double> measure(const Fp8Choice &choice) {
    Result<Fp8Layer> made = layer(choice);
    MOEC_TRY(made.status());
    return inputs.time(device, *made, options);
  }

  Status writeOutput(const Fp8Choice &choice) {
    Result<Fp8Layer> made = layer(choice);
    MOEC_TRY(made.status());
    return inputs.writeOutput(device, *made, buffers.output, options.inputFolder);
  }

  void report(const Fp8Choice &choice, double microseconds, std::ofstream &json) const {
    const double floor = fp8FloorMicroseconds(p, given.bytesPerSecond, options.matrixTflops * 1e12);
    fmt::print("{:10} {:6} {:4.1f} {:7.1f} {:24} {:9.1f} {:9.1f} {:5.1f}%\n", p.model.name, p.shape.tokens, p.skew,
               p.expertsHit, choice.name(), microseconds, floor, 100 * floor / microseconds);
    if (json.is_open())
      json << measuredLine(p, choice.name(), microseconds, floor) << std::flush;
  }

  Device &device;
  Bundle &bundle;
  const Given &given;
  const Problem &p;
  const MeasureOptions &options;
  RoutedInputs inputs;
  LayerBuffers buffers;
  Fp8Buffers quantised;
};

} // namespace

Status measureFp8Alone(Device &device, Bundle &bundle, const MeasureOptions &options) {
  if (device.computeCapability() != 90)
    return makeError(Code::DeviceMissing, "e4m3 layers need a Hopper GPU");
  std::ofstream json;
  if (!options.jsonPath.empty())
    json.open(options.jsonPath, std::ios::app);
  Result<std::vector<ModelShape>> shapes = modelShapes(options.shapes);
  MOEC_TRY(shapes.status());
  if (!options.inputFolder.empty())
    MOEC_TRY(writeFp8Blocks(options.inputFolder));
  fmt::print("{:10} {:>6} {:>4} {:>7} {:24} {:>9} {:>9} {:>6}\n", "shape", "T", "skew", "experts", "tiles", "e4m3 us",
             "floor us", "share");
  for (const ModelShape &model : *shapes) {
    Result<Given> given = Given::make(device, model, options);
    MOEC_TRY(given.status());
    for (double skew : options.skews)
      for (uint32_t tokens : options.tokens) {
        Result<Problem> problem = makeProblem(device, model, tokens, skew, options);
        MOEC_TRY(problem.status());
        if (const Status status = AloneCell(device, bundle, *given, *problem, options).run(json); !status.ok())
          return status.withContext("{} {} tokens", model.name, tokens);
      }
  }
  return {};
}

} // namespace moec::bench
