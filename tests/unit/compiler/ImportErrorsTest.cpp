// Configs that must be refused, each with the key and the value.
#include "tests/unit/compiler/ImportFixtures.h"

#include <fmt/format.h>

using namespace moec;
using namespace moec::test;

namespace {

/// The error after one change.
std::string errorWith(json config, const char *key, json value) {
  config[key] = std::move(value);
  return importError(config);
}

std::string errorWithout(json config, const char *key) {
  config.erase(key);
  return importError(config);
}

std::string errorOf(const std::string &text) {
  Result<std::string> result = importConfig(text);
  REQUIRE_FALSE(result.ok());
  CHECK(result.status().code() == Code::InvalidModel);
  return result.status().message();
}

} // namespace

TEST_CASE("what is no JSON object is refused", "[compiler][import]") {
  CHECK(errorOf("") == "config.json: not valid JSON at offset 1");
  CHECK(errorOf("[]") == "config.json: expected an object, found array");
  CHECK(errorOf("{\"model_type\": NaN}") == "config.json: not valid JSON at offset 16");
  CHECK(errorOf(R"({"hidden_size": 1, "hidden_size": 2})") ==
        "config.json: the key 'hidden_size' comes twice in one object");
  CHECK(errorOf(std::string(100, '[')) == "config.json: nested deeper than 64");
}

TEST_CASE("an unknown family is refused with the known ones", "[compiler][import]") {
  const std::string known = "expected one of mixtral, qwen2_moe, qwen3_moe, olmoe, deepseek_v2, "
                            "deepseek_v3, kimi_k2, glm4_moe, gpt_oss, llama4_text, llama4, found ";
  CHECK(errorWith(mixtralConfig(), "model_type", "llama") == "config.json: model_type: " + known + "\"llama\"");
  CHECK(errorWith(mixtralConfig(), "model_type", "mixtral\x1b[31m") ==
        "config.json: model_type: " + known + "\"mixtral\\u001b[31m\"");
  CHECK(errorWith(mixtralConfig(), "model_type", std::string(500, 'x')) ==
        "config.json: model_type: " + known + "\"" + std::string(39, 'x') + "...");
  CHECK(errorWith(mixtralConfig(), "model_type", 7) == "config.json: model_type: expected a text, found 7");
  CHECK(errorWithout(mixtralConfig(), "model_type") == "config.json: model_type: missing");
}

TEST_CASE("every key that a family needs is missed by name", "[compiler][import]") {
  auto checkKeys = [](const json &config, std::initializer_list<const char *> keys) {
    for (const char *key : keys)
      CHECK(errorWithout(config, key) == fmt::format("config.json: {}: missing", key));
  };
  checkKeys(mixtralConfig(), {"hidden_size", "intermediate_size", "num_local_experts", "num_experts_per_tok",
                              "num_hidden_layers", "hidden_act"});
  checkKeys(olmoeConfig(), {"num_experts", "norm_topk_prob"});
  checkKeys(qwen3Config(), {"moe_intermediate_size", "num_experts", "norm_topk_prob", "num_hidden_layers"});
  checkKeys(qwen2Config(), {"shared_expert_intermediate_size", "norm_topk_prob"});
  checkKeys(deepseekV3Config(), {"n_routed_experts", "n_shared_experts", "routed_scaling_factor", "num_hidden_layers",
                                 "first_k_dense_replace", "n_group", "topk_group", "norm_topk_prob"});
  checkKeys(deepseekV2Config(), {"topk_method", "n_group", "topk_group", "n_shared_experts"});
}

