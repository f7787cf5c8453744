// What each family's config becomes.
#include "tests/unit/compiler/ImportFixtures.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <sstream>

using namespace moec;
using namespace moec::test;

namespace {

/// The text of one file below tests/golden.
std::string goldenFile(const std::string &name) {
  std::filesystem::path tests = std::filesystem::path(__FILE__).parent_path().parent_path().parent_path();
  std::ifstream file(tests / "golden" / name);
  REQUIRE(file.good());
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string importedFile(const std::string &name) { return imported(json::parse(goldenFile(name))); }

size_t occurrences(const std::string &text, const std::string &part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
    ++count;
  return count;
}

/// The line that holds `part`, or nothing.
std::string lineWith(const std::string &text, const std::string &part) {
  size_t at = text.find(part);
  if (at == std::string::npos)
    return "";
  size_t begin = text.rfind('\n', at) + 1;
  return text.substr(begin, text.find('\n', at) - begin);
}

} // namespace

TEST_CASE("a Mixtral layer is a softmax over the chosen and one FFN per expert", "[compiler][import]") {
  CHECK(imported(mixtralConfig(), {.name = "tiny"}) ==
        R"(module attributes {moe.family = "mixtral", moe.model = "tiny"} {
  func.func @layer_0(%hidden: tensor<?x64xbf16>) -> tensor<?x64xbf16> attributes {moe.layer = 0 : i64} {
    %router = moe.weight "model.layers.0.block_sparse_moe.gate.weight" : tensor<8x64xbf16>
    %gate = moe.weight "model.layers.0.block_sparse_moe.experts.{e}.w1.weight" : tensor<8x32x64xbf16>
    %up = moe.weight "model.layers.0.block_sparse_moe.experts.{e}.w3.weight" : tensor<8x32x64xbf16>
    %down = moe.weight "model.layers.0.block_sparse_moe.experts.{e}.w2.weight" : tensor<8x64x32xbf16>
    %logits = moe.router %hidden, %router : (tensor<?x64xbf16>, tensor<8x64xbf16>) -> tensor<?x8xf32>
    %ids, %chosen = moe.top_k %logits {k = 2 : i64} : (tensor<?x8xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>)
    %scored = moe.score softmax %chosen : tensor<?x2xf32>
    %counts = moe.count_pairs %ids : (tensor<?x2xi32>) -> tensor<8xi32>
    %buffer, %slot = moe.dispatch %hidden, %ids : (tensor<?x64xbf16>, tensor<?x2xi32>) -> (tensor<8x?x64xbf16>, tensor<?x2xi32>)
    %expert = moe.expert_ffn %buffer, %gate, %up, %down
        : (tensor<8x?x64xbf16>, tensor<8x32x64xbf16>, tensor<8x32x64xbf16>, tensor<8x64x32xbf16>) -> tensor<8x?x64xbf16> activation {
    ^bb0(%g: f32, %u: f32):
      %one = arith.constant 1.0 : f32
      %negated = arith.negf %g : f32
      %exp = math.exp %negated : f32
      %denominator = arith.addf %exp, %one : f32
      %a = arith.divf %g, %denominator : f32
      %h = arith.mulf %a, %u : f32
      moe.yield %h : f32
    }
    %out = moe.combine %expert, %ids, %slot, %scored
        : (tensor<8x?x64xbf16>, tensor<?x2xi32>, tensor<?x2xi32>, tensor<?x2xf32>) -> tensor<?x64xbf16>
    return %out : tensor<?x64xbf16>
  }
}
)");
}

TEST_CASE("Qwen3-MoE renormalises a softmax over all experts, if its config says so", "[compiler][import]") {
  json config = qwen3Config();
  std::string text = imported(config);
  CHECK(contains(text, "%scores = moe.score softmax %logits : tensor<?x8xf32>"));
  CHECK(contains(text, "moe.top_k %scores {k = 2 : i64}"));
  CHECK(contains(text, "%normalized = moe.normalize %chosen {epsilon = 0.0 : f64} : tensor<?x2xf32>"));
  CHECK(contains(text, "moe.combine %expert, %ids, %slot, %normalized\n"));
  CHECK(contains(text, "\"model.layers.5.mlp.experts.{e}.gate_proj.weight\" : tensor<8x32x64xbf16>"));

  config["norm_topk_prob"] = false;
  text = imported(config);
  CHECK_FALSE(contains(text, "moe.normalize"));
  CHECK(contains(text, "moe.combine %expert, %ids, %slot, %chosen\n"));
}

