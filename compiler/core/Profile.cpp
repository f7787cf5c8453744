#include "compiler/core/Profile.h"

#include "compiler/core/Json.h"

#include <fmt/ranges.h>

namespace moec {

namespace {

constexpr uint64_t schemaVersion = 1;
// More than any step or model has; a figure beyond it is a mistake of the file's author.
constexpr uint64_t maxTokens = uint64_t{1} << 24;
constexpr size_t maxExperts = size_t{1} << 16;
constexpr uint64_t maxLayers = 1u << 16;

void readLayer(const JsonValue &json, Profile &profile) {
  json.onlyKeys({"layer", "tokens", "pairs"});
  auto layer = static_cast<uint32_t>(json["layer"].integer(0, maxLayers));
  Histogram histogram;
  histogram.tokens = static_cast<uint32_t>(json["tokens"].integer(1, maxTokens));
  JsonValue pairs = json["pairs"];
  if (size_t experts = pairs.size(); experts == 0 || experts > maxExperts)
    return pairs.fail(fmt::format("expected 1 to {} experts, found {}", maxExperts, experts));
  histogram.pairs = pairs.integers<uint32_t>(maxTokens);
  if (!profile.layers.emplace(layer, std::move(histogram)).second)
    json["layer"].fail(fmt::format("layer {} comes twice", layer));
}

} // namespace

Histogram Profile::of(uint32_t layer, uint32_t topK, uint32_t experts) const {
  auto found = layers.find(layer);
  if (found != layers.end() && found->second.pairs.size() == experts)
    return found->second;
  return Histogram::uniform(defaultTokens, topK, experts);
}

Status Profile::matches(uint32_t layer, uint32_t experts) const {
  auto found = layers.find(layer);
  if (found == layers.end() || found->second.pairs.size() == experts)
    return {};
  return makeError(Code::InvalidArgument,
                   "profile: layer {} lists the pairs of {} experts, but the model's layer has {}", layer,
                   found->second.pairs.size(), experts);
}

std::string Profile::toJson() const {
  std::string text = fmt::format("{{\n  \"schema\": \"moec.profile\",\n  \"schema_version\": {},\n"
                                 "  \"default_tokens\": {},\n  \"layers\": [",
                                 schemaVersion, defaultTokens);
  const char *separator = "\n";
  for (const auto &[layer, histogram] : layers) {
    text += fmt::format("{}    {{\"layer\": {}, \"tokens\": {}, \"pairs\": [{}]}}", separator, layer, histogram.tokens,
                        fmt::join(histogram.pairs, ", "));
    separator = ",\n";
  }
  return text + (layers.empty() ? "]\n}\n" : "\n  ]\n}\n");
}

Result<Profile> Profile::fromJson(const std::string &text) {
  Result<JsonDocument> document = JsonDocument::parse(text, "profile", Code::InvalidArgument);
  if (!document)
    return document.status();
  JsonValue root = document->root();
  root.requireSchema("moec.profile", schemaVersion);
  root.onlyKeys({"schema", "schema_version", "default_tokens", "layers"});

  Profile profile;
  if (root.has("default_tokens"))
    profile.defaultTokens = static_cast<uint32_t>(root["default_tokens"].integer(1, maxTokens));
  JsonValue layers = root["layers"];
  for (size_t index = 0, count = layers.size(); index < count; ++index)
    readLayer(layers.at(index), profile);
  if (Status status = document->status(); !status.ok())
    return status;
  return profile;
}

} // namespace moec
