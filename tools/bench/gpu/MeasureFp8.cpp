// Times of layers of e4m3 weights beside the same layers of bf16 weights.
#include "tools/bench/gpu/MeasureFp8.h"

#include "tools/bench/gpu/Fp8Inputs.h"
#include "tools/bench/gpu/Layer.h"

#include <algorithm>
#include <fstream>
#include <optional>

namespace moec::bench {
namespace {

/// A model's weights in both forms, and tokens; all random.
struct BothWeights {
  Buffer gateUp, down, hidden;
  Fp8Tensors fp8;

  static Result<BothWeights> make(Device &device, const ModelShape &model, const MeasureOptions &options) {
    BothWeights all;
    const size_t matrix = size_t{model.intermediate} * model.hidden;
    MOEC_TRY(allocateBuffer(device, 4 * matrix * model.experts, all.gateUp));
    MOEC_TRY(allocateBuffer(device, 2 * matrix * model.experts, all.down));
    MOEC_TRY(fillWith(device, all.gateUp, InputTensor::GateUp));
    MOEC_TRY(fillWith(device, all.down, InputTensor::Down));
    Result<Buffer> hidden = makeHidden(device, model, options);
    MOEC_TRY(hidden.status());
    all.hidden = std::move(*hidden);
    Result<Fp8Tensors> fp8 = Fp8Tensors::make(device, model);
    MOEC_TRY(fp8.status());
    all.fp8 = std::move(*fp8);
    return all;
  }
};

struct Floors {
  double bf16, fp8;
};

/// A layer in one form of weights, recorded over all routings.
struct Recorded {
  std::string name;
  Graph graph;
  double microseconds; // median of a layer
};

class Cell {
public:
  Cell(Device &device, Bundle &bundle, BothWeights &weights, const Problem &problem, const MeasureOptions &options)
      : device(device), bundle(bundle), weights(weights), p(problem), options(options),
        inputs(problem, weights.hidden) {}

  Status run(const Floors &floors, std::ofstream &json) {
    Result<LayerBuffers> allocated = LayerBuffers::allocate(device, p.shape);
    MOEC_TRY(allocated.status());
    buffers = std::move(*allocated);
    Result<Fp8Buffers> rows = Fp8Buffers::allocate(device, p.shape);
    MOEC_TRY(rows.status());
    quantised = std::move(*rows);
    MOEC_TRY(timeBf16());
    MOEC_TRY(timeFp8());
    if (!bestBf16 || !bestFp8)
      return makeError(Code::InvalidArgument, "--kernels leaves no tile of one form");
    MOEC_TRY(inTurns());
    return print(floors, json);
  }

private:
  static constexpr uint32_t few = 5; // repeats to choose by

  template <class Layer> Result<Recorded> record(Layer &layer, const std::string &name) {
    layer.setOverlap(options.overlap);
    Result<Graph> graph = inputs.record(device, layer);
    MOEC_TRY(graph.status());
    MOEC_TRY(graph->launch());
    Result<std::vector<double>> times = device.time(few, [&] { return graph->launch(); });
    MOEC_TRY(times.status());
    if (options.everyChoice)
      fmt::print("  {:32} {:9.1f} us\n", name, median(*times) / p.routings);
    return Recorded{name, std::move(*graph), median(*times) / p.routings};
  }

  void keepBetter(std::optional<Recorded> &best, Recorded &&recorded) {
    if (!best || recorded.microseconds < best->microseconds)
      best.emplace(std::move(recorded));
  }

  /// Fitted tiles alone: they are the quickest, or within 2 %.
  Status timeBf16() {
    const int64_t expert = int64_t{p.shape.intermediate} * p.shape.hidden;
    const double rows = p.shape.tokens * p.shape.topK / p.expertsHit;
    for (const LayerChoice &choice : layerChoices(GemmFamily::Fitted, Element::BF16)) {
      if (choice.gateUp.tileTokens == 16 && rows > 32)
        continue;
      Result<DeviceLayer> layer =
          DeviceLayer::create(device, bundle, p.shape, choice.combiningFor(p.shape),
                              {weights.gateUp.as<void>(), weights.gateUp.as<void>(static_cast<size_t>(expert) * 2),
                               weights.down.as<void>(), expert * 2},
                              buffers);
      MOEC_TRY(layer.status());
      layer->setAlwaysDispatch(options.alwaysDispatch);
      layer->setClusters(options.clusters);
      layer->setDownFew(options.downFew);
      bf16Layers.push_back(std::make_unique<DeviceLayer>(std::move(*layer)));
      Result<Recorded> recorded = record(*bf16Layers.back(), choice.name());
      MOEC_TRY(recorded.status());
      keepBetter(bestBf16, std::move(*recorded));
    }
    return {};
  }

