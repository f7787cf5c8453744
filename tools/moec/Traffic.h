// Made-up routing for benchmarks: which experts each token of a step goes to.
#pragma once

#include "compiler/core/LayerShape.h"
#include "compiler/core/Status.h"

#include <cstdint>
#include <string>
#include <vector>

namespace moec::tool {

/// How pairs spread over experts.
struct RoutingSpec {
  enum class Kind : uint8_t { Uniform, Zipf, Hot } kind = Kind::Uniform;
  double parameter = 0; // Zipf: the exponent. Hot: the share of probability that the hottest tenth of experts has

  /// "uniform", "zipf:1.0", "hot:0.5". Errors: InvalidArgument.
  static Result<RoutingSpec> parse(const std::string &text);
  std::string text() const;
};

/// One step's routing, as a caller of `forward` brings it.
struct RoutedStep {
  uint32_t tokens = 0;
  std::vector<int32_t> ids;   // [T, K], distinct in a row
  std::vector<float> weights; // [T, K], positive, each row sums to 1
};

/// Draws K distinct experts per token, with chances that follow `spec` over the experts in an order that `seed`
/// shuffles: two seeds have different hot experts. A function of its arguments alone.
///
/// `shift` rotates the order by so many ranks: the hottest experts cool one by one.
RoutedStep drawStep(const RoutingSpec &spec, uint32_t tokens, uint32_t topK, uint32_t experts, uint64_t seed,
                    uint64_t draw, uint32_t shift = 0);

/// `count` draws of `routing`, as RoutingSpec::parse takes it; none where that fails.
std::vector<RoutedStep> drawSteps(const std::string &routing, const LayerShape &shape, uint32_t tokens, uint32_t count);

} // namespace moec::tool
