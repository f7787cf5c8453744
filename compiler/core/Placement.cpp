#include "compiler/core/Placement.h"

#include "compiler/core/Json.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

namespace moec {

namespace {

constexpr uint64_t schemaVersion = 1;
constexpr uint64_t maxDevices = 1u << 16, maxExperts = 1u << 16, maxLayers = 1u << 16;

void checkHeld(const JsonValue &json, const LayerPlacement &layer) {
  const std::vector<uint32_t> copies = layer.copies();
  if (auto none = std::find(copies.begin(), copies.end(), 0u); none != copies.end())
    json.fail(fmt::format("no device holds expert {}", none - copies.begin()));
}

void readDevice(const JsonValue &json, LayerPlacement &layer) {
  std::vector<uint32_t> experts = json.integers<uint32_t>(layer.numExperts - 1);
  std::sort(experts.begin(), experts.end());
  if (auto twice = std::adjacent_find(experts.begin(), experts.end()); twice != experts.end())
    json.fail(fmt::format("expert {} comes twice", *twice));
  layer.on.push_back(std::move(experts));
}

void readLayer(const JsonValue &json, Placement &placement) {
  json.onlyKeys({"layer", "experts", "devices"});
  const auto number = static_cast<uint32_t>(json["layer"].integer(0, maxLayers));
  LayerPlacement layer;
  layer.numExperts = std::max(1u, static_cast<uint32_t>(json["experts"].integer(1, maxExperts)));
  const JsonValue devices = json["devices"];
  if (devices.size() != placement.devices)
    return devices.fail(fmt::format("expected {} devices, found {}", placement.devices, devices.size()));
  for (size_t index = 0; index < placement.devices; ++index)
    readDevice(devices.at(index), layer);
  checkHeld(devices, layer);
  if (!placement.layers.emplace(number, std::move(layer)).second)
    json["layer"].fail(fmt::format("layer {} comes twice", number));
}

} // namespace

std::vector<uint32_t> LayerPlacement::copies() const {
  std::vector<uint32_t> count(numExperts);
  for (const std::vector<uint32_t> &experts : on)
    for (uint32_t expert : experts)
      ++count[expert];
  return count;
}

size_t LayerPlacement::numCopies() const {
  size_t held = 0;
  for (const std::vector<uint32_t> &experts : on)
    held += experts.size();
  return held - numExperts;
}

std::vector<Histogram> LayerPlacement::onDevices(const Histogram &step) const {
  const std::vector<uint32_t> count = copies();
  std::vector<uint32_t> before(numExperts); // copies on the devices before this one
  std::vector<Histogram> parts;
  for (const std::vector<uint32_t> &experts : on) {
    Histogram &local = parts.emplace_back(Histogram{step.tokens, {}});
    for (uint32_t expert : experts) {
      const uint32_t pairs = expert < step.pairs.size() ? step.pairs[expert] : 0, among = count[expert];
      // Not the first device for every expert.
      const uint32_t turn = (before[expert]++ + among - expert % among) % among;
      local.pairs.push_back(pairs / among + (turn < pairs % among ? 1 : 0));
    }
  }
  return parts;
}

double LayerPlacement::imbalance(const Histogram &step) const {
  double most = 0, all = 0;
  for (const Histogram &local : onDevices(step)) {
    const auto pairs = static_cast<double>(local.total());
    most = std::max(most, pairs);
    all += pairs;
  }
  return all > 0 ? most * static_cast<double>(on.size()) / all : 0;
}

LayerPlacement placementByNumber(uint32_t experts, uint32_t devices) {
  LayerPlacement placement{experts, std::vector<std::vector<uint32_t>>(devices)};
  uint32_t next = 0;
  for (uint32_t device = 0; device < devices; ++device) {
    placement.on[device].resize(experts / devices + (device < experts % devices ? 1 : 0));
    std::iota(placement.on[device].begin(), placement.on[device].end(), next);
    next += static_cast<uint32_t>(placement.on[device].size());
  }
  return placement;
}

std::string Placement::toJson() const {
  std::string text =
      fmt::format("{{\n  \"schema\": \"moec.placement\",\n  \"schema_version\": {},\n  \"devices\": {},\n"
                  "  \"layers\": [",
                  schemaVersion, devices);
  const char *separator = "\n";
  for (const auto &[number, layer] : layers) {
    std::vector<std::string> lists;
    for (const std::vector<uint32_t> &experts : layer.on)
      lists.push_back(fmt::format("[{}]", fmt::join(experts, ", ")));
    text += fmt::format("{}    {{\"layer\": {}, \"experts\": {}, \"devices\": [{}]}}", separator, number,
                        layer.numExperts, fmt::join(lists, ", "));
    separator = ",\n";
  }
  return text + (layers.empty() ? "]\n}\n" : "\n  ]\n}\n");
}

Result<Placement> Placement::fromJson(const std::string &text) {
  Result<JsonDocument> document = JsonDocument::parse(text, "placement", Code::InvalidArgument);
  if (!document)
    return document.status();
  const JsonValue root = document->root();
  root.requireSchema("moec.placement", schemaVersion);
  root.onlyKeys({"schema", "schema_version", "devices", "layers"});
  Placement placement;
  placement.devices = static_cast<uint32_t>(root["devices"].integer(1, maxDevices));
  const JsonValue layers = root["layers"];
  for (size_t index = 0, count = layers.size(); index < count; ++index)
    readLayer(layers.at(index), placement);
  if (Status status = document->status(); !status.ok())
    return status;
  return placement;
}

} // namespace moec