  Status timeFp8() {
    for (const Fp8Choice &choice : fp8ChoicesFor(p, options)) {
      Result<Fp8Layer> layer = Fp8Layer::create(device, bundle, p.shape, choice.combiningFor(p.shape),
                                                weights.fp8.weights(), buffers, quantised);
      MOEC_TRY(layer.status());
      layer->setAlwaysDispatch(options.alwaysDispatch);
      layer->setClusters(options.clusters);
      layer->setDownFew(options.downFew);
      layer->setGateUpFew(options.gateUpFew);
      fp8Layers.push_back(std::make_unique<Fp8Layer>(std::move(*layer)));
      Result<Recorded> recorded = record(*fp8Layers.back(), choice.name());
      MOEC_TRY(recorded.status());
      if (!bestFp8 || recorded->microseconds < bestFp8->microseconds)
        bestLayer = fp8Layers.back().get();
      keepBetter(bestFp8, std::move(*recorded));
    }
    return {};
  }

  /// The best of both again, one after the other, so that clocks and heat are shared.
  Status inTurns() {
    std::vector<double> times[2];
    for (uint32_t i = 0; i < options.repeats; ++i)
      for (Recorded *one : {&*bestBf16, &*bestFp8}) {
        Result<std::vector<double>> time = device.time(1, [&] { return one->graph.launch(); });
        MOEC_TRY(time.status());
        times[one == &*bestFp8].push_back((*time)[0] / p.routings);
      }
    bestBf16->microseconds = median(times[0]);
    bestFp8->microseconds = median(times[1]);
    return {};
  }

  /// Median microseconds of each step of the best e4m3 layer by itself.
  Status timeSteps(std::string &text) {
    std::vector<double> times[Fp8Layer::numSteps];
    for (uint32_t i = 0; i < 3 * p.routings; ++i)
      for (uint32_t step = 0; step < Fp8Layer::numSteps; ++step) {
        const uint32_t routing = i % p.routings;
        Result<std::vector<double>> one = device.time(1, [&]() -> Status {
          switch (step) {
          case 0: return bestLayer->assignSlots(inputs.ids(routing)); // of few pairs nothing
          case 1: return bestLayer->quantiseTokens(inputs.tokens(routing));
          case 2: return bestLayer->gateUp(inputs.tokens(routing));
          case 3: return bestLayer->quantiseActivated();
          case 4: return bestLayer->down(inputs.weights(routing));
          default: return bestLayer->combine(inputs.weights(routing));
          }
        });
        MOEC_TRY(one.status());
        times[step].push_back((*one)[0]);
      }
    for (const std::vector<double> &step : times)
      text += fmt::format(" {:.1f}", median(step));
    return {};
  }

  Status print(const Floors &floors, std::ofstream &json) {
    std::string steps;
    MOEC_TRY(timeSteps(steps));
    const auto [T, H, I, E, K] = p.shape;
    const double bf16 = bestBf16->microseconds, fp8 = bestFp8->microseconds;
    fmt::print("{:10} {:6} {:4.1f} {:7.1f} {:9.1f} {:5.1f}% {:9.1f} {:5.1f}% {:5.2f} {:7.1f} {:24} {:28}{}\n",
               p.model.name, T, p.skew, p.expertsHit, bf16, 100 * floors.bf16 / bf16, fp8, 100 * floors.fp8 / fp8,
               fp8 / bf16, 6.0 * T * K * H * I / fp8 * 1e-6, bestFp8->name, bestBf16->name, steps);
    if (json.is_open())
      json << fmt::format("{{\"shape\":\"{}\",\"tokens\":{},\"skew\":{},\"experts_hit\":{},\"bf16_kernels\":\"{}\","
                          "\"bf16_us\":{},"
                          "\"bf16_floor_us\":{},\"fp8_kernels\":\"{}\",\"fp8_us\":{},\"fp8_floor_us\":{}}}\n",
                          p.model.name, T, p.skew, p.expertsHit, bestBf16->name, bf16, floors.bf16, bestFp8->name, fp8,
                          floors.fp8)
           << std::flush;
    return {};
  }