TEST_CASE("Llama-4's MoE layers are layers, and its text model's keys are named with their path",
          "[compiler][import]") {
  CHECK(errorWith(llama4TextConfig(), "interleave_moe_layer_step", 7) ==
        "config.json: interleave_moe_layer_step: expected an integer from 1 to 6, found 7");
  CHECK(errorWith(llama4TextConfig(), "interleave_moe_layer_step", 0) ==
        "config.json: interleave_moe_layer_step: expected an integer from 1 to 6, found 0");
  CHECK(errorWith(llama4TextConfig(), "moe_layers", json::array()) == "config.json: moe_layers: lists no MoE layer");
  CHECK(errorWith(llama4TextConfig(), "moe_layers", {1, 6}) ==
        "config.json: moe_layers[1]: expected an integer from 0 to 5, found 6");
  CHECK(errorWithout(llama4Config(), "text_config") == "config.json: text_config: missing");
  json config = llama4Config();
  config["text_config"].erase("num_local_experts");
  CHECK(importError(config) == "config.json: text_config.num_local_experts: missing");
}

TEST_CASE("sizes are integers within bounds", "[compiler][import]") {
  auto error = [](const char *key, json value) { return errorWith(mixtralConfig(), key, std::move(value)); };
  CHECK(error("hidden_size", 0) == "config.json: hidden_size: expected an integer from 1 to 1000000, found 0");
  CHECK(error("hidden_size", 1000001) ==
        "config.json: hidden_size: expected an integer from 1 to 1000000, found 1000001");
  CHECK(error("hidden_size", -64) == "config.json: hidden_size: expected an integer from 1 to 1000000, found -64");
  CHECK(error("hidden_size", 64.0) == "config.json: hidden_size: expected an integer from 1 to 1000000, found 64.0");
  CHECK(error("hidden_size", "64") == "config.json: hidden_size: expected an integer from 1 to 1000000, found \"64\"");
  CHECK(error("hidden_size", true) == "config.json: hidden_size: expected an integer from 1 to 1000000, found true");
  CHECK(error("hidden_size", {64}) == "config.json: hidden_size: expected an integer from 1 to 1000000, found array");
  CHECK(error("intermediate_size", 18446744073709551615ull) ==
        "config.json: intermediate_size: expected an integer from 1 to 1000000, found "
        "18446744073709551615");
  CHECK(error("num_local_experts", 4097) ==
        "config.json: num_local_experts: expected an integer from 1 to 4096, found 4097");
  CHECK(error("num_experts_per_tok", 9) ==
        "config.json: num_experts_per_tok: expected an integer from 1 to 8, found 9");
  CHECK(error("num_hidden_layers", 1001) ==
        "config.json: num_hidden_layers: expected an integer from 1 to 1000, found 1001");
}

TEST_CASE("the largest sizes are accepted", "[compiler][import]") {
  json config = mixtralConfig();
  config["hidden_size"] = 1000000;
  config["intermediate_size"] = 1000000;
  config["num_local_experts"] = 4096;
  config["num_experts_per_tok"] = 4096;
  config["num_hidden_layers"] = 1000;
  CHECK(contains(imported(config), "tensor<4096x1000000x1000000xbf16>"));
}

TEST_CASE("an unknown activation or dtype is refused with the known ones", "[compiler][import]") {
  CHECK(errorWith(mixtralConfig(), "hidden_act", "mish") ==
        "config.json: hidden_act: expected one of silu, swish, gelu, gelu_python, gelu_new, "
        "gelu_fast, "
        "gelu_pytorch_tanh, gelu_python_tanh, quick_gelu, relu, found \"mish\"");
  CHECK(errorWith(mixtralConfig(), "hidden_act", nullptr) == "config.json: hidden_act: expected a text, found null");
  CHECK(errorWith(mixtralConfig(), "torch_dtype", "float8_e4m3fn") ==
        "config.json: torch_dtype: expected bfloat16, float16 or float32, found \"float8_e4m3fn\"");
  CHECK(errorWith(mixtralConfig(), "dtype", 16) == "config.json: dtype: expected a text, found 16");
}

