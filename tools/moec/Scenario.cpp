#include "tools/moec/Scenario.h"

#include <algorithm>

namespace moec::tool {

// Steps of one routing differ as real ones do; a handful in turn is enough to show it.
static constexpr uint32_t kDraws = 16;

static std::vector<RoutedStep> draw(const RoutingSpec &spec, uint32_t tokens, const LayerShape &shape, uint64_t seed) {
  std::vector<RoutedStep> steps;
  for (uint32_t index = 0; index < kDraws; ++index)
    steps.push_back(drawStep(spec, tokens, shape.topK, shape.experts, seed, index));
  return steps;
}

Result<Scenario> Scenario::make(const std::string &name, const LayerShape &shape, const std::vector<uint32_t> &tokens) {
  constexpr uint64_t seed = 1, otherSeed = 2;
  if (tokens.size() > 2)
    return makeError(Code::InvalidArgument,
                     "--tokens has {} entries; a scenario takes one, or one before and one after the drift",
                     tokens.size());
  RoutingSpec skewed{RoutingSpec::Kind::Zipf, 1.5}, uniform;
  Scenario scenario;
  scenario.name = name;
  bool load = name == "load";
  // Decode-sized steps: few experts are hit, so which ones are packed matters. Large steps hit all experts alike.
  scenario.before = tokens.empty() ? (load ? 64 : 8) : tokens.front();
  scenario.after = tokens.empty() ? 8 : tokens.back();
  scenario.steady = draw(load ? uniform : skewed, scenario.before, shape, seed);
  if (name == "none")
    scenario.drifted = draw(skewed, scenario.after, shape, seed);
  else if (name == "sudden" || load)
    scenario.drifted = draw(skewed, scenario.after, shape, otherSeed);
  else if (name == "square") {
    scenario.stepsPerDraw = 60;
    scenario.drifted = {drawStep(skewed, scenario.after, shape.topK, shape.experts, otherSeed, 0),
                        drawStep(skewed, scenario.after, shape.topK, shape.experts, seed, 0)};
  } else if (name == "rotation") {
    scenario.stepsPerDraw = 40;
    for (uint32_t shift = 0; shift < shape.experts; ++shift)
      scenario.drifted.push_back(drawStep(skewed, scenario.after, shape.topK, shape.experts, seed, shift, shift));
  } else
    return makeError(Code::InvalidArgument, "unknown drift scenario '{}'", name);
  return scenario;
}

const RoutedStep &Scenario::step(bool isDrifted, uint32_t index) const {
  if (!isDrifted)
    return steady[index % steady.size()];
  return drifted[index / stepsPerDraw % drifted.size()];
}

uint32_t Scenario::samples() const { return static_cast<uint32_t>(std::min<size_t>(kDraws, drifted.size())); }

const RoutedStep &Scenario::sample(uint32_t index) const {
  return drifted[index % samples() * drifted.size() / samples()];
}

} // namespace moec::tool
