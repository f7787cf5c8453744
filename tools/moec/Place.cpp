// `moec place`: which of several devices should hold which experts.
#include "tools/moec/PlaceInput.h"
#include "tools/moec/Verbs.h"

#include "compiler/core/PlacementSearch.h"
#include "compiler/core/Try.h"
#include "runtime/recompile/Text.h"
#include "tools/common/Files.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace moec::tool {
namespace {

constexpr const char *footer = R"(Examples:
  moec place --trace run.jsonl --devices 4 -o placement.json
  moec-trace profile run.jsonl -o routing.json
  moec place --profile routing.json --devices 4 --slots 3
  moec place tests/golden/olmoe --profile routing.json --target h200 --devices 4
A trace (of a loop: moec bench --drift, a host program) has the steps as they were, and its device's cost model: the search sees
which experts are busy in the same steps. It is planned from the first half and judged on the second; the file that is
written is planned from all. A profile has one typical step a layer. With more slots than experts, busy ones are copied
where that lets steps wait less; an expert's copies share its pairs evenly.)";

struct PlaceOptions {
  PlaceSource source;
  uint32_t devices = 0, slots = 0;
  double linkGBytes = 0;
  std::string output, format = "text";
};

/// One way to place all layers, summed over them.
struct Row {
  const char *kind; // in JSON
  std::string name;
  PlacementPrediction cost;
  double imbalance = 0; // mean over layers and steps
  uint64_t copies = 0;  // beyond each expert's first
};

/// How one layer's placements are found and judged.
class LayerSearch {
public:
  LayerSearch(const PlaceOptions &options, const PlaceInput &input, const PlaceLayer &layer)
      : input(input), layer(layer) {
    const uint32_t even = (layer.experts + options.devices - 1) / options.devices;
    problem.devices = options.devices;
    problem.slotsPerDevice = options.slots ? options.slots : even;
    if (!layer.shape)
      return;
    // A row goes to its device and comes back, unless its token is there: one token in D is.
    const double bytes = 2.0 * layer.shape->hidden * byteSize(layer.shape->dtype);
    if (options.linkGBytes > 0)
      nsPerRow = bytes * (options.devices - 1) / options.devices / options.linkGBytes;
    problem.cost =
        RowCost::planned(*layer.shape, problem.slotsPerDevice, mostRows(), input.facts, input.calibration, layer.limits)
            .withRow(nsPerRow);
  }

  /// Of what the search found, by a sum over experts, the one that the planner says is quickest.
  LayerPlacement searched(const std::vector<PlacedStep> &steps) const {
    PlacementProblem from = problem;
    from.steps = steps;
    std::vector<PlacementSearch> found = searchPlacement(from);
    std::vector<double> slowest;
    for (const PlacementSearch &each : found)
      slowest.push_back(costOf(each.placement, steps).slowest);
    return found[std::min_element(slowest.begin(), slowest.end()) - slowest.begin()].placement;
  }
  LayerPlacement byNumber() const { return placementByNumber(layer.experts, problem.devices); }
  /// Mean loads, greedily.
  LayerPlacement greedy() const { return greedyPlacement(ofMean(), hasCopies()); }
  /// Mean loads, as even as this search makes them.
  LayerPlacement even() const { return searchPlacement(ofMean()).front().placement; }
  bool hasCopies() const { return uint64_t{problem.devices} * problem.slotsPerDevice > layer.experts; }