TEST_CASE("groups divide the experts and hold enough of them", "[compiler][import]") {
  auto error = [](uint32_t groups, uint32_t picked, uint32_t k) { // of 8 experts
    json config = deepseekV3Config();
    config["n_group"] = groups;
    config["topk_group"] = picked;
    config["num_experts_per_tok"] = k;
    return importError(config);
  };
  CHECK(error(3, 2, 2) == "config.json: n_group: 3 groups do not divide 8 experts");
  CHECK(error(9, 1, 2) == "config.json: n_group: expected an integer from 1 to 8, found 9");
  CHECK(error(4, 5, 2) == "config.json: topk_group: expected an integer from 1 to 4, found 5");
  CHECK(error(4, 0, 2) == "config.json: topk_group: expected an integer from 1 to 4, found 0");
  CHECK(error(8, 4, 2) == "config.json: n_group: 8 groups of 1 experts, but the best 2 of a group rank it");
  CHECK(error(4, 1, 3) == "config.json: topk_group: 1 groups of 2 experts hold fewer than num_experts_per_tok, 3");
}

TEST_CASE("rules that the family's code does not have are refused", "[compiler][import]") {
  json v3 = deepseekV3Config(), v2 = deepseekV2Config();
  CHECK(errorWith(v3, "scoring_func", "softmax") ==
        "config.json: scoring_func: expected \"sigmoid\", found \"softmax\"");
  CHECK(errorWith(v2, "scoring_func", "sigmoid") ==
        "config.json: scoring_func: expected \"softmax\", found \"sigmoid\"");
  CHECK(errorWith(v3, "topk_method", "greedy") == "config.json: topk_method: expected \"noaux_tc\", found \"greedy\"");
  CHECK(errorWith(v2, "topk_method", "noaux_tc") ==
        "config.json: topk_method: expected \"greedy\" or \"group_limited_greedy\", found "
        "\"noaux_tc\"");
  CHECK(errorWith(v2, "norm_topk_prob", true) == "config.json: norm_topk_prob: expected false, found true");
  CHECK(errorWith(v3, "moe_layer_freq", 2) == "config.json: moe_layer_freq: expected 1, found 2");
}

TEST_CASE("other values of the wrong type or range are refused", "[compiler][import]") {
  json v3 = deepseekV3Config(), qwen = qwen3Config();
  CHECK(errorWith(v3, "routed_scaling_factor", -1) ==
        "config.json: routed_scaling_factor: expected a number from 0 to 1000000, found -1");
  CHECK(errorWith(v3, "routed_scaling_factor", "2.5") ==
        "config.json: routed_scaling_factor: expected a number from 0 to 1000000, found \"2.5\"");
  CHECK(errorWith(v3, "norm_topk_prob", 1) == "config.json: norm_topk_prob: expected true or false, found 1");
  CHECK(errorWith(v3, "n_shared_experts", 40000) ==
        "config.json: n_shared_experts: expected an integer from 0 to 4096, found 40000");
  CHECK(errorWith(v3, "first_k_dense_replace", -1) ==
        "config.json: first_k_dense_replace: expected an integer from 0 to 1000, found -1");
  CHECK(errorWith(qwen, "decoder_sparse_step", 0) ==
        "config.json: decoder_sparse_step: expected an integer from 1 to 1000, found 0");
  CHECK(errorWith(qwen, "mlp_only_layers", {0, "1"}) ==
        "config.json: mlp_only_layers[1]: expected an integer from 0 to 999, found \"1\"");
  CHECK(errorWith(qwen, "mlp_only_layers", 3) == "config.json: mlp_only_layers: expected an array, found 3");
  CHECK(errorWith(qwen, "_name_or_path", 3) == "config.json: _name_or_path: expected a text, found 3");
}

TEST_CASE("a model without a MoE layer is refused", "[compiler][import]") {
  CHECK(errorWith(deepseekV3Config(), "first_k_dense_replace", 5) ==
        "config.json: first_k_dense_replace: 5 leaves no MoE layer among 5");
  CHECK(errorWith(qwen3Config(), "decoder_sparse_step", 7) ==
        "config.json: num_hidden_layers: none of these 6 layers is a MoE layer");
}
