#include "compiler/import/QuantisationReads.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <optional>
#include <set>
#include <string>

namespace moec::importer {

namespace {

using Path = std::vector<std::string>;

constexpr const char *anyLayer = "{n}", *anyExpert = "{e}";

Path split(const std::string &text) {
  Path parts(1);
  for (char character : text)
    if (character == '.')
      parts.emplace_back();
    else
      parts.back() += character;
  return parts;
}

bool isNumber(const std::string &part) {
  return !part.empty() && part.size() < 9 && part.find_first_not_of("0123456789") == std::string::npos;
}

/// Names and `*` between dots: what can be matched without knowing whose patterns they are.
bool isReadable(const Path &path) {
  return std::all_of(path.begin(), path.end(), [](const std::string &part) {
    return part == "*" || (!part.empty() && std::all_of(part.begin(), part.end(), [](unsigned char c) {
             return std::isalnum(c) || c == '_' || c == '-';
           }));
  });
}

/// The layers of which a part is left out.
struct LeftOut {
  bool all = false;
  std::set<uint32_t> layers;

  bool contains(uint32_t layer) const { return all || layers.contains(layer); }
};

/// Whether `entry` is `module` from its part `at` on; a layer that it names goes to `layer`.
bool matchesAt(const Path &entry, const Path &module, size_t at, std::optional<uint32_t> &layer) {
  for (size_t i = 0; i < entry.size(); ++i) {
    const std::string &part = module[at + i];
    if (entry[i] == "*" || entry[i] == part)
      continue;
    if ((part != anyLayer && part != anyExpert) || !isNumber(entry[i]))
      return false;
    if (part == anyLayer)
      layer = static_cast<uint32_t>(std::stoul(entry[i]));
  }
  return true;
}

/// Anywhere in the name, as readers of such lists differ in where an entry may begin and end: with too much left out a
/// layer is computed in the model's dtype, with too little a scale is looked for in vain.
void leaveOut(const Path &entry, const Path &module, LeftOut &out) {
  for (size_t at = 0; at + entry.size() <= module.size(); ++at) {
    std::optional<uint32_t> layer;
    if (!matchesAt(entry, module, at, layer))
      continue;
    if (layer)
      out.layers.insert(*layer);
    else
      out.all = true;
  }
}

/// The matrices of a feed-forward network: MODEL.layers.{n}.BLOCK.INNER.GATE.weight, and so on.
std::vector<Path> modulesOf(const WeightNames &names, const std::string &inner) {
  std::vector<Path> modules;
  for (const char *matrix : {names.gate, names.up, names.down})
    modules.push_back(
        split(fmt::format("{}.layers.{}.{}.{}.{}.weight", names.model, anyLayer, names.block, inner, matrix)));
  return modules;
}

LeftOut readLeftOut(const JsonValue &quantisation, const std::vector<Path> &modules) {
  LeftOut out;
  for (const char *key : {"modules_to_not_convert", "ignored_layers"}) {
    if (!quantisation.has(key) || quantisation[key].isNull())
      continue;
    JsonValue entries = quantisation[key];
    for (size_t i = 0, count = entries.size(); i < count; ++i) {
      const Path entry = split(entries.at(i).text());
      out.all |= !isReadable(entry);
      for (const Path &module : modules)
        leaveOut(entry, module, out);
    }
  }
  return out;
}

/// Whether the key is absent, null or has this text.
bool isOrLacks(const JsonValue &json, const char *key, const char *text) {
  return !json.has(key) || json[key].isNull() || json[key].text() == text;
}

bool isBlockE4M3(const JsonValue &quantisation) {
  if (!quantisation.has("quant_method") || quantisation["quant_method"].text() != "fp8")
    return false;
  if (!quantisation.has("weight_block_size") || quantisation["weight_block_size"].isNull())
    return false;
  return quantisation["weight_block_size"].integers<uint32_t>() == std::vector<uint32_t>{128, 128} &&
         isOrLacks(quantisation, "activation_scheme", "dynamic") && isOrLacks(quantisation, "fmt", "e4m3");
}

} // namespace

void readBlockE4M3(const JsonValue &config, ModelSpec &spec) {
  if (!config.has("quantization_config") || spec.shape.expertBias || spec.shape.weightOnInput)
    return;
  JsonValue quantisation = config["quantization_config"];
  if (!isBlockE4M3(quantisation))
    return;
  const LeftOut experts = readLeftOut(quantisation, modulesOf(spec.names, fmt::format("experts.{}", anyExpert)));
  const LeftOut shared = readLeftOut(quantisation, modulesOf(spec.names, spec.names.shared));
  for (uint32_t layer : spec.layers) {
    if (!experts.contains(layer))
      spec.e4m3Experts.push_back(layer);
    if (!shared.contains(layer))
      spec.e4m3Shared.push_back(layer);
  }
}

} // namespace moec::importer
