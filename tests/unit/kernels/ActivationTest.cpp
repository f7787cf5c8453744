// Activations as code generation writes them, in the epilogues with the fewest registers to spare.
#include "compiler/jit/Nvrtc.h"
#include "compiler/jit/ShippedKernels.h"
#include "tests/unit/Catch.h"

#include <algorithm>

using namespace moec;

namespace {

const Functor functors[] = {
    {"Silu", "    return gate / (1.0f + __expf(-gate)) * up;"},
    {"Gelu", "    return (erff(gate * 0.707106769f) + 1.0f) * (gate * 0.5f) * up;"},
    {"GeluTanh", "    const float v0 = gate * gate * 0.0447149985f + 1.0f;\n"
                 "    return (tanhf(gate * v0 * 0.797884583f) + 1.0f) * (gate * 0.5f) * up;"},
    {"GeluQuick", "    return gate / (1.0f + __expf(gate * -1.702f)) * up;"},
    {"Relu", "    return (gate > 0.0f || gate != gate ? gate : 0.0f) * up;"},
    // gpt-oss: gate is cut off above, up on both sides, and one is added to up.
    {"ClampedSwiglu", "    const float v0 = fminf(gate, 7.0f);\n    const float v1 = fmaxf(fminf(up, 7.0f), -7.0f);\n"
                      "    return v0 / (1.0f + __expf(v0 * -1.702f)) * (v1 + 1.0f);"},
};

/// The tile of each kind that holds the most sums a thread.
std::vector<GemmConfig> fullestTiles(GemmFamily family) {
  std::vector<GemmConfig> fullest;
  for (const GemmConfig &c : shippedGemms(family, Element::BF16, GemmRole::GateUp)) {
    const auto sums = [](const GemmConfig &of) {
      return of.tileTokens * of.tileWeights / (of.warpsTokens * of.warpsWeights);
    };
    const auto same =
        std::find_if(fullest.begin(), fullest.end(), [&](const GemmConfig &of) { return of.swapAB == c.swapAB; });
    if (same == fullest.end())
      fullest.push_back(c);
    else if (sums(c) > sums(*same))
      *same = c;
  }
  return fullest;
}

void check(GemmFamily family, const std::string &target) {
  const Result<Nvrtc> nvrtc = Nvrtc::open();
  REQUIRE(nvrtc.ok());
  for (const GemmConfig &config : fullestTiles(family)) {
    KernelUnit unit{.files = shippedGemm(family, config).unit.files,
                    .functors = {std::begin(functors), std::end(functors)},
                    .kernels = {}};
    for (const Functor &functor : functors)
      unit.kernels.push_back(gemmKernel(family, config, functor.name));
    GemmConfig biased = config;
    biased.biased = true;
    for (const char *dearest : {"GeluTanh", "ClampedSwiglu"})
      unit.kernels.push_back(gemmKernel(family, biased, dearest));
    GemmConfig weighted = biased; // on the experts' input
    weighted.weighted = true;
    for (const char *dearest : {"GeluTanh", "ClampedSwiglu"})
      unit.kernels.push_back(gemmKernel(family, weighted, dearest));
    weighted.biased = false;
    unit.kernels.push_back(gemmKernel(family, weighted, "Silu"));
    biased.role = GemmRole::Down;
    unit.kernels.push_back(gemmKernel(family, biased, "NoActivation"));
    const Result<CompiledUnit> compiled = nvrtc->compile(unit, {.target = target});
    INFO(shippedGemm(family, config).name << ": " << compiled.status().message());
    REQUIRE(compiled.ok());
    CHECK_FALSE(compiled->wgmmaSerialised);
    for (size_t i = 0; i < compiled->resources.size(); ++i) {
      INFO(unit.kernels[i]);
      CHECK(compiled->resources[i].spillStoreBytes == 0);
      CHECK(compiled->resources[i].spillLoadBytes == 0);
      CHECK(compiled->resources[i].stackBytes == 0);
    }
  }
}

} // namespace

TEST_CASE("every activation fits the portable family's fullest tile", "[kernels][shipped]") {
  check(GemmFamily::Portable, "sm_80");
}

TEST_CASE("every activation fits the Hopper family's fullest tiles, plain and swapped", "[kernels][shipped]") {
  check(GemmFamily::Hopper, "sm_90a");
}

TEST_CASE("every activation fits the fitted family's fullest tile", "[kernels][shipped]") {
  check(GemmFamily::Fitted, "sm_90a");
}