TEST_CASE("Qwen's MoE layers follow decoder_sparse_step and mlp_only_layers", "[compiler][import]") {
  json config = qwen3Config(); // 6 layers
  CHECK(occurrences(imported(config), "func.func") == 6);
  config["decoder_sparse_step"] = 2; // layers 1, 3, 5
  config["mlp_only_layers"] = {3, 4, 4};
  std::string text = imported(config);
  CHECK(occurrences(text, "func.func") == 2);
  CHECK(contains(text, "@layer_1("));
  CHECK(contains(text, "@layer_5("));
  config["mlp_only_layers"] = nullptr;
  CHECK(occurrences(imported(config), "func.func") == 3);
}

TEST_CASE("what transformers 5 writes for Qwen3-MoE is read as what the hub has", "[compiler][import]") {
  json config = qwen3Config(), newer = config;
  newer.erase("num_experts");
  newer["num_local_experts"] = 8;
  newer.erase("torch_dtype");
  newer["dtype"] = "bfloat16";
  CHECK(imported(newer) == imported(config));
}

TEST_CASE("gpt-oss has biases everywhere, and an activation of its own", "[compiler][import]") {
  json config = gptOssConfig();
  std::string text = imported(config);
  CHECK(contains(text, "%router = moe.weight \"model.layers.0.mlp.router.weight\" : tensor<8x64xbf16>\n"));
  CHECK(contains(text, "%router_bias = moe.weight \"model.layers.0.mlp.router.bias\" : tensor<8xbf16>\n"));
  CHECK(contains(text, "%up_bias = moe.weight \"model.layers.0.mlp.experts.{e}.up_proj.bias\" : tensor<8x32xbf16>\n"));
  CHECK(contains(text,
                 "%down_bias = moe.weight \"model.layers.0.mlp.experts.{e}.down_proj.bias\" : tensor<8x64xbf16>\n"));
  CHECK(contains(
      text,
      "moe.router %hidden, %router bias %router_bias : (tensor<?x64xbf16>, tensor<8x64xbf16>, tensor<8xbf16>) -> "));
  CHECK(contains(text, "moe.expert_ffn %buffer, %gate, %up, %down bias %gate_bias, %up_bias, %down_bias\n"));
  CHECK(contains(text, "moe.score softmax %chosen"));
  CHECK(contains(text, "%least = arith.constant -7.0 : f32\n"));
  CHECK(contains(text, "%slope = arith.constant -1.702 : f32\n"));
  config["swiglu_limit"] = 2.5;
  config["swiglu_alpha"] = 1;
  text = imported(config);
  CHECK(contains(text, "%most = arith.constant 2.5 : f32\n"));
  CHECK(contains(text, "%slope = arith.constant -1.0 : f32\n"));
  config["hidden_act"] = "gelu";
  CHECK(contains(importError(config), "hidden_act"));
}

TEST_CASE("Llama-4's weights, sigmoids of chosen logits, are on what experts take in", "[compiler][import]") {
  json config = llama4TextConfig();
  std::string text = imported(config);
  CHECK(occurrences(text, "func.func") == 3); // layers 1, 3 and 5
  CHECK(contains(text, "\"model.layers.5.feed_forward.router.weight\" : tensor<8x64xbf16>"));
  CHECK(contains(text, "\"model.layers.1.feed_forward.experts.{e}.gate_proj.weight\" : tensor<8x32x64xbf16>"));
  CHECK(contains(text, "\"model.layers.1.feed_forward.shared_expert.down_proj.weight\" : tensor<64x32xbf16>"));
  CHECK(contains(text, "%ids, %chosen = moe.top_k %logits {k = 1 : i64}"));
  CHECK(contains(text, "%scored = moe.score sigmoid %chosen : tensor<?x1xf32>\n"));
  CHECK(contains(text, "moe.dispatch %hidden, %ids weights %scored {weight_on_input} : "));
  CHECK(contains(text, "moe.combine %expert, %ids, %slot init %shared\n"));
  config["moe_layers"] = {0, 4};
  text = imported(config);
  CHECK(contains(text, "@layer_4("));
  CHECK(occurrences(text, "func.func") == 2);
  config["moe_layers"] = nullptr;
  config.erase("interleave_moe_layer_step"); // every layer
  CHECK(occurrences(imported(config), "func.func") == 6);
}

TEST_CASE("the published Llama-4 models have their text model inside", "[compiler][import]") {
  json config = llama4Config();
  CHECK(contains(imported(config), "\"language_model.model.layers.3.feed_forward.router.weight\" : tensor<8x64xbf16>"));
  config["text_config"]["torch_dtype"] = "float16";
  CHECK(contains(imported(config), "tensor<8x64xf16>"));
  config["torch_dtype"] = "float32"; // of the whole model: it counts
  CHECK(contains(imported(config), "tensor<8x64xf32>"));
}

