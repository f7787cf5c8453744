#include "compiler/jit/ShippedKernels.h"

#include "compiler/core/CudaLaunch.h"
#include "compiler/core/CudaTiles.h"
#include "compiler/jit/ShippedFp8.h"

#include <algorithm>
#include <charconv>
#include <string_view>

namespace moec {
namespace {

const char *shortName(Element element) { return element == Element::BF16 ? "bf16" : "f16"; }
const char *shortName(GemmRole role) { return role == GemmRole::GateUp ? "gateup" : "down"; }
const char *shortName(RouteScoring scoring) {
  return scoring == RouteScoring::None ? "none" : scoring == RouteScoring::Softmax ? "softmax" : "sigmoid";
}

/// Tiles of the router's product: small ones reach more multiprocessors, large ones read less.
struct RouterTile {
  uint32_t tokens, experts;
};
constexpr RouterTile routerTiles[] = {{8, 2}, {16, 8}, {32, 32}, {64, 64}, {128, 128}};
/// The same by wgmma.
constexpr RouterTile routerTilesSm90[] = {{64, 64}, {128, 64}, {128, 128}};
/// From how many tokens on those are taken, and the multiprocessors that they are chosen for.
constexpr uint32_t routerTokensSm90 = 513, routerProcessorsSm90 = 132;

/// Tiles of 64 by 64 need 242 registers on sm_80 to sm_90 and spill from sm_100 on.
bool hasRouterTile64(std::string_view target) {
  constexpr std::string_view prefix = "sm_";
  unsigned number = 0;
  std::from_chars(target.data() + prefix.size(), target.data() + target.size(), number);
  return number < 100;
}

/// Appends tiles of wgmma, from many blocks that read little each to few that read less together: each up to what all
/// multiprocessors have room for at once, the last one for any number of tokens.
void addRouterChoicesSm90(Element element, uint32_t experts, std::vector<RouterChoice> &choices) {
  RouterChoice last;
  for (const RouterTile &tile : routerTilesSm90) {
    if (tile.experts > 64 && tile.experts >= 2 * experts)
      break; // half of it would have no experts
    const uint32_t columns = ceilDivide(experts, tile.experts);
    last = {{element, tile.tokens, tile.experts, true}, routerProcessorsSm90 / columns * tile.tokens};
    if (last.maxTokens >= 2 * routerTokensSm90) // else a kernel for next to nothing
      choices.push_back(last);
  }
  if (!choices.back().config.wgmma)
    choices.push_back(last);
  choices.back().maxTokens = UINT32_MAX;
}

constexpr uint32_t knownTopK[] = {1, 2, 4, 6, 8};
constexpr uint32_t knownExperts[] = {8, 16, 32, 60, 64, 128, 160, 256, 384};
// Of the models whose shared expert joins the routed ones: GLM-4.5, DeepSeek-V3, Kimi-K2.
constexpr uint32_t joinedExperts[] = {160, 256, 384};

KernelFile fileOf(std::string_view dispatchStep) {
  return dispatchStep == "Grid"      ? KernelFile::DispatchGrid
         : dispatchStep == "Cluster" ? KernelFile::DispatchCluster
         : dispatchStep == "Slots"   ? KernelFile::DispatchSlots
                                     : KernelFile::Dispatch;
}

/// Shipped as dense products too: there the rows are known, and a few shapes do.
bool shippedDense(const CudaTile &tile) {
  if (!hasDenseForm(tile))
    return false;
  if (tile.family == GemmFamily::Portable)
    return tile.tokens != 32;
  return (tile.tokens == 16 && tile.stages == 12) || (tile.tokens == 64 && tile.weights == 128) ||
         (tile.tokens == 128 && tile.weights == 256);
}

std::vector<GemmConfig> configsOf(GemmFamily family, Element element, GemmRole role, bool dense) {
  std::vector<GemmConfig> configs;
  for (const CudaTile &tile : cudaTileClasses())
    if (tile.family == family && (!dense || shippedDense(tile)))
      configs.push_back(gemmConfig(tile, element, role, dense));
  return configs;
}

} // namespace

GemmConfig gemmConfig(const CudaTile &tile, Element element, GemmRole role, bool dense) {
  return gemmConfigOf(tile, element == Element::F16 ? DType::F16 : DType::BF16, role, dense);
}

std::vector<GemmConfig> shippedGemms(GemmFamily family, Element element, GemmRole role) {
  return configsOf(family, element, role, false);
}

std::vector<GemmConfig> shippedDenseGemms(GemmFamily family, Element element, GemmRole role) {
  return configsOf(family, element, role, true);
}

GemmConfig denseGemmFor(GemmFamily family, Element element, GemmRole role, uint32_t numRows) {
  const std::vector<GemmConfig> configs = shippedDenseGemms(family, element, role);
  const auto fits = [&](const GemmConfig &c) { return numRows <= c.tileTokens; };
  const auto found = std::find_if(configs.begin(), configs.end(), fits);
  return found == configs.end() ? configs.back() : *found;
}

std::string gemmKernel(GemmFamily family, const GemmConfig &config, const std::string &activation) {
  switch (family) {
  case GemmFamily::Portable: return gemmPortableKernel(config, activation);
  case GemmFamily::Hopper: return gemmSm90Kernel(config, activation);
  case GemmFamily::Fitted: return gemmFittedKernel(config, activation);
  case GemmFamily::Fp8: return gemmFp8Kernel(config, activation);
  }
  return "";
}

ShippedKernel shippedGemm(GemmFamily family, const GemmConfig &c) {
  if (family == GemmFamily::Fp8)
    return shippedFp8Gemm(c);
  const char *prefix = family == GemmFamily::Portable ? "portable"
                       : family == GemmFamily::Fitted ? "fitted"
                       : c.swapAB                     ? "swapped"
                                                      : "hopper";
  const std::string activation = c.role == GemmRole::GateUp ? "SiluGate" : "NoActivation";
  ShippedKernel kernel;
  kernel.name = fmt::format("{}-{}-{}-{}x{}-s{}-b{}{}{}{}{}", prefix, shortName(c.role), shortName(c.element),
                            c.tileTokens, c.tileWeights, c.stages, c.blocksPerSm, c.dense ? "-dense" : "",
                            c.biased ? "-bias" : "", c.weighted ? "-weighted" : "", c.combines ? "-combining" : "");
  if (c.tileK != kCudaTileK)
    kernel.name += fmt::format("-k{}", c.tileK);
  kernel.unit.files = {family == GemmFamily::Portable ? KernelFile::GroupedGemmPortable
                       : family == GemmFamily::Fitted ? KernelFile::GroupedGemmFitted
                                                      : KernelFile::GroupedGemmSm90};
  kernel.unit.kernels = {gemmKernel(family, c, activation)};
  return kernel;
}

std::vector<RouterGemmConfig> shippedRouterGemms(Element element, const std::string &target) {
  std::vector<RouterGemmConfig> configs;
  for (const RouterTile &tile : routerTiles)
    if (tile.tokens != 64 || hasRouterTile64(target))
      configs.push_back({.element = element, .tileTokens = tile.tokens, .tileExperts = tile.experts});
  if (target == "sm_90a")
    for (const RouterTile &tile : routerTilesSm90)
      configs.push_back({.element = element, .tileTokens = tile.tokens, .tileExperts = tile.experts, .wgmma = true});
  return configs;
}

// Where one tile overtakes another was measured (docs/gpu-kernels.md).
std::vector<RouterChoice> routerChoices(Element element, uint32_t experts, const std::string &target) {
  const auto tile = [&](uint32_t tokens, uint32_t columns) { return RouterGemmConfig{element, tokens, columns}; };
  constexpr uint32_t any = UINT32_MAX;
  if (experts <= 8) // larger ones would multiply columns that nobody asked for
    return {{tile(8, 2), 4}, {tile(16, 8), any}};
  if (!hasRouterTile64(target)) // not measured there
    return {{tile(8, 2), 4}, {tile(16, 8), 64}, {tile(32, 32), 8192}, {tile(128, 128), any}};
  std::vector<RouterChoice> choices = {{tile(8, 2), 4}, {tile(16, 8), 64}, {tile(32, 32), 512}};
  if (target == "sm_90a") {
    addRouterChoicesSm90(element, experts, choices);
    return choices;
  }
  choices.push_back({tile(64, 64), any});
  if (experts > 64) { // and tokens for all multiprocessors
    choices.back().maxTokens = 8192;
    choices.push_back({tile(128, 128), any});
  }
  return choices;
}

RouterGemmConfig routerGemmFor(Element element, uint32_t experts, const std::string &target, uint32_t numTokens) {
  const std::vector<RouterChoice> choices = routerChoices(element, experts, target);
  return std::find_if(choices.begin(), choices.end(),
                      [&](const RouterChoice &choice) { return numTokens <= choice.maxTokens; })
      ->config;
}

ShippedKernel shippedRouterLogits(const RouterGemmConfig &c) {
  return {fmt::format("routerlogits-{}-{}x{}{}", shortName(c.element), c.tileTokens, c.tileExperts,
                      c.wgmma ? "-wgmma" : ""),
          {.files = {c.wgmma ? KernelFile::RouterLogitsSm90 : KernelFile::RouterLogits},
           .functors = {},
           .kernels = {routerLogitsKernel(c)}}};
}

ShippedKernel shippedRoute(const RouteConfig &c) {
  return {fmt::format("route-e{}-k{}-{}-{}{}{}-g{}-{}-{}", c.experts, c.topK, shortName(c.before), shortName(c.after),
                      c.correctionBias ? "-bias" : "", c.renormalise ? "-norm" : "", c.groups, c.groupsPicked,
                      c.groupTop),
          {.files = {KernelFile::Route}, .functors = {}, .kernels = {routeKernel(c)}}};
}

ShippedKernel shippedDispatch(const char *step, const DispatchConfig &c) {
  return {fmt::format("dispatch{}-e{}{}", step, c.experts, c.joined ? "-joined" : ""),
          {.files = {fileOf(step)}, .functors = {}, .kernels = {dispatchKernel(step, c)}}};
}

ShippedKernel shippedDownFew(const DownFewConfig &c) {
  return {fmt::format("downfew-{}-k{}{}", shortName(c.element), c.topK, c.biased ? "-bias" : ""),
          {.files = {KernelFile::DownFew}, .functors = {}, .kernels = {downFewKernel(c)}}};
}

ShippedKernel shippedCombine(const CombineConfig &c) {
  return {fmt::format("combine-{}-k{}{}", shortName(c.element), c.topK, c.weighted ? "" : "-unweighted"),
          {.files = {KernelFile::Combine}, .functors = {}, .kernels = {combineKernel(c)}}};
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
                       .threads = kRouteThreads};
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
      make(160, 8, Sigmoid, None, true, true, 1, 1, 1),   // GLM-4.5
      make(384, 8, Sigmoid, None, true, true, 1, 1, 1),   // Kimi-K2
      make(16, 1, None, Sigmoid, false, false, 1, 1, 1),  // Llama-4-Scout
  };
}

