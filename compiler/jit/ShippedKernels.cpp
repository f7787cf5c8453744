#include "compiler/jit/ShippedKernels.h"

namespace moec {
namespace {

const char *shortName(Element element) { return element == Element::BF16 ? "bf16" : "f16"; }
const char *shortName(GemmRole role) { return role == GemmRole::GateUp ? "gateup" : "down"; }
const char *shortName(RouteScoring scoring) {
  return scoring == RouteScoring::None ? "none" : scoring == RouteScoring::Softmax ? "softmax" : "sigmoid";
}

/// What distinguishes the tile classes; the rest of a GemmConfig is the same for all.
struct TileClass {
  uint32_t tileTokens, tileWeights, stages, warpsTokens, warpsWeights, blocksPerSm;
  bool swapAB;
};

// At most 99 KB of shared memory, so that sm_86, sm_89 and sm_120 run them too.
constexpr TileClass portableClasses[] = {
    {16, 128, 5, 1, 4, 2, false},
    {32, 128, 4, 1, 4, 2, false},
    {64, 128, 3, 2, 2, 2, false},
    {128, 128, 3, 2, 4, 2, false},
};

// At most 227 KB. Few tokens: all of it in flight for the weights. `warpsTokens` counts multiplying warpgroups.
constexpr TileClass hopperClasses[] = {
    {8, 128, 12, 1, 1, 1, true},   {16, 128, 12, 1, 1, 1, true}, {16, 128, 6, 1, 1, 2, true},
    {32, 128, 10, 1, 1, 1, true},  {64, 128, 8, 1, 1, 1, true},  {64, 256, 5, 2, 1, 1, true},
    {128, 128, 6, 2, 1, 1, false}, {128, 256, 4, 2, 1, 1, false},
};

constexpr uint32_t knownExperts[] = {8, 32, 64, 128, 160, 256, 384};

} // namespace

std::vector<GemmConfig> shippedGemms(GemmFamily family, Element element, GemmRole role) {
  std::vector<GemmConfig> configs;
  const auto add = [&](const TileClass &c) {
    configs.push_back({.element = element,
                       .role = role,
                       .tileTokens = c.tileTokens,
                       .tileWeights = c.tileWeights,
                       .tileK = 64,
                       .stages = c.stages,
                       .warpsTokens = c.warpsTokens,
                       .warpsWeights = c.warpsWeights,
                       .swapAB = c.swapAB,
                       .blocksPerSm = c.blocksPerSm,
                       .dense = false});
  };
  if (family == GemmFamily::Portable)
    for (const TileClass &c : portableClasses)
      add(c);
  else
    for (const TileClass &c : hopperClasses)
      add(c);
  return configs;
}

ShippedKernel shippedGemm(GemmFamily family, const GemmConfig &c) {
  const bool portable = family == GemmFamily::Portable;
  const std::string activation = c.role == GemmRole::GateUp ? "SiluGate" : "NoActivation";
  ShippedKernel kernel;
  kernel.name = fmt::format("{}-{}-{}-{}x{}-s{}-b{}", portable ? "portable" : c.swapAB ? "swapped" : "hopper",
                            shortName(c.role), shortName(c.element), c.tileTokens, c.tileWeights, c.stages,
                            c.blocksPerSm);
  kernel.unit.files = {portable ? KernelFile::GroupedGemmPortable : KernelFile::GroupedGemmSm90};
  kernel.unit.kernels = {portable ? gemmPortableKernel(c, activation) : gemmSm90Kernel(c, activation)};
  return kernel;
}

ShippedKernel shippedRoute(const RouteConfig &c) {
  return {fmt::format("route-e{}-k{}-{}-{}{}{}-g{}-{}-{}", c.experts, c.topK, shortName(c.before), shortName(c.after),
                      c.correctionBias ? "-bias" : "", c.renormalise ? "-norm" : "", c.groups, c.groupsPicked,
                      c.groupTop),
          {.files = {KernelFile::Route}, .functors = {}, .kernels = {routeKernel(c)}}};
}

ShippedKernel shippedDispatch(const char *step, const DispatchConfig &c) {
  return {fmt::format("dispatch{}-e{}", step, c.experts),
          {.files = {KernelFile::Dispatch}, .functors = {}, .kernels = {dispatchKernel(step, c)}}};
}

ShippedKernel shippedCombine(const CombineConfig &c) {
  return {fmt::format("combine-{}-k{}", shortName(c.element), c.topK),
          {.files = {KernelFile::Combine}, .functors = {}, .kernels = {combineKernel(c)}}};
}

DispatchConfig dispatchConfig(uint32_t experts) {
  // 16 warps: their counters for 384 experts take 24 KB of the 48 KB that static shared memory may have.
  return {.experts = experts, .threads = 512, .pairsPerBlock = 2048};
}

std::vector<RouteConfig> shippedRouters() {
  const auto make = [](uint32_t experts, uint32_t topK, RouteScoring before, RouteScoring after, bool bias, bool norm,
                       uint32_t groups, uint32_t picked, uint32_t top) {
    return RouteConfig{.experts = experts,
                       .topK = topK,
                       .before = before,
                       .after = after,
                       .correctionBias = bias,
                       .renormalise = norm,
                       .groups = groups,
                       .groupsPicked = picked,
                       .groupTop = top,
                       .threads = 128};
  };
  using enum RouteScoring;
  return {
      make(8, 2, Softmax, None, false, true, 1, 1, 1),    // Mixtral
      make(64, 8, Softmax, None, false, false, 1, 1, 1),  // OLMoE
      make(128, 8, Softmax, None, false, true, 1, 1, 1),  // Qwen3
      make(128, 4, None, Softmax, false, false, 1, 1, 1), // gpt-oss
      make(160, 6, Softmax, None, false, false, 8, 3, 1), // DeepSeek-V2
      make(256, 8, Sigmoid, None, true, true, 8, 4, 2),   // DeepSeek-V3
      make(384, 8, Sigmoid, None, true, true, 1, 1, 1),   // Kimi-K2
      make(16, 1, None, Sigmoid, false, false, 1, 1, 1),  // Llama-4-Scout
  };
}

std::vector<ShippedKernel> shippedKernels(const std::string &target) {
  std::vector<ShippedKernel> all;
  for (const RouteConfig &config : shippedRouters())
    all.push_back(shippedRoute(config));
  for (uint32_t experts : knownExperts)
    for (const char *step : {"OneBlock", "Count", "Scan", "Place"})
      all.push_back(shippedDispatch(step, dispatchConfig(experts)));
  for (Element element : {Element::BF16, Element::F16}) {
    for (uint32_t topK : {1u, 2u, 4u, 6u, 8u})
      all.push_back(shippedCombine({.element = element, .topK = topK, .threads = 256}));
    for (GemmRole role : {GemmRole::GateUp, GemmRole::Down}) {
      for (const GemmConfig &config : shippedGemms(GemmFamily::Portable, element, role))
        all.push_back(shippedGemm(GemmFamily::Portable, config));
      if (target == "sm_90a")
        for (const GemmConfig &config : shippedGemms(GemmFamily::Hopper, element, role))
          all.push_back(shippedGemm(GemmFamily::Hopper, config));
    }
  }
  return all;
}

} // namespace moec
