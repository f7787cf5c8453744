#include "runtime/recompile/Candidates.h"

#include "runtime/recompile/Text.h"

#include <algorithm>
#include <cmath>

namespace moec {

namespace {

// A bucket with less of the time than this gets no plan of its own: planning costs milliseconds,
// and a plan made for it would have to win over the mix all the same.
constexpr double secondBucketShare = 0.2;

void holdPeaks(LayerTable &table, std::span<const BucketMix> mix, uint32_t align) {
  align = std::max(align, 1u);
  for (const BucketMix &part : mix)
    for (size_t expert = 0; expert < std::min(table.slots.size(), part.peak.size()); ++expert) {
      uint32_t needed = (part.peak[expert] + align - 1) / align * align;
      table.slots[expert] = std::max(table.slots[expert], needed);
    }
}

std::vector<uint32_t> overflowing(const LayerTable &table, const Histogram &histogram, uint64_t &pairs) {
  std::vector<uint32_t> experts;
  pairs = 0;
  for (uint32_t expert = 0; expert < std::min(table.slots.size(), histogram.pairs.size()); ++expert)
    if (histogram.pairs[expert] > table.slots[expert]) {
      experts.push_back(expert);
      pairs += histogram.pairs[expert] - table.slots[expert];
    }
  return experts;
}

/// The config for a bucket's steps with the spread that they really have. Steps side by side
/// are one wide step: as many experts, and as wide a router, as all of them together.
LayerConfig configFor(const LayerContext &context, const BucketMix &part) {
  LayerShape wide = context.setup.shape;
  Histogram steps;
  steps.tokens = part.typical.tokens;
  for (const Histogram &step : part.specimens)
    steps.pairs.insert(steps.pairs.end(), step.pairs.begin(), step.pairs.end());
  wide.experts = static_cast<uint32_t>(steps.pairs.size());
  PlanLimits limits = context.setup.limits;
  uint64_t copies = std::max<uint64_t>(1, part.specimens.size());
  limits.packBudgetBytes = limits.packBudgetBytes > UINT64_MAX / copies ? UINT64_MAX : limits.packBudgetBytes * copies;
  return planLayer(wide, steps, context.facts, context.calibration, limits).config;
}

std::string spillText(const LayerTable &from, const LayerTable &to, const Histogram &histogram) {
  uint64_t before = 0, after = 0;
  std::vector<uint32_t> experts = overflowing(from, histogram, before);
  std::vector<uint32_t> still = overflowing(to, histogram, after);
  if (experts.empty() && still.empty())
    return "slots changed; nothing spills";
  if (still.empty())
    return fmt::format("no more spills: {} pairs of experts {} did not fit their slots", before, textOfList(experts));
  return fmt::format("spilled pairs {} -> {} (experts {})", before, after, textOfList(still));
}

std::string tilesText(const LayerConfig &config) {
  return config.device == DeviceKind::Cpu
             ? fmt::format("tile heights {}", textOfHeights(config.cpu.tileRows))
             : fmt::format("tiles {} and {}", config.cuda.gateUp.text(), config.cuda.down.text());
}

std::string packingText(const LayerTable &from, const LayerTable &to) {
  std::vector<uint32_t> in = newlyPacked(from, to), out = newlyPacked(to, from);
  std::string text = in.empty() ? "no expert newly packed" : fmt::format("experts newly packed: {}", textOfList(in));
  return out.empty() ? text : text + fmt::format("; no longer packed: {}", textOfList(out));
}

} // namespace

double LayerContext::predict(const LayerPlan &plan, const Histogram &histogram) const {
  return predictLayer(setup.shape, plan, setup.generic, histogram, facts, calibration);
}

double predictPart(const LayerContext &context, const LayerPlan &plan, const BucketMix &part) {
  double ns = 0;
  for (const Histogram &step : part.specimens)
    ns += context.predict(plan, step);
  return part.specimens.empty() ? 0 : ns / static_cast<double>(part.specimens.size());
}

double predictMix(const LayerContext &context, const LayerPlan &plan, std::span<const BucketMix> mix) {
  double ns = 0;
  for (const BucketMix &part : mix)
    ns += part.weight * predictPart(context, plan, part);
  return ns;
}

Saving predictSaving(const LayerContext &context, const LayerPlan &from, const LayerPlan &to,
                     std::span<const BucketMix> mix) {
  Saving saving;
  double variance = 0;
  for (const BucketMix &part : mix) {
    double sum = 0, squares = 0, n = static_cast<double>(part.specimens.size());
    for (const Histogram &step : part.specimens) {
      double saved = context.predict(from, step) - context.predict(to, step);
      sum += saved;
      squares += saved * saved;
    }
    saving.specimens += part.specimens.size();
    if (n == 0)
      continue;
    saving.ns += part.weight * sum / n;
    if (n > 1)
      variance += part.weight * part.weight * std::max(0.0, squares - sum * sum / n) / (n - 1) / n;
  }
  saving.errorNs = std::sqrt(variance); // exact in IEEE 754, so replays agree
  return saving;
}

const BucketMix &heaviest(const LayerContext &context, const LayerPlan &live, std::span<const BucketMix> mix) {
  size_t best = 0;
  double bestNs = -1;
  for (size_t i = 0; i < mix.size(); ++i) {
    double ns = mix[i].weight * predictPart(context, live, mix[i]);
    if (ns > bestNs) {
      bestNs = ns;
      best = i;
    }
  }
  return mix[best];
}

Candidates findCandidates(const LayerContext &context, const LayerPlan &live, std::span<const BucketMix> mix) {
  const BucketMix &main = heaviest(context, live, mix);
  const LayerShape &shape = context.setup.shape;
  Candidates found;
  found.reuse = planTable(shape, main.typical, context.facts, context.calibration, context.setup.limits, live.config);
  found.table = found.reuse;
  found.table.table.packed = live.table.packed;
  double liveNs = predictMix(context, live, mix);
  double bestNs = 0;
  for (const BucketMix &part : mix) {
    if (&part != &main && part.weight * predictPart(context, live, part) < secondBucketShare * liveNs)
      continue;
    LayerPlan plan = planTable(shape, part.typical, context.facts, context.calibration, context.setup.limits,
                               configFor(context, part));
    holdPeaks(plan.table, mix, context.setup.limits.slotAlign);
    double ns = predictMix(context, plan, mix);
    if (bestNs == 0 || ns < bestNs) {
      bestNs = ns;
      found.best = std::move(plan);
    }
  }
  for (LayerPlan *plan : {&found.table, &found.reuse})
    holdPeaks(plan->table, mix, context.setup.limits.slotAlign);
  for (LayerPlan *plan : {&found.table, &found.reuse, &found.best})
    plan->predictedNs = predictPart(context, *plan, main);
  return found;
}

std::vector<uint32_t> newlyPacked(const LayerTable &from, const LayerTable &to) {
  std::vector<uint32_t> experts;
  for (uint32_t expert = 0; expert < std::min(from.packed.size(), to.packed.size()); ++expert)
    if (to.packed[expert] && !from.packed[expert])
      experts.push_back(expert);
  return experts;
}

std::vector<Cause> explainGain(const LayerContext &context, const LayerPlan &from, const LayerPlan &to,
                               const BucketMix &part) {
  const Histogram &histogram = part.specimens.front();
  std::vector<Cause> causes;
  LayerPlan plan = from;
  double ns = predictPart(context, plan, part);
  auto attribute = [&](const char *name, std::string text) {
    double now = predictPart(context, plan, part);
    if (now != ns)
      causes.push_back({name, std::move(text), ns - now});
    ns = now;
  };
  if (to.table.slots != from.table.slots) {
    plan.table.slots = to.table.slots;
    attribute("spills", spillText(from.table, to.table, histogram));
  }
  if (!(to.config == from.config)) {
    plan.config = to.config;
    attribute(to.config.device == DeviceKind::Cpu ? "tile-heights" : "tiles",
              fmt::format("{} -> {}", tilesText(from.config), tilesText(to.config)));
  }
  if (to.table.packed != from.table.packed) {
    plan.table.packed = to.table.packed;
    attribute("packing", packingText(from.table, to.table));
  }
  if (to.table.order != from.table.order) {
    plan.table.order = to.table.order;
    attribute("order", "threads take the experts in the order of their new cost");
  }
  return causes;
}

namespace {

std::string packedFitText(const LayerTable &table, const Histogram &histogram) {
  size_t packed = static_cast<size_t>(std::count(table.packed.begin(), table.packed.end(), 1));
  if (packed == table.packed.size())
    return fmt::format("every expert is packed ({} of {})", packed, packed);
  uint64_t packedPairs = 0, pairs = 0;
  for (uint32_t expert = 0; expert < histogram.pairs.size(); ++expert) {
    pairs += histogram.pairs[expert];
    if (expert < table.packed.size() && table.packed[expert])
      packedPairs += histogram.pairs[expert];
  }
  double share = pairs ? static_cast<double>(packedPairs) / static_cast<double>(pairs) : 0;
  return fmt::format("the {} packed experts of {} hold {} of the pairs", packed, table.packed.size(),
                     textOfShare(share));
}

/// Rows that the tiles compute for `pairs` rows of one expert.
uint64_t computedRows(const LayerContext &context, const LayerConfig &config, uint32_t pairs) {
  if (config.device == DeviceKind::Cuda) {
    uint32_t tile = std::max<uint32_t>(config.cuda.gateUp.tokens, 1);
    return (uint64_t{pairs} + tile - 1) / tile * tile;
  }
  uint64_t rows = 0;
  for (uint16_t height : coverRows(pairs, config.cpu, context.calibration).tiles)
    rows += height;
  return rows;
}

} // namespace

std::string explainFit(const LayerContext &context, const LayerPlan &live, const BucketMix &part) {
  const Histogram &histogram = part.specimens.front();
  uint64_t rows = 0, computed = 0, spilled = 0;
  for (uint32_t pairs : histogram.pairs) {
    rows += pairs;
    computed += computedRows(context, live.config, pairs);
  }
  overflowing(live.table, histogram, spilled);
  std::string text = fmt::format("{} fit ({:.2f} rows computed per pair)", tilesText(live.config),
                                 rows ? static_cast<double>(computed) / static_cast<double>(rows) : 0);
  if (live.config.device == DeviceKind::Cpu)
    text = fmt::format("{}, {}", packedFitText(live.table, histogram), text);
  return text + (spilled ? fmt::format(", {} pairs a step spill", spilled) : std::string(", nothing spills"));
}

} // namespace moec