std::vector<ShippedKernel> shippedKernels(const std::string &target) {
  std::vector<ShippedKernel> all;
  for (const RouteConfig &config : shippedRouters())
    all.push_back(shippedRoute(config));
  for (uint32_t experts : knownExperts) {
    for (const char *step : dispatchSteps(target))
      all.push_back(shippedDispatch(step, dispatchConfigOf(experts)));
    all.push_back(shippedDispatch("Slots", dispatchConfigOf(experts)));
  }
  for (uint32_t experts : joinedExperts)
    for (const char *step : dispatchSteps(target))
      all.push_back(shippedDispatch(step, dispatchConfigOf(experts, true)));
  for (Element element : {Element::BF16, Element::F16}) {
    for (const RouterGemmConfig &config : shippedRouterGemms(element, target))
      all.push_back(shippedRouterLogits(config));
    for (uint32_t topK : knownTopK)
      all.push_back(shippedCombine(combineConfigOf(element, topK)));
    for (uint32_t topK : knownTopK)
      if (topK >= kDownFewLeastTopK && target == "sm_90a")
        all.push_back(shippedDownFew({element, topK}));
    for (GemmRole role : {GemmRole::GateUp, GemmRole::Down}) {
      for (GemmFamily family : {GemmFamily::Portable, GemmFamily::Hopper, GemmFamily::Fitted}) {
        if (family != GemmFamily::Portable && target != "sm_90a")
          continue;
        for (const GemmConfig &config : shippedGemms(family, element, role)) {
          all.push_back(shippedGemm(family, config));
          if (family == GemmFamily::Fitted && role == GemmRole::Down)
            all.push_back(shippedGemm(family, combining(config)));
        }
        for (const GemmConfig &config : shippedDenseGemms(family, element, role))
          all.push_back(shippedGemm(family, config));
      }
    }
  }
  if (target == "sm_90a") {
    all.push_back(shippedDownFew({.element = Element::BF16, .topK = 4, .biased = true})); // gpt-oss
    for (uint32_t topK : knownTopK)
      for (uint32_t groups = 1; groups == 1 || topK * groups <= kDownFewFp8Pairs; groups *= 2)
        all.push_back(shippedDownFewFp8(topK, groups));
    for (ShippedKernel &kernel : shippedFp8Kernels())
      all.push_back(std::move(kernel));
  }
  return all;
}

} // namespace moec
