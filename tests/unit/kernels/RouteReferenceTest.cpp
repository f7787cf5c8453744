// GPU routing is verified against bench::referenceRoute; this is what makes that the CPU's rule too.
#include "compiler/jit/ShippedKernels.h"
#include "runtime/device/cpu/Route.h"
#include "tests/unit/Catch.h"
#include "tools/bench/gpu/Reference.h"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

using namespace moec;

namespace {

Scoring scoringOf(RouteScoring scoring) {
  return scoring == RouteScoring::None      ? Scoring::None
         : scoring == RouteScoring::Softmax ? Scoring::Softmax
                                            : Scoring::Sigmoid;
}

RouteSpec specOf(const RouteConfig &c, double epsilon, double scale) {
  RouteSpec spec;
  spec.router = {.before = scoringOf(c.before),
                 .after = scoringOf(c.after),
                 .correctionBias = c.correctionBias,
                 .groups = c.groups,
                 .groupsPicked = c.groupsPicked,
                 .groupTop = c.groupTop,
                 .renormalise = c.renormalise,
                 .epsilon = epsilon,
                 .scale = scale};
  spec.experts = c.experts;
  spec.topK = c.topK;
  return spec;
}

enum class Kind : uint8_t { Finite, SomeBad, OneFinite, NoneFinite, BadGroups, Tiny };

std::vector<float> drawLogits(const RouteConfig &c, Kind kind, std::mt19937_64 &random) {
  std::normal_distribution<float> normal(0, 2);
  const float bad[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                       -std::numeric_limits<float>::infinity()};
  const uint32_t size = c.experts / c.groups;
  std::vector<float> logits(c.experts);
  for (uint32_t e = 0; e < c.experts; ++e) {
    const bool isBad = (kind == Kind::SomeBad && random() % 3 == 0) || (kind == Kind::OneFinite && e != 5) ||
                       kind == Kind::NoneFinite || (kind == Kind::BadGroups && e / size != 1);
    logits[e] = isBad ? bad[random() % 3] : kind == Kind::Tiny ? -2000.0f - static_cast<float>(e) : normal(random);
  }
  return logits;
}

} // namespace

TEST_CASE("the reference of GPU routing routes as a CPU does, whatever is not finite", "[kernels][route]") {
  std::mt19937_64 random(11);
  std::normal_distribution<float> normal(0, 0.1f);
  for (const RouteConfig &c : shippedRouters()) {
    const double epsilon = 0, scale = 2.5; // no epsilon: scores that underflow leave a sum of 0
    RouteSpec spec = specOf(c, epsilon, scale);
    std::vector<float> correction(c.experts), scratch(3 * (c.experts + 15) / 16 * 16 + 48), weights(c.topK);
    std::vector<int32_t> ids(c.topK);
    for (float &bias : correction)
      bias = normal(random);
    spec.correctionBias = c.correctionBias ? correction.data() : nullptr;
    uint32_t compared = 0;
    for (uint32_t turn = 0; turn < 120; ++turn) {
      const Kind kind = static_cast<Kind>(turn % 6);
      const std::vector<float> logits = drawLogits(c, kind, random);
      const bench::ReferenceRoute expected = bench::referenceRoute(c, logits.data(), correction.data(), epsilon, scale);
      routeToken(spec, logits.data(), scratch.data(), ids.data(), weights.data());
      if (expected.margin < 1e-6)
        continue;
      ++compared;
      INFO(shippedRoute(c).name << ", kind " << turn % 6);
      REQUIRE(ids == expected.ids);
      for (uint32_t k = 0; k < c.topK; ++k)
        REQUIRE(std::abs(weights[k] - expected.weights[k]) <= 2e-5 * std::max(1e-3, std::abs(expected.weights[k])));
    }
    CHECK(compared > 60);
  }
}
