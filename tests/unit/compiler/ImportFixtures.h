// Configs for the tests of the importer: each family's smallest, to be changed key by key.
#pragma once

#include "compiler/import/ImportConfig.h"
#include "tests/unit/Catch.h"

#include <nlohmann/json.hpp>

#include <string>

namespace moec::test {

using nlohmann::json;

inline json mixtralConfig() {
  return {{"model_type", "mixtral"},  {"hidden_size", 64},      {"intermediate_size", 32}, {"num_local_experts", 8},
          {"num_experts_per_tok", 2}, {"num_hidden_layers", 1}, {"hidden_act", "silu"},    {"torch_dtype", "bfloat16"}};
}

inline json qwen3Config() {
  return {{"model_type", "qwen3_moe"}, {"hidden_size", 64},        {"moe_intermediate_size", 32},
          {"num_experts", 8},          {"num_experts_per_tok", 2}, {"num_hidden_layers", 6},
          {"hidden_act", "silu"},      {"norm_topk_prob", true},   {"torch_dtype", "bfloat16"}};
}

inline json qwen2Config() {
  json config = qwen3Config();
  config["model_type"] = "qwen2_moe";
  config["norm_topk_prob"] = false;
  config["shared_expert_intermediate_size"] = 48;
  return config;
}

inline json olmoeConfig() {
  json config = mixtralConfig();
  config["model_type"] = "olmoe";
  config.erase("num_local_experts");
  config["num_experts"] = 8;
  config["norm_topk_prob"] = false;
  return config;
}

inline json deepseekV3Config() {
  return {{"model_type", "deepseek_v3"},
          {"hidden_size", 64},
          {"moe_intermediate_size", 32},
          {"n_routed_experts", 8},
          {"n_shared_experts", 2},
          {"num_experts_per_tok", 2},
          {"num_hidden_layers", 5},
          {"hidden_act", "silu"},
          {"first_k_dense_replace", 3},
          {"n_group", 4},
          {"topk_group", 2},
          {"norm_topk_prob", true},
          {"routed_scaling_factor", 2.5},
          {"torch_dtype", "bfloat16"}};
}

inline json deepseekV2Config() {
  json config = deepseekV3Config();
  config["model_type"] = "deepseek_v2";
  config["norm_topk_prob"] = false;
  config["topk_method"] = "group_limited_greedy";
  return config;
}

inline json gptOssConfig() {
  json config = mixtralConfig();
  config["model_type"] = "gpt_oss";
  config["swiglu_limit"] = 7.0;
  config["quantization_config"] = {{"quant_method", "mxfp4"}};
  return config;
}

inline json llama4TextConfig() {
  json config = mixtralConfig();
  config["model_type"] = "llama4_text";
  config["num_experts_per_tok"] = 1;
  config["num_hidden_layers"] = 6;
  config["intermediate_size_mlp"] = 128;
  config["interleave_moe_layer_step"] = 2;
  config["moe_layers"] = nullptr;
  return config;
}

inline json llama4Config() {
  return {{"model_type", "llama4"}, {"text_config", llama4TextConfig()}, {"vision_config", {{"hidden_size", 7}}}};
}

inline std::string imported(const json &config, const ImportOptions &options = {}) {
  Result<std::string> text = importConfig(config.dump(), options);
  INFO(text.status().message());
  REQUIRE(text.ok());
  return *text;
}

/// The message of the error that importing `config` ends with.
inline std::string importError(const json &config, const ImportOptions &options = {}, Code code = Code::InvalidModel) {
  Result<std::string> text = importConfig(config.dump(), options);
  REQUIRE_FALSE(text.ok());
  CHECK(text.status().code() == code);
  return text.status().message();
}

inline bool contains(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }

} // namespace moec::test
