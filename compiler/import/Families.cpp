#include "compiler/import/Families.h"

#include "compiler/import/ConfigReads.h"

namespace moec::importer {

namespace {

std::vector<uint32_t> allLayers(const JsonValue &config) {
  std::vector<uint32_t> layers(readLayerCount(config));
  for (uint32_t layer = 0; layer < layers.size(); ++layer)
    layers[layer] = layer;
  return layers;
}

// The model code takes a softmax over all experts, the best K of it, and divides those by their
// sum. The softmax's own sum cancels out, which leaves a softmax over the chosen K.
void readMixtral(const JsonValue &config, ModelSpec &spec) {
  readShape(config, {.experts = "num_local_experts", .intermediate = "intermediate_size"}, spec);
  spec.router.before = Scoring::None;
  spec.router.after = Scoring::Softmax;
  spec.names = {.block = "block_sparse_moe", .gate = "w1", .up = "w3", .down = "w2"};
  spec.layers = allLayers(config);
}

void readOlmoe(const JsonValue &config, ModelSpec &spec) {
  readShape(config, {.experts = "num_experts", .intermediate = "intermediate_size"}, spec);
  spec.router.renormalise = config["norm_topk_prob"].flag();
  spec.layers = allLayers(config);
}

void readQwen3(const JsonValue &config, ModelSpec &spec) {
  readShape(config, {.experts = "num_experts", .intermediate = "moe_intermediate_size"}, spec);
  spec.router.renormalise = config["norm_topk_prob"].flag();
  spec.layers = readSparseLayers(config);
}

void readQwen2(const JsonValue &config, ModelSpec &spec) {
  readQwen3(config, spec);
  spec.shape.sharedIntermediate =
      static_cast<uint32_t>(config["shared_expert_intermediate_size"].integer(1, maxDimension));
  spec.shape.sharedGate = true;
  spec.names.shared = "shared_expert";
}

void readDeepseekShape(const JsonValue &config, ModelSpec &spec) {
  readShape(config, {.experts = "n_routed_experts", .intermediate = "moe_intermediate_size"}, spec);
  readSharedExperts(config, spec);
  spec.router.scale = config["routed_scaling_factor"].number(0, 1e6);
  spec.layers = readLayersBehindDense(config);
}

void readDeepseekV2(const JsonValue &config, ModelSpec &spec) {
  readDeepseekShape(config, spec);
  expectText(config, "scoring_func", "softmax");
  std::string method = config["topk_method"].text();
  if (method == "group_limited_greedy")
    readGroups(config, /*groupTop=*/1, spec);
  else if (method != "greedy")
    config["topk_method"].expected("\"greedy\" or \"group_limited_greedy\"");
  // transformers never renormalises here; model code on the hub would, and then leave the scale
  // out.
  if (config.has("norm_topk_prob") && config["norm_topk_prob"].flag())
    config["norm_topk_prob"].expected("false");
}

// Also Kimi-K2, which is DeepSeek-V3's code under another model_type, and GLM-4.5, whose code is
// the same.
void readDeepseekV3(const JsonValue &config, ModelSpec &spec) {
  readDeepseekShape(config, spec);
  expectText(config, "scoring_func", "sigmoid");
  expectText(config, "topk_method", "noaux_tc");
  readGroups(config, /*groupTop=*/2, spec);
  spec.router.before = Scoring::Sigmoid;
  spec.router.correctionBias = true;
  spec.router.renormalise = config["norm_topk_prob"].flag();
  if (spec.router.renormalise)
    spec.router.epsilon = 1e-20; // K sigmoids can all underflow to 0
}

// The hub's checkpoints are MXFP4; the config says so, but shapes and plans do not depend on it (runtime/weights reads
// them).
void readGptOss(const JsonValue &config, ModelSpec &spec) {
  readShape(config, {.experts = "num_local_experts", .intermediate = "intermediate_size"}, spec);
  expectText(config, "hidden_act", "silu"); // which its model code does not read
  spec.activation = Activation::ClampedSwiglu;
  if (config.has("swiglu_alpha"))
    spec.clamped.alpha = config["swiglu_alpha"].number(0, 1e6);
  if (config.has("swiglu_limit"))
    spec.clamped.limit = config["swiglu_limit"].number(0, 1e6);
  spec.shape.expertBias = true;
  spec.router.routerBias = true;
  spec.router.before = Scoring::None;
  spec.router.after = Scoring::Softmax;
  spec.names.router = "router";
  spec.layers = allLayers(config);
}

// The sigmoid of a chosen logit multiplies what the expert takes in; the shared expert is as wide as
// the others. `intermediate_size_mlp` is that of dense layers.
void readLlama4Text(const JsonValue &config, ModelSpec &spec) {
  readShape(config, {.experts = "num_local_experts", .intermediate = "intermediate_size"}, spec);
  spec.shape.sharedIntermediate = spec.shape.intermediate;
  spec.shape.weightOnInput = true;
  spec.router.before = Scoring::None;
  spec.router.after = Scoring::Sigmoid;
  spec.names.block = "feed_forward";
  spec.names.router = "router";
  spec.names.shared = "shared_expert";
  spec.layers = readInterleavedLayers(config);
}

// The published models, which see images too: the text model is one part of them.
void readLlama4(const JsonValue &config, ModelSpec &spec) {
  readLlama4Text(config["text_config"], spec);
  spec.names.model = "language_model.model";
}

struct Family {
  const char *name; // the config's model_type
  void (*read)(const JsonValue &config, ModelSpec &spec);
};

constexpr Family families[] = {
    {"mixtral", readMixtral},        {"qwen2_moe", readQwen2},
    {"qwen3_moe", readQwen3},        {"olmoe", readOlmoe},
    {"deepseek_v2", readDeepseekV2}, {"deepseek_v3", readDeepseekV3},
    {"kimi_k2", readDeepseekV3},     {"glm4_moe", readDeepseekV3},
    {"gpt_oss", readGptOss},         {"llama4_text", readLlama4Text},
    {"llama4", readLlama4},
};

std::string familyNames() {
  std::string names;
  for (const Family &family : families)
    names += (names.empty() ? "" : ", ") + std::string(family.name);
  return names;
}

DType readDType(const JsonValue &config) {
  // transformers 5 writes `dtype`; before it, `torch_dtype`. Where both are, the new one counts, as
  // it does there.
  for (const char *key : {"dtype", "torch_dtype"}) {
    if (!config.has(key) || config[key].isNull())
      continue;
    std::string name = config[key].text();
    for (auto [text, dtype] :
         {std::pair("bfloat16", DType::BF16), std::pair("float16", DType::F16), std::pair("float32", DType::F32)})
      if (name == text)
        return dtype;
    config[key].expected("bfloat16, float16 or float32");
  }
  // Of a model with several parts the text model's own may say it.
  return config.has("text_config") ? readDType(config["text_config"]) : DType::BF16;
}

} // namespace

ModelSpec readModelSpec(const JsonValue &config) {
  ModelSpec spec;
  JsonValue type = config["model_type"];
  std::string name = type.text();
  for (const Family &family : families) {
    if (name != family.name)
      continue;
    spec.family = family.name;
    family.read(config, spec);
    spec.shape.dtype = readDType(config);
    return spec;
  }
  type.expected("one of " + familyNames());
  return spec;
}

} // namespace moec::importer