  void addTo(Row &row, const LayerPlacement &placement) const {
    const PlacementPrediction cost = costOf(placement, layer.second);
    row.cost.slowest += cost.slowest;
    row.cost.mean += cost.mean;
    double imbalance = 0, weights = 0;
    for (const PlacedStep &step : layer.second) {
      imbalance += step.weight * placement.imbalance(step.routing);
      weights += step.weight;
    }
    row.imbalance += imbalance / weights / static_cast<double>(input.layers.size());
    for (uint32_t copies : placement.copies())
      row.copies += copies - 1;
  }

private:
  PlacementPrediction costOf(const LayerPlacement &placement, const std::vector<PlacedStep> &steps) const {
    return layer.shape
               ? predictDevices(placement, steps, *layer.shape, input.facts, input.calibration, layer.limits, nsPerRow)
               : sumDevices(placement, steps, problem.cost);
  }
  uint32_t mostRows() const {
    uint32_t most = 1;
    for (const PlacedStep &step : layer.steps)
      most = std::max(most, step.routing.busiest());
    return most;
  }
  /// One step, which has what each expert gets on average, in pairs.
  PlacementProblem ofMean() const {
    std::vector<double> sums(layer.experts);
    double weights = 0;
    for (const PlacedStep &step : layer.first) {
      weights += step.weight;
      for (uint32_t expert = 0; expert < layer.experts; ++expert)
        sums[expert] += step.weight * step.routing.pairs[expert];
    }
    constexpr double parts = 1024; // of a pair: means are no whole numbers, and only their ratios count
    PlacementProblem mean = problem;
    mean.cost = RowCost::ofPairs();
    mean.steps = {{Histogram{1, std::vector<uint32_t>(layer.experts)}, 1}};
    for (uint32_t expert = 0; expert < layer.experts; ++expert)
      mean.steps[0].routing.pairs[expert] = static_cast<uint32_t>(std::min(sums[expert] / weights * parts + 0.5, 4e9));
    return mean;
  }

  const PlaceInput &input;
  const PlaceLayer &layer;
  PlacementProblem problem;
  double nsPerRow = 0;
};

Status checkSizes(const PlaceOptions &options, const PlaceInput &input) {
  for (const PlaceLayer &layer : input.layers) {
    if (options.devices > layer.experts)
      return makeError(Code::InvalidArgument, "--devices: {} devices, but layer {} has {}", options.devices,
                       layer.layer, counted(layer.experts, "expert"));
    if (options.slots && uint64_t{options.slots} * options.devices < layer.experts)
      return makeError(Code::InvalidArgument,
                       "--slots: {} on each of {} devices do not hold the {} experts of layer {}", options.slots,
                       options.devices, layer.experts, layer.layer);
    if (options.slots > layer.experts)
      return makeError(Code::InvalidArgument, "--slots: {}, but layer {} has {}", options.slots, layer.layer,
                       counted(layer.experts, "expert"));
  }
  if (options.linkGBytes > 0 && !input.layers.front().shape)
    return makeError(Code::InvalidArgument,
                     "--link: a profile alone does not say how large a row is: name a model, too");
  return {};
}

struct Placed {
  Placement placement; // from all steps
  std::vector<Row> rows;
};

Placed placeAll(const PlaceOptions &options, const PlaceInput &input) {
  Placed placed{{options.devices, {}},
                {{"number", "by number", {}, 0, 0},
                 {"greedy", "mean pairs, greedily", {}, 0, 0},
                 {"even", "mean pairs, evenly", {}, 0, 0},
                 {"place", "moec place", {}, 0, 0}}};
  for (const PlaceLayer &layer : input.layers) {
    const LayerSearch search(options, input, layer);
    const LayerPlacement found = search.searched(layer.first);
    const LayerPlacement all = input.heldBack ? search.searched(layer.steps) : found;
    search.addTo(placed.rows[0], search.byNumber());
    search.addTo(placed.rows[1], search.greedy());
    search.addTo(placed.rows[2], search.even());
    search.addTo(placed.rows[3], found);
    placed.placement.layers[layer.layer] = all;
  }
  return placed;
}

size_t stepsIn(const PlaceInput &input, std::vector<PlacedStep> PlaceLayer::*which) {
  size_t most = 0;
  for (const PlaceLayer &layer : input.layers)
    most = std::max(most, (layer.*which).size());
  return most;
}

std::string headText(const PlaceOptions &options, const PlaceInput &input) {
  const PlaceLayer &layer = input.layers.front();
  std::string text = fmt::format("{} of {} on {}", counted(input.layers.size(), "layer"),
                                 counted(layer.experts, "expert"), counted(options.devices, "device"));
  if (options.slots)
    text += fmt::format(", {} each at most", options.slots);
  text += layer.shape ? fmt::format("; times are the planner's for {} ({})", input.facts.name, input.figures)
                      : "; costs are pairs";
  text += input.heldBack
              ? fmt::format(".\nPlanned from {} of the first half, judged on {} of the second.\n",
                            counted(stepsIn(input, &PlaceLayer::first), "step"), stepsIn(input, &PlaceLayer::second))
              : fmt::format(".\nPlanned from {}, and judged on the same: nothing was held back.\n",
                            counted(stepsIn(input, &PlaceLayer::steps), "step"));
  return text;
}

std::string tableText(const PlaceInput &input, const std::vector<Row> &rows) {
  const bool timed = input.layers.front().shape.has_value();
  constexpr const char *format = "{:<22} {:>14} {:>14} {:>7} {:>14} {:>7}\n";
  std::string text =
      "\n" + fmt::format(format, "experts", "slowest device", "mean device", "waits", "busiest / mean", "copies");
  for (const Row &row : rows) {
    const auto shown = [&](double cost) { return timed ? textOfNs(cost) : fmt::format("{:.1f}", cost); };
    const double waits = row.cost.slowest > 0 ? 1 - row.cost.mean / row.cost.slowest : 0;
    text += fmt::format(format, row.name, shown(row.cost.slowest), shown(row.cost.mean),
                        fmt::format("{:.1f} %", 100 * waits), fmt::format("{:.2f}", row.imbalance), row.copies);
  }
  return text +
         "A step waits for its slowest device in each layer. 'waits': of all devices' time; 'busiest / mean': pairs.\n";
}

nlohmann::json reportJson(const PlaceOptions &options, const PlaceInput &input, const std::vector<Row> &rows) {
  const bool timed = input.layers.front().shape.has_value();
  nlohmann::json json = {{"schema", "moec.place"},
                         {"schema_version", 1},
                         {"devices", options.devices},
                         {"layers", input.layers.size()},
                         {"held_back", input.heldBack},
                         {"unit", timed ? "ns" : "pairs"},
                         {"placements", nlohmann::json::array()}};
  if (timed) {
    json["target"] = input.facts.name;
    json["calibration"] = input.figures;
  }
  if (!options.output.empty())
    json["output"] = options.output;
  for (const Row &row : rows)
    json["placements"].push_back({{"kind", row.kind},
                                  {"slowest", row.cost.slowest},
                                  {"mean", row.cost.mean},
                                  {"imbalance", row.imbalance},
                                  {"copies", row.copies}});
  return json;
}

Status runPlace(const PlaceOptions &options, const Tool &tool) {
  Result<PlaceInput> input = readPlaceInput(options.source, tool);
  MOEC_TRY(input.status());
  MOEC_TRY(checkSizes(options, *input));
  const Placed placed = placeAll(options, *input);
  if (!options.output.empty()) {
    Status status = writeOutput(options.output, placed.placement.toJson());
    if (!status.ok() || options.output == "-")
      return status;
  }
  return printResult(options.format == "json" ? jsonText(reportJson(options, *input, placed.rows))
                                              : headText(options, *input) + tableText(*input, placed.rows));
}

} // namespace

