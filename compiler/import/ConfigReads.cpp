#include "compiler/import/ConfigReads.h"

#include <algorithm>
#include <set>

namespace moec::importer {

namespace {

/// The family's own key or, where it is absent, one that transformers takes for the same number;
/// version 5 writes `num_local_experts` for models whose config on the hub has `num_experts`.
const char *expertsKey(const JsonValue &config, const char *own) {
  for (const char *key : {own, "num_local_experts", "num_experts"})
    if (config.has(key))
      return key;
  return own;
}

} // namespace

void readShape(const JsonValue &config, const ConfigKeys &keys, ModelSpec &spec) {
  auto dimension = [&](const char *key, uint32_t most) { return static_cast<uint32_t>(config[key].integer(1, most)); };
  spec.shape.hidden = dimension("hidden_size", maxDimension);
  spec.shape.intermediate = dimension(keys.intermediate, maxDimension);
  spec.shape.experts = dimension(expertsKey(config, keys.experts), maxExperts);
  spec.shape.topK = dimension("num_experts_per_tok", spec.shape.experts);
  JsonValue act = config["hidden_act"];
  if (std::optional<Activation> activation = parseActivation(act.text()))
    spec.activation = *activation;
  else
    act.expected("one of " + activationNames());
}

uint32_t readLayerCount(const JsonValue &config) {
  return static_cast<uint32_t>(config["num_hidden_layers"].integer(1, maxLayers));
}

std::vector<uint32_t> readSparseLayers(const JsonValue &config) {
  uint32_t count = readLayerCount(config);
  uint64_t step = 1;
  if (config.has("decoder_sparse_step"))
    step = std::max<uint64_t>(1, config["decoder_sparse_step"].integer(1, maxLayers));
  std::set<uint32_t> dense;
  if (config.has("mlp_only_layers") && !config["mlp_only_layers"].isNull())
    for (uint32_t layer : config["mlp_only_layers"].integers<uint32_t>(maxLayers - 1))
      dense.insert(layer);
  std::vector<uint32_t> layers;
  for (uint32_t layer = 0; layer < count; ++layer)
    if ((layer + 1) % step == 0 && !dense.contains(layer))
      layers.push_back(layer);
  if (layers.empty())
    config["num_hidden_layers"].fail(fmt::format("none of these {} layers is a MoE layer", count));
  return layers;
}

std::vector<uint32_t> readLayersBehindDense(const JsonValue &config) {
  // Model code on the hub has this key and transformers ignores it; they agree on 1, which all
  // known models have.
  if (config.has("moe_layer_freq") && config["moe_layer_freq"].integer(0, maxLayers) != 1)
    config["moe_layer_freq"].expected("1");
  uint32_t count = readLayerCount(config);
  JsonValue dense = config["first_k_dense_replace"];
  auto first = static_cast<uint32_t>(dense.integer(0, maxLayers));
  if (first >= count)
    dense.fail(fmt::format("{} leaves no MoE layer among {}", first, count));
  std::vector<uint32_t> layers;
  for (uint32_t layer = first; layer < count; ++layer)
    layers.push_back(layer);
  return layers;
}

std::vector<uint32_t> readInterleavedLayers(const JsonValue &config) {
  uint32_t count = readLayerCount(config);
  std::set<uint32_t> layers;
  if (config.has("moe_layers") && !config["moe_layers"].isNull()) {
    for (uint32_t layer : config["moe_layers"].integers<uint32_t>(count - 1))
      layers.insert(layer);
    if (layers.empty())
      config["moe_layers"].fail("lists no MoE layer");
  } else {
    uint64_t step = 1;
    if (config.has("interleave_moe_layer_step"))
      step = std::max<uint64_t>(1, config["interleave_moe_layer_step"].integer(1, count));
    for (uint64_t layer = step - 1; layer < count; layer += step)
      layers.insert(static_cast<uint32_t>(layer));
  }
  return {layers.begin(), layers.end()};
}

void readGroups(const JsonValue &config, uint32_t groupTop, ModelSpec &spec) {
  uint32_t experts = spec.shape.experts;
  auto groups = static_cast<uint32_t>(config["n_group"].integer(1, experts));
  auto picked = static_cast<uint32_t>(config["topk_group"].integer(1, groups));
  if (groups <= 1)
    return;
  uint32_t size = experts / groups;
  if (experts % groups != 0)
    config["n_group"].fail(fmt::format("{} groups do not divide {} experts", groups, experts));
  else if (size < groupTop)
    config["n_group"].fail(
        fmt::format("{} groups of {} experts, but the best {} of a group rank it", groups, size, groupTop));
  else if (picked * size < spec.shape.topK)
    config["topk_group"].fail(fmt::format("{} groups of {} experts hold fewer than "
                                          "num_experts_per_tok, {}",
                                          picked, size, spec.shape.topK));
  spec.router.groups = groups;
  spec.router.groupsPicked = picked;
  spec.router.groupTop = groupTop;
}

void readSharedExperts(const JsonValue &config, ModelSpec &spec) {
  JsonValue shared = config["n_shared_experts"];
  if (shared.isNull())
    return;
  uint32_t columns = std::max(1u, spec.shape.intermediate); // 0 after a failed read
  uint64_t most = std::min(maxExperts, maxDimension / columns);
  spec.shape.sharedIntermediate = static_cast<uint32_t>(shared.integer(0, most)) * columns;
}

void expectText(const JsonValue &config, const char *key, const char *text) {
  if (config.has(key) && config[key].text() != text)
    config[key].expected(fmt::format("\"{}\"", text));
}

} // namespace moec::importer
