#include "compiler/jit/ShippedKernels.h"

#include <algorithm>
#include <span>

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
  bool dense; // shipped as a dense product too: there the rows are known, and three shapes do
};

// At most 99 KB of shared memory, so that sm_86, sm_89 and sm_120 run them too.
constexpr TileClass portableClasses[] = {
    {16, 128, 5, 1, 4, 2, false, true},
    {32, 128, 4, 1, 4, 2, false, false},
    {64, 128, 3, 2, 2, 2, false, true},
    {128, 128, 3, 2, 4, 2, false, true},
};

// At most 227 KB. Few tokens: all of it in flight for the weights. `warpsTokens` counts multiplying warpgroups.
constexpr TileClass hopperClasses[] = {
    {8, 128, 12, 1, 1, 1, true, false},   {16, 128, 12, 1, 1, 1, true, true}, {16, 128, 6, 1, 1, 2, true, false},
    {32, 128, 10, 1, 1, 1, true, false},  {64, 128, 8, 1, 1, 1, true, true},  {64, 256, 5, 2, 1, 1, true, false},
    {128, 128, 6, 2, 1, 1, false, false}, {128, 256, 4, 2, 1, 1, false, true},
};

/// Tiles of the router's product, each good up to `maxTokens`: small tiles reach more multiprocessors, large ones read
/// less. With 256 experts each class begins where the one before would need more than about two blocks a multiprocessor.
struct RouterClass {
  uint32_t maxTokens, tileTokens, tileExperts;
};
constexpr RouterClass routerClasses[] = {{4, 16, 2}, {64, 16, 8}, {512, 32, 32}, {UINT32_MAX, 64, 64}};

constexpr uint32_t knownExperts[] = {8, 16, 32, 60, 64, 128, 160, 256, 384};

std::span<const TileClass> classesOf(GemmFamily family) {
  return family == GemmFamily::Portable ? std::span<const TileClass>(portableClasses) : hopperClasses;
}

GemmConfig gemmConfig(const TileClass &c, Element element, GemmRole role, bool dense) {
  return {.element = element,
          .role = role,
          .tileTokens = c.tileTokens,
          .tileWeights = c.tileWeights,
          .tileK = 64,
          .stages = c.stages,
          .warpsTokens = c.warpsTokens,
          .warpsWeights = c.warpsWeights,
          .swapAB = c.swapAB,
          .blocksPerSm = c.blocksPerSm,
          .dense = dense};
}

} // namespace

std::vector<GemmConfig> shippedGemms(GemmFamily family, Element element, GemmRole role) {
  std::vector<GemmConfig> configs;
  for (const TileClass &c : classesOf(family))
    configs.push_back(gemmConfig(c, element, role, false));
  return configs;
}

std::vector<GemmConfig> shippedDenseGemms(GemmFamily family, Element element, GemmRole role) {
  std::vector<GemmConfig> configs;
  for (const TileClass &c : classesOf(family))
    if (c.dense)
      configs.push_back(gemmConfig(c, element, role, true));
  return configs;
}

GemmConfig denseGemmFor(GemmFamily family, Element element, GemmRole role, uint32_t numRows) {
  const std::vector<GemmConfig> configs = shippedDenseGemms(family, element, role);
  const auto fits = [&](const GemmConfig &c) { return numRows <= c.tileTokens; };
  const auto found = std::find_if(configs.begin(), configs.end(), fits);
  return found == configs.end() ? configs.back() : *found;
}

ShippedKernel shippedGemm(GemmFamily family, const GemmConfig &c) {
  const bool portable = family == GemmFamily::Portable;
  const std::string activation = c.role == GemmRole::GateUp ? "SiluGate" : "NoActivation";
  ShippedKernel kernel;
  kernel.name = fmt::format("{}-{}-{}-{}x{}-s{}-b{}{}", portable ? "portable" : c.swapAB ? "swapped" : "hopper",
                            shortName(c.role), shortName(c.element), c.tileTokens, c.tileWeights, c.stages,
                            c.blocksPerSm, c.dense ? "-dense" : "");
  kernel.unit.files = {portable ? KernelFile::GroupedGemmPortable : KernelFile::GroupedGemmSm90};
  kernel.unit.kernels = {portable ? gemmPortableKernel(c, activation) : gemmSm90Kernel(c, activation)};
  return kernel;
}

std::vector<RouterGemmConfig> shippedRouterGemms(Element element) {
  std::vector<RouterGemmConfig> configs;
  for (const RouterClass &c : routerClasses)
    configs.push_back({.element = element, .tileTokens = c.tileTokens, .tileExperts = c.tileExperts});
  return configs;
}

uint32_t routerMaxTokens(const RouterGemmConfig &config) {
  for (const RouterClass &c : routerClasses)
    if (c.tileTokens == config.tileTokens && c.tileExperts == config.tileExperts)
      return c.maxTokens;
  return UINT32_MAX;
}

RouterGemmConfig routerGemmFor(Element element, uint32_t numTokens) {
  size_t i = 0;
  while (i + 1 < std::size(routerClasses) && numTokens > routerClasses[i].maxTokens)
    ++i;
  return shippedRouterGemms(element)[i];
}

ShippedKernel shippedRouterLogits(const RouterGemmConfig &c) {
  return {fmt::format("routerlogits-{}-{}x{}", shortName(c.element), c.tileTokens, c.tileExperts),
          {.files = {KernelFile::RouterLogits}, .functors = {}, .kernels = {routerLogitsKernel(c)}}};
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

CombineConfig shippedCombineConfig(Element element, uint32_t topK) {
  return {.element = element, .topK = topK, .threads = 256};
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
      make(64, 8, Softmax, None, false, false, 1, 1, 1),  // OLMoE, Qwen2-57B-A14B
      make(60, 4, Softmax, None, false, false, 1, 1, 1),  // Qwen1.5-MoE
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
    for (const RouterGemmConfig &config : shippedRouterGemms(element))
      all.push_back(shippedRouterLogits(config));
    for (uint32_t topK : {1u, 2u, 4u, 6u, 8u})
      all.push_back(shippedCombine(shippedCombineConfig(element, topK)));
    for (GemmRole role : {GemmRole::GateUp, GemmRole::Down}) {
      for (GemmFamily family : {GemmFamily::Portable, GemmFamily::Hopper}) {
        if (family == GemmFamily::Hopper && target != "sm_90a")
          continue;
        for (const GemmConfig &config : shippedGemms(family, element, role))
          all.push_back(shippedGemm(family, config));
        for (const GemmConfig &config : shippedDenseGemms(family, element, role))
          all.push_back(shippedGemm(family, config));
      }
    }
  }
  return all;
}

} // namespace moec
