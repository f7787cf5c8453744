#include "tools/bench/gpu/Measure.h"

#include "tools/bench/gpu/Layer.h"
#include "tools/bench/gpu/MeasureInputs.h"

#include <algorithm>
#include <fstream>
#include <optional>

namespace moec::bench {
namespace {

/// Weights of a model, and tokens.
struct SharedBuffers {
  Buffer gateUp, down, hidden;
};

/// Tiles far from the rows an expert has cannot win; they are left out to save device time.
bool worthwhile(const Problem &p, const LayerChoice &choice) {
  const double rows = std::max(1.0, p.shape.tokens * p.shape.topK / p.expertsHit);
  const double tile = choice.gateUp.tileTokens;
  if (choice.family == GemmFamily::Fitted)
    return tile > 16 || rows <= 32; // wide ones take few rows as well
  return tile <= std::max(16.0, rows * 6) && (rows <= tile * 12 || tile >= 128);
}

struct Timing {
  LayerChoice choice;
  double microseconds;
};

class Runner {
public:
  Runner(Device &device, Bundle &bundle, SharedBuffers &shared, const Problem &problem, LayerBuffers &buffers,
         const MeasureOptions &options)
      : device(device), bundle(bundle), shared(shared), p(problem), buffers(buffers), options(options),
        inputs(problem, shared.hidden) {}

  Result<DeviceLayer> layer(const LayerChoice &choice) {
    const int64_t expert = int64_t{p.shape.intermediate} * p.shape.hidden;
    Result<DeviceLayer> made =
        DeviceLayer::create(device, bundle, p.shape, choice.combiningFor(p.shape),
                            {shared.gateUp.as<void>(), shared.gateUp.as<void>(static_cast<size_t>(expert) * 2),
                             shared.down.as<void>(), expert * 2},
                            buffers);
    if (made) {
      made->setOverlap(options.overlap && device.computeCapability() >= 90);
      made->setAlwaysDispatch(options.alwaysDispatch);
      made->setClusters(options.clusters);
      made->setDownFew(options.downFew);
    }
    return made;
  }

  /// Median microseconds of one layer.
  Result<double> time(const LayerChoice &choice) {
    Result<DeviceLayer> made = layer(choice);
    MOEC_TRY(made.status());
    return inputs.time(device, *made, options);
  }

  Status writeOutput(const LayerChoice &choice) {
    Result<DeviceLayer> made = layer(choice);
    MOEC_TRY(made.status());
    return inputs.writeOutput(device, *made, buffers.output, options.inputFolder);
  }

  /// Median microseconds of each step by itself, in graphs that repeat that step alone over all routings. All begin
  /// with dispatch, so down and combine are two.
  Result<std::vector<double>> steps(const LayerChoice &choice, uint32_t repeats) {
    Result<DeviceLayer> made = layer(choice);
    MOEC_TRY(made.status());
    made->keepProductsApart();
    std::vector<std::vector<double>> times(DeviceLayer::numSteps);
    for (uint32_t repeat = 0; repeat < repeats; ++repeat)
      for (uint32_t routing = 0; routing < p.routings; ++routing)
        for (uint32_t step = 0; step < DeviceLayer::numSteps; ++step) {
          Result<std::vector<double>> one = device.time(1, [&]() -> Status {
            switch (step) {
            case 0: return made->dispatch(inputs.ids(routing));
            case 1: return made->gateUp(inputs.tokens(routing));
            case 2: return made->down(inputs.weights(routing));
            default: return made->combine(inputs.weights(routing));
            }
          });
          MOEC_TRY(one.status());
          times[step].push_back((*one)[0]);
        }
    std::vector<double> medians;
    for (const std::vector<double> &step : times)
      medians.push_back(median(step));
    return medians;
  }

private:
  Device &device;
  Bundle &bundle;
  SharedBuffers &shared;
  const Problem &p;
  LayerBuffers &buffers;
  const MeasureOptions &options;
  RoutedInputs inputs;
};

class Report {
public:
  explicit Report(const MeasureOptions &options) {
    if (!options.jsonPath.empty())
      json.open(options.jsonPath, std::ios::app);
    fmt::print("{:10} {:>6} {:>4} {:>7} {:32} {:>9} {:>7} {:>9} {:>6}  {}\n", "shape", "T", "skew", "experts",
               "kernels", "us", "TFLOP/s", "floor us", "share", "us of dispatch, gate-up, down, combine");
  }