  Device &device;
  Bundle &bundle;
  BothWeights &weights;
  const Problem &p;
  const MeasureOptions &options;
  RoutedInputs inputs;
  LayerBuffers buffers;
  Fp8Buffers quantised;
  std::vector<std::unique_ptr<DeviceLayer>> bf16Layers; // graphs use their counters
  std::vector<std::unique_ptr<Fp8Layer>> fp8Layers;
  std::optional<Recorded> bestBf16, bestFp8;
  Fp8Layer *bestLayer = nullptr;
};

} // namespace

Result<Fp8Tensors> Fp8Tensors::make(Device &device, const ModelShape &model) {
  Fp8Tensors all;
  if (model.hidden % kFp8Block != 0 || model.intermediate % kFp8Block != 0)
    return makeError(Code::InvalidArgument, "{} has blocks of less than 128 by 128", model.name);
  const size_t matrix = size_t{model.intermediate} * model.hidden * model.experts;
  const size_t scaleBytes = matrix / (kFp8Block * kFp8Block) * 4;
  MOEC_TRY(allocateBuffer(device, 2 * matrix, all.gateUp));
  MOEC_TRY(allocateBuffer(device, matrix, all.down));
  MOEC_TRY(allocateBuffer(device, 2 * scaleBytes, all.gateUpScales));
  MOEC_TRY(allocateBuffer(device, scaleBytes, all.downScales));
  const auto fill = [&](InputTensor tensor, const Buffer &elements, const Buffer &scales) -> Status {
    const std::vector<uint8_t> codes = inputCodes(tensor);
    MOEC_TRY(fillWith(device, elements, codes.data(), codes.size()));
    const std::vector<float> values = inputScales(tensor);
    return fillWith(device, scales, values.data(), values.size() * 4);
  };
  MOEC_TRY(fill(InputTensor::GateUp, all.gateUp, all.gateUpScales));
  MOEC_TRY(fill(InputTensor::Down, all.down, all.downScales));
  return all;
}

Result<Buffer> makeHidden(Device &device, const ModelShape &model, const MeasureOptions &options) {
  const uint32_t most = *std::max_element(options.tokens.begin(), options.tokens.end());
  Buffer hidden; // as many rows as the routings of any smaller problem have
  MOEC_TRY(allocateBuffer(device, size_t{std::max(most, 4096u)} * model.hidden * 2, hidden));
  MOEC_TRY(fillWith(device, hidden, InputTensor::Hidden));
  return hidden;
}

std::vector<Fp8Choice> fp8ChoicesFor(const Problem &p, const MeasureOptions &options) {
  const double rows = p.shape.tokens * p.shape.topK / p.expertsHit;
  std::vector<Fp8Choice> choices = fp8Choices();
  std::erase_if(choices, [&](const Fp8Choice &choice) {
    return (choice.gateUp.tileTokens == 16 && rows > 32) || !isWanted(options.kernels, choice.name());
  });
  return choices;
}

Status measureFp8Layers(Device &device, Bundle &bundle, const MeasureOptions &options) {
  if (device.computeCapability() != 90)
    return makeError(Code::DeviceMissing, "e4m3 layers need a Hopper GPU");
  std::ofstream json;
  if (!options.jsonPath.empty())
    json.open(options.jsonPath, std::ios::app);
  double rate = 0;
  Result<std::vector<ModelShape>> shapes = modelShapes(options.shapes);
  MOEC_TRY(shapes.status());
  for (const ModelShape &model : *shapes) {
    Result<BothWeights> weights = BothWeights::make(device, model, options);
    MOEC_TRY(weights.status());
    if (rate == 0) {
      Result<double> measured = copyRate(device, weights->gateUp);
      MOEC_TRY(measured.status());
      rate = *measured;
      fmt::print("{}, driver {}, {} multiprocessors, copy {:.2f} TB/s, matrix {:.0f} TFLOP/s of bf16 (given), twice "
                 "that of e4m3\n",
                 device.name(), device.driverVersion(), device.multiprocessors(), rate * 1e-12, options.matrixTflops);
      fmt::print("{:10} {:>6} {:>4} {:>7} {:>9} {:>6} {:>9} {:>6} {:>5} {:>7} {:24} {:28} {}\n", "shape", "T", "skew",
                 "experts", "bf16 us", "floor", "e4m3 us", "floor", "ratio", "TFLOP/s", "e4m3 tiles", "bf16 tiles",
                 "us of dispatch, quantise, gate-up, quantise, down, combine");
    }
    for (double skew : options.skews)
      for (uint32_t tokens : options.tokens) {
        Result<Problem> problem = makeProblem(device, model, tokens, skew, options);
        MOEC_TRY(problem.status());
        const double flops = options.matrixTflops * 1e12;
        const Floors floors = {floorMicroseconds(*problem, rate, flops), fp8FloorMicroseconds(*problem, rate, flops)};
        if (const Status status = Cell(device, bundle, *weights, *problem, options).run(floors, json); !status.ok())
          return status.withContext("{} {} tokens", model.name, tokens);
      }
  }
  return {};
}

} // namespace moec::bench
