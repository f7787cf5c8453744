// `moec place`: which of several devices should hold which experts.
#include "tools/moec/LiveLine.h"
#include "tools/moec/PlaceSearch.h"
#include "tools/moec/Verbs.h"

#include "compiler/core/Try.h"
#include "runtime/recompile/Text.h"
#include "tools/common/Files.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>

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
  PlaceSizes sizes;
  std::string output, method = "place", format = "text";
};

Status checkOptions(const PlaceOptions &options) {
  if (options.output == "-" && options.format != "text")
    return makeError(Code::InvalidArgument, "-o - and --format={} both write to stdout", options.format);
  if (options.method != PlaceOptions().method && options.output.empty())
    return makeError(Code::InvalidArgument, "--method says whose placement is written: it has no effect without -o");
  if (!std::isfinite(options.sizes.linkGBytes)) // which no range excludes
    return makeError(Code::InvalidArgument, "--link: {} is no number", options.sizes.linkGBytes);
  return {};
}

Status checkSizes(const PlaceOptions &options, const PlaceInput &input) {
  constexpr uint32_t mostExperts = 4096; // as of models that are imported; the search takes their square
  for (const PlaceLayer &layer : input.layers) {
    if (layer.experts > mostExperts)
      return makeError(Code::InvalidArgument, "layer {} has {}: more than {} cannot be placed", layer.layer,
                       counted(layer.experts, "expert"), mostExperts);
    if (options.sizes.devices > layer.experts)
      return makeError(Code::InvalidArgument, "--devices: {} devices, but layer {} has {}", options.sizes.devices,
                       layer.layer, counted(layer.experts, "expert"));
    if (options.sizes.slots && uint64_t{options.sizes.slots} * options.sizes.devices < layer.experts)
      return makeError(Code::InvalidArgument,
                       "--slots: {} on each of {} devices do not hold the {} experts of layer {}", options.sizes.slots,
                       options.sizes.devices, layer.experts, layer.layer);
    if (options.sizes.slots > layer.experts)
      return makeError(Code::InvalidArgument, "--slots: {}, but layer {} has {}", options.sizes.slots, layer.layer,
                       counted(layer.experts, "expert"));
  }
  if (options.sizes.linkGBytes > 0 && !input.layers.front().shape)
    return makeError(Code::InvalidArgument,
                     "--link: a profile alone does not say how large a row is: name a model, too");
  return {};
}

/// One way to place all layers, summed over them.
struct Row {
  PlaceMethod method;
  PlacementPrediction cost;
  double imbalance = 0; // of pairs; mean over layers and steps
  uint64_t copies = 0;  // beyond each expert's first
};

struct Placed {
  Placement placement; // by the method that was asked for, from all steps
  std::vector<Row> rows;
};

double meanImbalance(const LayerPlacement &placement, const std::vector<PlacedStep> &steps) {
  double sum = 0, weights = 0;
  for (const PlacedStep &step : steps) {
    sum += step.weight * placement.imbalance(step.routing);
    weights += step.weight;
  }
  return sum / weights;
}

void addTo(Row &row, const LayerSearch &search, const PlaceLayer &layer, const LayerPlacement &placement) {
  const PlacementPrediction cost = search.costOf(placement, layer.second);
  row.cost.slowest += cost.slowest;
  row.cost.mean += cost.mean;
  row.imbalance += meanImbalance(placement, layer.second);
  row.copies += placement.numCopies();
}

Placed placeAll(const PlaceOptions &options, const PlaceInput &input) {
  Placed placed{{options.sizes.devices, {}}, {}};
  for (const PlaceMethod &method : placeMethods())
    placed.rows.push_back({method, {}, 0, 0});
  LiveLine line;
  for (const PlaceLayer &layer : input.layers) {
    line.show(fmt::format("placing the experts of layer {}, {} of {}", layer.layer, &layer - input.layers.data() + 1,
                          counted(input.layers.size(), "layer")));
    const LayerSearch search(options.sizes, input, layer);
    for (Row &row : placed.rows) {
      const bool isWritten = options.method == row.method.kind;
      if (!isWritten && options.output == "-") // the table is not shown
        continue;
      const LayerPlacement found = row.method.find(search, layer.first);
      addTo(row, search, layer, found);
      if (isWritten)
        placed.placement.layers[layer.layer] = input.heldBack ? row.method.find(search, layer.steps) : found;
    }
  }
  for (Row &row : placed.rows)
    row.imbalance /= static_cast<double>(input.layers.size());
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
                                 counted(layer.experts, "expert"), counted(options.sizes.devices, "device"));
  if (options.sizes.slots)
    text += fmt::format(", {} each at most", options.sizes.slots);
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
    text += fmt::format(format, row.method.name, shown(row.cost.slowest), shown(row.cost.mean),
                        fmt::format("{:.1f} %", 100 * waits), fmt::format("{:.2f}", row.imbalance), row.copies);
  }
  return text +
         "A step waits for its slowest device in each layer. 'waits': of all devices' time; 'busiest / mean': pairs.\n";
}

nlohmann::json reportJson(const PlaceOptions &options, const PlaceInput &input, const std::vector<Row> &rows) {
  const bool timed = input.layers.front().shape.has_value();
  nlohmann::json json = {{"schema", "moec.place"},
                         {"schema_version", 1},
                         {"devices", options.sizes.devices},
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
    json["placements"].push_back({{"kind", row.method.kind},
                                  {"slowest", row.cost.slowest},
                                  {"mean", row.cost.mean},
                                  {"imbalance", row.imbalance},
                                  {"copies", row.copies}});
  return json;
}

Status runPlace(const PlaceOptions &options, const Tool &tool) {
  MOEC_TRY(checkOptions(options));
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
  verb->add_option("--devices", options->sizes.devices, "devices to place experts on")
      ->required()
      ->check(CLI::Range(1u, 65536u));
  verb->add_option("--slots", options->sizes.slots,
                   "experts and copies that a device may hold in a layer; default: as few as possible");
  verb->add_option("--link", options->sizes.linkGBytes,
                   "GB/s at which a device exchanges rows with others; default: not counted")
      ->check(CLI::Range(1e-3, 1e6));
  verb->add_option("--target", source.target, std::string("of a model: ") + targetNames + "; default: cpu");
  verb->add_option("--threads", source.threads, "of a CPU device; 0: all of this machine");
  verb->add_option("--calibration", source.calibration,
                   "file with a device's figures; default: as sessions here have them");
  verb->add_option("-o,--output", options->output, "placement to write; - is stdout, and nothing else is printed");
  verb->add_option("--method", options->method,
                   "whose placement is written: moec's own, or one that it is compared with")
      ->check(CLI::IsMember({"place", "number", "greedy", "even"}))
      ->capture_default_str();
  addCacheOptions(verb, source.cache);
  addFormat(verb, options->format);
}

} // namespace moec::tool
