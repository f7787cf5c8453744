#include "tools/moec/Traffic.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace moec::tool {
namespace {

Result<double> parseParameter(const std::string &text, const std::string &number, double least, double most) {
  char *end = nullptr;
  double value = std::strtod(number.c_str(), &end);
  if (number.empty() || *end != 0 || !(value >= least && value <= most))
    return makeError(Code::InvalidArgument, "routing '{}': '{}' is not a number from {} to {}", text, number, least,
                     most);
  return value;
}

/// Chance of each rank, the hottest first.
std::vector<double> chances(const RoutingSpec &spec, uint32_t experts) {
  std::vector<double> chance(experts, 1.0);
  uint32_t hot = std::max<uint32_t>(1, experts / 10);
  for (uint32_t rank = 0; rank < experts; ++rank) {
    if (spec.kind == RoutingSpec::Kind::Zipf)
      chance[rank] = std::pow(rank + 1.0, -spec.parameter);
    if (spec.kind == RoutingSpec::Kind::Hot)
      chance[rank] = rank < hot ? spec.parameter / hot : (1 - spec.parameter) / std::max(1u, experts - hot);
  }
  return chance;
}

} // namespace

Result<RoutingSpec> RoutingSpec::parse(const std::string &text) {
  RoutingSpec spec;
  if (text == "uniform")
    return spec;
  size_t colon = text.find(':');
  std::string name = text.substr(0, colon), number = colon == std::string::npos ? "" : text.substr(colon + 1);
  if (name != "zipf" && name != "hot")
    return makeError(Code::InvalidArgument, "unknown routing '{}': expected uniform, zipf:EXPONENT or hot:SHARE", text);
  spec.kind = name == "zipf" ? Kind::Zipf : Kind::Hot;
  Result<double> value = parseParameter(text, number, 0, spec.kind == Kind::Zipf ? 10 : 1);
  if (!value)
    return value.status();
  spec.parameter = *value;
  return spec;
}

std::string RoutingSpec::text() const {
  switch (kind) {
  case Kind::Uniform: return "uniform";
  case Kind::Zipf: return fmt::format("zipf:{}", parameter);
  case Kind::Hot: return fmt::format("hot:{}", parameter);
  }
  return "";
}

RoutedStep drawStep(const RoutingSpec &spec, uint32_t tokens, uint32_t topK, uint32_t experts, uint64_t seed,
                    uint64_t draw, uint32_t shift) {
  std::vector<uint32_t> expertOfRank(experts);
  std::iota(expertOfRank.begin(), expertOfRank.end(), 0);
  std::mt19937_64 orderRandom(seed);
  std::shuffle(expertOfRank.begin(), expertOfRank.end(), orderRandom);
  std::vector<double> chance = chances(spec, experts);
  std::mt19937_64 random(seed * 1000003 + draw);
  std::exponential_distribution<double> exponential;
  RoutedStep step{tokens, {}, {}};
  std::vector<std::pair<double, uint32_t>> arrivals(experts);
  for (uint32_t token = 0; token < tokens; ++token) {
    // The K first arrivals of Poisson processes with these rates: K draws without replacement.
    for (uint32_t rank = 0; rank < experts; ++rank)
      arrivals[rank] = {exponential(random) / std::max(chance[rank], 1e-12), expertOfRank[(rank + shift) % experts]};
    std::partial_sort(arrivals.begin(), arrivals.begin() + topK, arrivals.end());
    for (uint32_t index = 0; index < topK; ++index) {
      step.ids.push_back(static_cast<int32_t>(arrivals[index].second));
      step.weights.push_back(1.0f / static_cast<float>(topK));
    }
  }
  return step;
}

std::vector<RoutedStep> drawSteps(const std::string &routing, const LayerShape &shape, uint32_t tokens,
                                  uint32_t count) {
  std::vector<RoutedStep> steps;
  const Result<RoutingSpec> spec = RoutingSpec::parse(routing);
  for (uint32_t draw = 0; spec && draw < count; ++draw)
    steps.push_back(drawStep(*spec, tokens, shape.topK, shape.experts, 1, draw));
  return steps;
}

} // namespace moec::tool
