// What a config's `quantization_config` becomes.
#include "compiler/Compile.h"
#include "tests/unit/compiler/ImportFixtures.h"

#include <set>

using namespace moec;
using namespace moec::test;

namespace {

json fp8(const json &config) {
  json quantised = config;
  quantised["quantization_config"] = {
      {"activation_scheme", "dynamic"}, {"fmt", "e4m3"}, {"quant_method", "fp8"}, {"weight_block_size", {128, 128}}};
  return quantised;
}

/// The layers whose experts, and whose shared ones, are e4m3: each as described from the text, so that it verifies.
struct Marked {
  std::set<uint32_t> experts, shared;
  bool operator==(const Marked &) const = default;
};

Marked markedOf(const json &config, const ImportOptions &options = {}) {
  Result<ModelDescription> model = describe(imported(config, options));
  INFO(model.status().message());
  REQUIRE(model.ok());
  Marked marked;
  for (const LayerDescription &layer : model->layers) {
    if (layer.shape.expertFormat == WeightFormat::BlockE4M3)
      marked.experts.insert(layer.layer);
    const LayerWeights &weights = layer.weights;
    const bool shared = weights.sharedGate.format == WeightFormat::BlockE4M3;
    for (const WeightRef *part : {&weights.sharedUp, &weights.sharedDown})
      CHECK((part->format == WeightFormat::BlockE4M3) == shared);
    if (shared)
      marked.shared.insert(layer.layer);
    for (const WeightRef *part : {&weights.router, &weights.correctionBias, &weights.sharedRouter})
      CHECK(part->format == WeightFormat::Plain);
  }
  return marked;
}

Marked withKey(const char *key, json value) {
  json config = fp8(deepseekV3Config());
  config["quantization_config"][key] = std::move(value);
  return markedOf(config);
}

std::string errorWithKey(const char *key, json value) {
  json config = fp8(deepseekV3Config());
  config["quantization_config"][key] = std::move(value);
  return importError(config);
}

const Marked none{}, all{{3, 4}, {3, 4}}; // of deepseekV3Config, whose layers 3 and 4 are MoE layers

} // namespace

TEST_CASE("e4m3 with scales of 128 by 128 elements is said of experts and shared experts", "[compiler][import]") {
  CHECK(markedOf(deepseekV3Config()) == none);
  CHECK(markedOf(fp8(deepseekV3Config())) == all);
  CHECK(markedOf(fp8(qwen3Config())) == Marked{{0, 1, 2, 3, 4, 5}, {}});
  CHECK(markedOf(fp8(qwen2Config()), {.layers = {2}}) == Marked{{2}, {2}});
  const std::string text = imported(fp8(deepseekV3Config()));
  CHECK(contains(
      text,
      "%gate = moe.weight \"model.layers.3.mlp.experts.{e}.gate_proj.weight\" {block_e4m3} : tensor<8x32x64xbf16>\n"));
  CHECK(contains(text,
                 "%shared_down = moe.weight \"model.layers.4.mlp.shared_experts.down_proj.weight\" {block_e4m3} : "));
  CHECK(contains(text, "%router = moe.weight \"model.layers.3.mlp.gate.weight\" : "));
}

TEST_CASE("keys that may be absent or null say the same as their usual value", "[compiler][import]") {
  for (const char *key : {"activation_scheme", "fmt", "modules_to_not_convert", "ignored_layers"}) {
    CHECK(withKey(key, nullptr) == all);
    json config = fp8(deepseekV3Config());
    config["quantization_config"].erase(key);
    CHECK(markedOf(config) == all);
  }
  CHECK(withKey("scale_fmt", "ue8m0") == all); // DeepSeek-V3.1: f32 scales that are powers of two
}