void addPlace(CLI::App &app, Tool &tool) {
  auto options = std::make_shared<PlaceOptions>();
  CLI::App *verb = addVerb(app, tool, {"place", "Say which of several devices should hold which experts", footer},
                           [options, &tool] { return runPlace(*options, tool); });
  PlaceSource &source = options->source;
  verb->add_option("model", source.model,
                   "with --profile: model whose layers the planner costs; default: pairs are counted");
  verb->add_option("--trace", source.trace, "decision trace with the routing to place for");
  verb->add_option("--profile", source.profile, "or a profile, of a typical step");
  verb->add_option("--devices", options->devices, "devices to place experts on")
      ->required()
      ->check(CLI::Range(1u, 65536u));
  verb->add_option("--slots", options->slots,
                   "experts and copies that a device may hold in a layer; default: as few as possible");
  verb->add_option("--link", options->linkGBytes,
                   "GB/s at which a device exchanges rows with others; default: not counted")
      ->check(CLI::PositiveNumber);
  verb->add_option("--target", source.target, targetNames)->capture_default_str();
  verb->add_option("--threads", source.threads, "of a CPU device; 0: all of this machine");
  verb->add_option("--calibration", source.calibration,
                   "file with a device's figures; default: as sessions here have them");
  verb->add_option("-o,--output", options->output, "placement to write; - is stdout, and nothing else is printed");
  addCacheOptions(verb, source.cache);
  addFormat(verb, options->format);
}

} // namespace moec::tool