  void line(const Problem &p, const LayerChoice &choice, double microseconds, double floor,
            const std::vector<double> &steps) {
    const auto [T, H, I, E, K] = p.shape;
    const double tflops = 6.0 * T * K * H * I / microseconds * 1e-6;
    std::string parts;
    for (double step : steps)
      parts += fmt::format(" {:.1f}", step);
    fmt::print("{:10} {:6} {:4.1f} {:7.1f} {:32} {:9.1f} {:7.1f} {:9.1f} {:5.1f}% {}\n", p.model.name, T, p.skew,
               p.expertsHit, choice.name(), microseconds, tflops, floor, 100 * floor / microseconds, parts);
    std::fflush(stdout);
    if (json.is_open())
      json << measuredLine(p, choice.name(), microseconds, floor) << std::flush;
  }

private:
  std::ofstream json;
};

std::vector<LayerChoice> choicesFor(const Device &device, const Problem &p, const MeasureOptions &options) {
  std::vector<LayerChoice> choices;
  for (GemmFamily family : {GemmFamily::Portable, GemmFamily::Hopper, GemmFamily::Fitted})
    if (family == GemmFamily::Portable || device.computeCapability() == 90)
      for (const LayerChoice &choice : layerChoices(family, Element::BF16))
        if (worthwhile(p, choice) && isWanted(options.kernels, choice))
          choices.push_back(choice);
  const Shape &shape = p.shape;
  if (device.computeCapability() != 90 ||
      (options.downFew && downIsFew(shape.tokens, shape.topK, shape.intermediate, shape.hidden))) // whatever down's is
    return choices;
  for (const LayerChoice &choice : mixedChoices(Element::BF16))
    if (worthwhile(p, choice) && isWanted(options.kernels, choice))
      choices.push_back(choice);
  return choices;
}

Status reportSteps(Runner &runner, const Problem &p, const Timing &timing, double floor, Report &report) {
  Result<std::vector<double>> steps = runner.steps(timing.choice, 5);
  MOEC_TRY(steps.status());
  report.line(p, timing.choice, timing.microseconds, floor, *steps);
  return {};
}

/// The best of each family, with its steps.
Status measureProblem(Device &device, Bundle &bundle, SharedBuffers &shared, const Problem &p, double floor,
                      const MeasureOptions &options, Report &report) {
  Result<LayerBuffers> buffers = LayerBuffers::allocate(device, p.shape);
  MOEC_TRY(buffers.status());
  Runner runner(device, bundle, shared, p, *buffers, options);
  const std::vector<LayerChoice> choices = choicesFor(device, p, options);
  std::vector<std::vector<double>> times(choices.size());
  const uint32_t warmUps = options.turns > 1 ? 1 : 0;
  for (uint32_t turn = 0; turn < warmUps + options.turns; ++turn)
    for (size_t i = 0; i < choices.size(); ++i) {
      // Back every second time: where power decides, who comes first has more clock.
      const size_t which = turn % 2 == 0 ? i : choices.size() - 1 - i;
      Result<double> time = runner.time(choices[which]);
      if (!time)
        return time.status().withContext("{} {} tokens, {}", p.model.name, p.shape.tokens, choices[which].name());
      if (turn < warmUps)
        continue;
      if (options.everyChoice)
        report.line(p, choices[which], *time, floor, {});
      times[which].push_back(*time);
    }
  std::optional<Timing> best[3];
  for (size_t i = 0; i < choices.size(); ++i) {
    const double time = median(times[i]);
    if (options.turns > 1)
      MOEC_TRY(reportSteps(runner, p, {choices[i], time}, floor, report));
    std::optional<Timing> &slot = best[static_cast<int>(choices[i].family)];
    if (!slot || time < slot->microseconds)
      slot = Timing{choices[i], time};
  }
  const Timing *fastest = nullptr;
  for (const std::optional<Timing> &timing : best) {
    if (!timing)
      continue;
    if (options.turns == 1)
      MOEC_TRY(reportSteps(runner, p, *timing, floor, report));
    if (!fastest || timing->microseconds < fastest->microseconds)
      fastest = &*timing;
  }
  if (!fastest || options.inputFolder.empty())
    return {};
  return runner.writeOutput(fastest->choice);
}

Result<SharedBuffers> makeShared(Device &device, const ModelShape &model, uint32_t maxTokens) {
  SharedBuffers shared;
  const size_t expert = size_t{model.intermediate} * model.hidden * 2;
  const auto get = [&](Buffer &buffer, size_t bytes, InputTensor tensor) -> Status {
    Result<Buffer> allocated = device.allocate(bytes);
    MOEC_TRY(allocated.status());
    buffer = std::move(*allocated);
    return fillWith(device, buffer, tensor);
  };
  MOEC_TRY(get(shared.gateUp, 2 * expert * model.experts, InputTensor::GateUp));
  MOEC_TRY(get(shared.down, expert * model.experts, InputTensor::Down));
  MOEC_TRY(get(shared.hidden, size_t{std::max(maxTokens, 4096u)} * model.hidden * 2, InputTensor::Hidden));
  return shared;
}

} // namespace

Status measureLayers(Device &device, Bundle &bundle, const MeasureOptions &options) {
  double rate = 0;
  std::optional<Report> report;
  Result<std::vector<ModelShape>> models = modelShapes(options.shapes);
  MOEC_TRY(models.status());
  if (!options.inputFolder.empty())
    MOEC_TRY(writeBlocks(options.inputFolder));
  for (const ModelShape &model : *models) {
    Result<SharedBuffers> shared =
        makeShared(device, model, *std::max_element(options.tokens.begin(), options.tokens.end()));
    MOEC_TRY(shared.status());
    if (rate == 0) {
      Result<double> measured = copyRate(device, shared->gateUp);
      MOEC_TRY(measured.status());
      rate = *measured;
      MOEC_TRY(fillWith(device, shared->gateUp, InputTensor::GateUp)); // which the copy went over
      fmt::print("{}, driver {}, {} multiprocessors, copy {:.2f} TB/s, matrix {:.0f} TFLOP/s (given)\n", device.name(),
                 device.driverVersion(), device.multiprocessors(), rate * 1e-12, options.matrixTflops);
      report.emplace(options);
    }
    for (double skew : options.skews)
      for (uint32_t tokens : options.tokens) {
        Result<Problem> problem = makeProblem(device, model, tokens, skew, options);
        MOEC_TRY(problem.status());
        const double floor = floorMicroseconds(*problem, rate, options.matrixTflops * 1e12);
        MOEC_TRY(measureProblem(device, bundle, *shared, *problem, floor, options, *report));
      }
  }
  return {};
}

} // namespace moec::bench