TEST_CASE("Qwen2-MoE's shared expert has a gate of its own", "[compiler][import]") {
  std::string text = imported(qwen2Config());
  CHECK(contains(text, "\"model.layers.0.mlp.shared_expert.up_proj.weight\" : tensor<48x64xbf16>"));
  CHECK(contains(text, "\"model.layers.0.mlp.shared_expert.down_proj.weight\" : tensor<64x48xbf16>"));
  CHECK(contains(text, "\"model.layers.0.mlp.shared_expert_gate.weight\" : tensor<1x64xbf16>"));
  CHECK(contains(text, "moe.shared_ffn %hidden, %shared_gate, %shared_up, %shared_down router %shared_router\n"));
  CHECK(contains(text, "moe.combine %expert, %ids, %slot, %chosen init %shared\n"));
}

TEST_CASE("OLMoE's weights are the softmax over all experts as it is", "[compiler][import]") {
  std::string text = imported(olmoeConfig());
  CHECK(contains(text, "moe.score softmax %logits"));
  CHECK_FALSE(contains(text, "moe.normalize"));
  CHECK(contains(text, "moe.combine %expert, %ids, %slot, %chosen\n"));
}

TEST_CASE("DeepSeek-V3 ranks groups by their two best, corrected, and scales renormalised sigmoids",
          "[compiler][import]") {
  std::string text = imported(deepseekV3Config());
  CHECK(contains(text, "\"model.layers.3.mlp.gate.e_score_correction_bias\" : tensor<8xf32>"));
  CHECK(contains(text, "moe.score sigmoid %logits"));
  CHECK(lineWith(text, "moe.top_k") ==
        "    %ids, %chosen = moe.top_k %scores correction %correction {k = 2 : i64, groups = 4 : "
        "i64, groups_picked = 2 : "
        "i64, group_top = 2 : i64} : (tensor<?x8xf32>, tensor<8xf32>) -> (tensor<?x2xi32>, "
        "tensor<?x2xf32>)");
  CHECK(contains(text, "moe.normalize %chosen {epsilon = 1.0e-20 : f64}"));
  CHECK(contains(text, "%scaled = moe.scale %normalized by 2.5 : tensor<?x2xf32>"));
  CHECK(contains(text, "shared_experts.gate_proj.weight\" : tensor<64x64xbf16>")); // two shared experts of 32
  CHECK(contains(text, "moe.combine %expert, %ids, %slot, %scaled init %shared\n"));
  CHECK_FALSE(contains(text, "shared_expert_gate"));
}

TEST_CASE("DeepSeek's first layers are dense", "[compiler][import]") {
  std::string text = imported(deepseekV3Config()); // 5 layers, the first 3 dense
  CHECK(occurrences(text, "func.func") == 2);
  CHECK(contains(text, "@layer_3("));
  CHECK(contains(text, "@layer_4("));
}

TEST_CASE("no shared experts, one group and a scale of 1 leave no ops behind", "[compiler][import]") {
  json config = deepseekV3Config();
  config["n_group"] = 1;
  config["topk_group"] = 1;
  config["routed_scaling_factor"] = 1;
  for (json none : {json(nullptr), json(0)}) {
    config["n_shared_experts"] = none;
    std::string text = imported(config);
    CHECK_FALSE(contains(text, "shared"));
    CHECK_FALSE(contains(text, "groups"));
    CHECK_FALSE(contains(text, "moe.scale"));
  }
}

TEST_CASE("DeepSeek-V2 scales a softmax and ranks groups by their best, if it has groups", "[compiler][import]") {
  json config = deepseekV2Config();
  std::string text = imported(config);
  CHECK(contains(text, "moe.score softmax %logits"));
  CHECK(contains(text, "moe.top_k %scores {k = 2 : i64, groups = 4 : i64, groups_picked = 2 : i64, "
                       "group_top = 1 : i64}"));
  CHECK(contains(text, "%scaled = moe.scale %chosen by 2.5"));
  CHECK_FALSE(contains(text, "moe.normalize"));

  config["topk_method"] = "greedy"; // whatever the groups say then
  config["n_group"] = nullptr;
  CHECK(contains(imported(config), "moe.top_k %scores {k = 2 : i64} :"));
}

TEST_CASE("Kimi-K2 and GLM-4.5 are DeepSeek-V3 under other names", "[compiler][import]") {
  json config = deepseekV3Config();
  std::string expected = imported(config, {.name = "m"});
  for (const char *family : {"kimi_k2", "glm4_moe"}) {
    config["model_type"] = family;
    std::string text = imported(config, {.name = "m"});
    CHECK(text.starts_with(fmt::format("module attributes {{moe.family = \"{}\", ", family)));
    CHECK(text.substr(text.find('\n')) == expected.substr(expected.find('\n')));
  }
}

