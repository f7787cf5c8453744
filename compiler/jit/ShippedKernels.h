// The kernels that we ship: which configs the planner may choose from. All of them compile without spills for their
// targets (tests/unit/kernels) and are verified on hardware (tools/bench/gpu).
#pragma once

#include "compiler/core/Config.h"
#include "compiler/jit/KernelText.h"
#include "compiler/kernels/KernelAbi.h"

#include <string>
#include <vector>

namespace moec {

/// A kernel under the short name that tools show and files carry.
struct ShippedKernel {
  std::string name; // e.g. "hopper-gateup-bf16-128x256-s4"; letters, digits and '-'
  KernelUnit unit;  // one instantiation
};

/// A tile class (compiler/core/CudaTiles.h) as the kernels' template argument.
GemmConfig gemmConfig(const CudaTile &tile, Element element, GemmRole role, bool dense = false);

/// The tile classes of a family, for one element and role.
std::vector<GemmConfig> shippedGemms(GemmFamily family, Element element, GemmRole role);

/// Those of them that are shipped as dense products too (shared experts), from few rows to many.
std::vector<GemmConfig> shippedDenseGemms(GemmFamily family, Element element, GemmRole role);
/// The one for so many rows.
GemmConfig denseGemmFor(GemmFamily family, Element element, GemmRole role, uint32_t numRows);

/// The instantiation of a family's product (KernelText.h) with an activation.
std::string gemmKernel(GemmFamily family, const GemmConfig &config, const std::string &activation);

ShippedKernel shippedGemm(GemmFamily family, const GemmConfig &config);
ShippedKernel shippedRouterLogits(const RouterGemmConfig &config);
ShippedKernel shippedRoute(const RouteConfig &config);
ShippedKernel shippedDispatch(const char *step, const DispatchConfig &config);
ShippedKernel shippedDownFew(const DownFewConfig &config);
ShippedKernel shippedCombine(const CombineConfig &config);

/// All tiles of the router's product that `target` has the registers for. The results are the same bits.
std::vector<RouterGemmConfig> shippedRouterGemms(Element element, const std::string &target);

/// A tile of the router's product, and the tokens up to which it is the best one.
struct RouterChoice {
  RouterGemmConfig config;
  uint32_t maxTokens;
};
/// The tiles for so many experts, from few tokens to many; the last one is for any number.
std::vector<RouterChoice> routerChoices(Element element, uint32_t experts, const std::string &target);
/// The one for so many tokens.
RouterGemmConfig routerGemmFor(Element element, uint32_t experts, const std::string &target, uint32_t numTokens);

/// The routers of the models that we know (compiler/core/LayerShape.h has the meaning of the fields).
std::vector<RouteConfig> shippedRouters();

/// Everything that a target can run: all of the above, and the Hopper and fitted families, e4m3's and downFew of both
/// where `target` is sm_90a.
std::vector<ShippedKernel> shippedKernels(const std::string &target);

} // namespace moec