TEST_CASE("other methods, blocks, schemes and formats are said of nothing", "[compiler][import]") {
  CHECK(withKey("quant_method", "compressed-tensors") == none);
  CHECK(withKey("activation_scheme", "static") == none);
  CHECK(withKey("fmt", "e5m2") == none);
  for (json blocks : {json(nullptr), json::array({64, 128}), json::array({128, 64}), json::array({128}), json::array(),
                      json::array({128, 128, 128})})
    CHECK(withKey("weight_block_size", blocks) == none);
  for (const char *key : {"quant_method", "weight_block_size"}) {
    json config = fp8(deepseekV3Config());
    config["quantization_config"].erase(key);
    CHECK(markedOf(config) == none);
  }
  json config = deepseekV3Config();
  config["quantization_config"] = nullptr;
  CHECK(markedOf(config) == none);
}

TEST_CASE("layers that no e4m3 kernel takes are not marked", "[compiler][import]") {
  for (const json &config : {gptOssConfig(), llama4TextConfig()})
    CHECK(imported(fp8(config)) == imported(config));
}

TEST_CASE("what is not to be converted is not marked", "[compiler][import]") {
  for (const char *key : {"modules_to_not_convert", "ignored_layers"}) {
    auto without = [key](json entries) { return withKey(key, std::move(entries)); };
    CHECK(without({"lm_head", "model.layers.3.self_attn", "model.layers.3.mlp.gate", "model.layers.3.input_layernorm",
                   "model.embed_tokens"}) == all);
    CHECK(without({"model.layers.3.mlp.experts"}) == Marked{{4}, {3, 4}});
    CHECK(without({"model.layers.4.mlp.experts.7.up_proj"}) == Marked{{3}, {3, 4}}); // one matrix of one expert
    CHECK(without({"model.layers.4.mlp.shared_experts.down_proj"}) == Marked{{3, 4}, {3}});
    CHECK(without({"model.layers.3.mlp", "model.layers.0.mlp"}) == Marked{{4}, {4}});
    CHECK(without({"layers.3"}) == Marked{{4}, {4}});
    CHECK(without({"model.layers.*.mlp.shared_experts"}) == Marked{{3, 4}, {}});
    CHECK(without({"gate_proj"}) == none);
    CHECK(without({"experts"}) == Marked{{}, {3, 4}});
    CHECK(without({"model.layers.30", "model.layers.40.mlp.experts", "model.layers.3.mlp.exp", "odel"}) == all);
    CHECK(without({"model.layers.3.mlp.experts.x.up_proj", "a.b.c.d.e.f.g.h.i.j"}) == all);
    CHECK(without({"model.layers.99999999999999999999.mlp"}) == all);
    for (const char *pattern : {"re:.*self_attn.*", "", ".", "model..layers", "expert?", "experts*"})
      CHECK(without({pattern}) == none);
    CHECK(without(json::array()) == all);
  }
}

TEST_CASE("marks can be left off", "[compiler][import]") {
  CHECK(imported(fp8(deepseekV3Config()), {.plainWeights = true}) == imported(deepseekV3Config()));
  json broken = deepseekV3Config();
  broken["quantization_config"] = {{"quant_method", 8}};
  CHECK(imported(broken, {.plainWeights = true}) == imported(deepseekV3Config()));
}

TEST_CASE("a quantization_config that cannot be read is named", "[compiler][import]") {
  const std::string at = "config.json: quantization_config.";
  CHECK(errorWithKey("quant_method", 8) == at + "quant_method: expected a text, found 8");
  CHECK(errorWithKey("weight_block_size", 128) == at + "weight_block_size: expected an array, found 128");
  CHECK(errorWithKey("activation_scheme", true) == at + "activation_scheme: expected a text, found true");
  CHECK(errorWithKey("modules_to_not_convert", "lm_head") ==
        at + "modules_to_not_convert: expected an array, found \"lm_head\"");
  CHECK(errorWithKey("ignored_layers", {3}) == at + "ignored_layers[0]: expected a text, found 3");
}