// Dimensions of the published models, and how many of their layers are MoE layers.
TEST_CASE("published models come out with their dimensions", "[compiler][import]") {
  struct Published {
    const char *folder;
    size_t layers;
    std::vector<const char *> parts;
  };
  const Published models[] = {
      {"olmoe-1b-7b", 16, {"@layer_0(", "tensor<64x1024x2048xbf16>", "k = 8 : i64", "moe.score softmax %logits"}},
      {"qwen3-30b-a3b", 48, {"@layer_47(", "tensor<128x768x2048xbf16>", "k = 8 : i64", "moe.normalize"}},
      {"mixtral-8x7b", 32, {"@layer_31(", "tensor<8x14336x4096xbf16>", "k = 2 : i64", "moe.score softmax %chosen"}},
      {"deepseek-v3",
       58,
       {"@layer_3(", "@layer_60(", "tensor<256x2048x7168xbf16>", "tensor<7168x2048xbf16>",
        "k = 8 : i64, groups = 8 : i64, groups_picked = 4 : i64, group_top = 2",
        "by 2.5 :", "gate_proj.weight\" {block_e4m3} : tensor<256x2048x7168xbf16>"}},
      {"deepseek-v2-lite", 26, {"@layer_1(", "tensor<64x1408x2048xbf16>", "tensor<2816x2048xbf16>", "{k = 6 : i64} :"}},
      {"qwen2-57b-a14b", 28, {"tensor<64x2560x3584xbf16>", "tensor<20480x3584xbf16>", "router %shared_router"}},
      {"kimi-k2",
       60,
       {"@layer_1(", "tensor<384x2048x7168xbf16>", "{block_e4m3}",
        "by 2.827 :", "correction %correction {k = 8 : i64} :"}},
      {"glm-4.5-air", 45, {"@layer_1(", "tensor<128x1408x4096xbf16>", "tensor<1408x4096xbf16>", "epsilon = 1.0e-20"}},
      {"gpt-oss-20b",
       24,
       {"@layer_23(", "tensor<32x2880x2880xbf16>", "tensor<32x2880xbf16>", "k = 4 : i64", "moe.score softmax %chosen",
        "arith.constant 7.0 : f32"}},
      {"llama-4-scout",
       48,
       {"@layer_0(", "tensor<16x8192x5120xbf16>", "tensor<5120x8192xbf16>", "k = 1 : i64", "moe.score sigmoid %chosen",
        "weight_on_input"}},
      {"mixtral-8x22b", 56, {"@layer_55(", "tensor<8x16384x6144xbf16>"}},
      {"qwen3-235b-a22b", 94, {"@layer_93(", "tensor<128x1536x4096xbf16>"}},
      {"gpt-oss-120b", 36, {"@layer_35(", "tensor<128x2880x2880xbf16>"}},
      {"glm-4.5", 89, {"@layer_3(", "@layer_91(", "tensor<160x1536x5120xbf16>", "by 2.5 :"}},
      {"llama-4-maverick", 24, {"@layer_47(", "tensor<128x8192x5120xbf16>"}},
  };
  for (const Published &model : models) {
    INFO(model.folder);
    std::string text = importedFile(std::string("configs/") + model.folder + "/config.json");
    CHECK(occurrences(text, "func.func") == model.layers);
    for (const char *part : model.parts) {
      INFO(part);
      CHECK(contains(text, part));
    }
  }
}

TEST_CASE("configs that transformers wrote are read with all their other keys", "[compiler][import]") {
  CHECK(contains(importedFile("mixtral/config.json"), "tensor<6x25x52xbf16>"));
  CHECK(contains(importedFile("qwen2_moe/config.json"), "tensor<33x48xbf16>"));
  CHECK(contains(importedFile("olmoe/config.json"), "tensor<6x24x48xf32>"));
  CHECK(contains(importedFile("deepseek_v3/config.json"), "tensor<48x48xbf16>"));
  CHECK(occurrences(importedFile("deepseek_v3/config.json"), "block_e4m3") == 0);
  CHECK(occurrences(importedFile("deepseek_v3_fp8/config.json"), "block_e4m3") ==
        6); // one layer's experts, shared ones
  CHECK(occurrences(importedFile("gpt_oss_mxfp4/config.json"), "block_e4m3") == 0);
  CHECK(contains(importedFile("llama4_text/config.json"), "@layer_1("));
  CHECK(contains(importedFile("llama4/config.json"), "tensor<5x22x44xf32>"));
  std::string qwen3 = importedFile("qwen3_moe/config.json");
  CHECK(contains(qwen3, "@layer_1("));
  CHECK_FALSE(contains(qwen3, "@layer_0("));
}
