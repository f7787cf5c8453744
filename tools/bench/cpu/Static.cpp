// moec-bench-cpu static: generation 0 beside other static sets of tile heights, and beside a choice per step among
// prebuilt ones.
#include "tools/bench/cpu/CpuBench.h"

#include "runtime/recompile/Text.h"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace moec::bench {

namespace {

struct Variant {
  std::string origin; // who proposed it
  LayerPlan plan;
  uint64_t generation = 0;
  std::vector<double> ns; // by repeat
};

Histogram histogramOf(const tool::RoutedStep &step, uint32_t experts) {
  Histogram histogram{step.tokens, std::vector<uint32_t>(experts, 0)};
  for (int32_t id : step.ids)
    ++histogram.pairs[static_cast<size_t>(id)];
  return histogram;
}

/// Generation 0 against all variants at one load.
class StaticContest {
public:
  StaticContest(tool::BenchSession &bench, const std::vector<tool::RoutedStep> &steps)
      : bench(bench), host(bench.session->host()), layer(bench.session->layers().front()),
        limits(bench.session->limits(layer)), steps(steps), now(histogramOf(steps.front(), bench.shape.experts)) {}

  Status run(uint32_t repeats) {
    propose();
    for (Variant &variant : variants) {
      Result<BuildReport> built = host.build({{layer, variant.plan}}, {{layer, now}}, {});
      if (!built)
        return built.status().withContext("{}", textOfHeights(variant.plan.config.cpu.tileRows));
      variant.generation = built->generation;
    }
    return time(repeats);
  }

  /// Repeats in which the best variant is picked, and those in which it is held against generation 0: the best of many
  /// in the repeats that made it the best would win by luck.
  static std::vector<double> half(const std::vector<double> &all, size_t parity) {
    std::vector<double> values;
    for (size_t repeat = parity; repeat < all.size(); repeat += 2)
      values.push_back(all[repeat]);
    return values;
  }
  const Variant &best() const {
    return *std::min_element(variants.begin() + 1, variants.end(), [](const Variant &a, const Variant &b) {
      return tool::median(half(a.ns, 1)) < tool::median(half(b.ns, 1));
    });
  }
  /// Generation 0's rate over the best variant's.
  tool::Interval overBest() const { return tool::ratioOf(half(best().ns, 0), half(variants[0].ns, 0)); }
  /// Generation 0's rate over that of a free choice per step among all variants, by prediction.
  tool::Interval overChoice() const { return tool::ratioOf(choiceNs, variants[0].ns); }

  std::vector<Variant> variants; // generation 0 first
  std::vector<double> choiceNs;

private:
  void add(std::string origin, const std::vector<uint16_t> &heights) {
    for (Variant &known : variants)
      if (known.plan.config.cpu.tileRows == heights)
        return void(known.origin += ", " + origin);
    CpuConfig config = host.genericConfig(layer).cpu;
    config.tileRows = heights;
    variants.push_back(
        {std::move(origin), planTable(bench.shape, now, host.facts(), host.calibration(), limits, config), 0, {}});
  }

  void propose() {
    add("generation 0", host.genericConfig(layer).cpu.tileRows);
    for (const char *routing : {"uniform", "zipf:1.5"})
      for (uint32_t tokens : {1u, 8u, 16u, 64u, 256u, 1024u}) {
        const tool::RoutedStep step =
            tool::drawStep(*tool::RoutingSpec::parse(routing), tokens, bench.shape.topK, bench.shape.experts, 7, 0);
        const Histogram load = histogramOf(step, bench.shape.experts);
        add(fmt::format("planned for {} x {}", tokens, routing),
            planLayer(bench.shape, load, host.facts(), host.calibration(), limits).config.cpu.tileRows);
      }
    const auto most = static_cast<uint16_t>(bench.facts.maxTileRows());
    for (std::vector<uint16_t> heights :
         std::vector<std::vector<uint16_t>>{{most}, {most, 1}, {8, 4, 2, 1}, {4, 2, 1}}) {
      heights.erase(std::remove_if(heights.begin(), heights.end(), [&](uint16_t rows) { return rows > most; }),
                    heights.end());
      add("picked by hand", heights);
    }
  }

  Status time(uint32_t repeats) {
    auto runOn = [this](const Variant &variant, uint32_t index) -> Result<uint64_t> {
      if (Status status = host.publish(variant.generation); !status.ok())
        return status;
      return bench.run(steps[index % steps.size()]);
    };
    std::vector<tool::Contestant> contestants;
    for (Variant &variant : variants)
      contestants.push_back({variant.origin, {}, [&, runOn](uint32_t index) { return runOn(variant, index); }});
    std::vector<size_t> choice;
    for (const tool::RoutedStep &step : steps) {
      const Histogram histogram = histogramOf(step, bench.shape.experts);
      auto predicted = [&](const Variant &variant) {
        return predictLayer(bench.shape, variant.plan, host.genericConfig(layer), histogram, host.facts(),
                            host.calibration());
      };
      choice.push_back(static_cast<size_t>(
          std::min_element(variants.begin(), variants.end(),
                           [&](const Variant &a, const Variant &b) { return predicted(a) < predicted(b); }) -
          variants.begin()));
    }
    contestants.push_back({"chosen per step", {}, [&, runOn](uint32_t index) {
                             return runOn(variants[choice[index % choice.size()]], index);
                           }});
    Result<std::vector<std::vector<double>>> times =
        tool::contest(contestants, {.repeats = repeats,
                                    .blockSeconds = 0.1,
                                    .fewestSteps = 4,
                                    .period = static_cast<uint32_t>(steps.size()),
                                    .restSeconds = 0.001});
    if (!times)
      return times.status();
    for (size_t index = 0; index < variants.size(); ++index)
      variants[index].ns = (*times)[index];
    choiceNs = times->back();
    return {};
  }

  tool::BenchSession &bench;
  GenerationHost &host;
  const uint32_t layer;
  const PlanLimits limits;
  const std::vector<tool::RoutedStep> &steps;
  const Histogram now;
};

nlohmann::json rowJson(uint32_t tokens, const StaticContest &contest) {
  nlohmann::json row = {{"tokens", tokens},
                        {"generation_0_ms", tool::median(contest.variants[0].ns) / 1e6},
                        {"best", contest.best().plan.config.cpu.tileRows},
                        {"best_ms", tool::median(contest.best().ns) / 1e6},
                        {"generation_0_over_best", tool::ratioJson(contest.overBest())},
                        {"generation_0_over_chosen_per_step", tool::ratioJson(contest.overChoice())}};
  for (const Variant &variant : contest.variants)
    row["variants"].push_back({{"tile_rows", variant.plan.config.cpu.tileRows},
                               {"origin", variant.origin},
                               {"ms", tool::median(variant.ns) / 1e6},
                               {"predicted_ms", variant.plan.predictedNs / 1e6}});
  return row;
}

void printRow(uint32_t tokens, const StaticContest &contest) {
  fmt::print("\n{} tokens: generation 0 runs at {} of the best of {} static sets, {} of a free choice per step\n",
             tokens, tool::ratioText(contest.overBest()), contest.variants.size() - 1,
             tool::ratioText(contest.overChoice()));
  fmt::print("  {:<20} {:>9} {:>12}   {}\n", "tile heights", "ms", "predicted ms", "proposed by");
  for (const Variant &variant : contest.variants)
    fmt::print("  {:<20} {:>9.3f} {:>12.3f}   {}{}\n", textOfHeights(variant.plan.config.cpu.tileRows),
               tool::median(variant.ns) / 1e6, variant.plan.predictedNs / 1e6, variant.origin,
               &variant == &contest.best() ? " (best)" : "");
}

} // namespace

Status runStatic(const CpuBenchOptions &options) {
  nlohmann::json json = {{"schema", "moec.bench-cpu-static"},
                         {"schema_version", 1},
                         {"routing", options.routing},
                         {"repeats", options.repeats}};
  for (uint32_t tokens : options.tokens.empty() ? std::vector<uint32_t>{1, 16, 64, 256} : options.tokens) {
    Result<tool::BenchSession> bench = tool::BenchSession::open(options, tokens, tokens);
    if (!bench)
      return bench.status();
    const std::vector<tool::RoutedStep> steps = tool::drawSteps(options.routing, bench->shape, tokens, 4);
    StaticContest contest(*bench, steps);
    if (Status status = contest.run(options.repeats); !status.ok())
      return status.withContext("{} tokens", tokens);
    if (options.format == "text" && !json.contains("rows"))
      fmt::print("{}, routing {}, {} repeats in turns, medians with 95 % intervals\n{}\n", bench->model->name(),
                 options.routing, options.repeats, machineText(*bench));
    json["model"] = bench->model->name(), json["machine"] = machineJson(*bench);
    json["rows"].push_back(rowJson(tokens, contest));
    if (options.format == "text")
      printRow(tokens, contest);
  }
  if (options.format != "text")
    fmt::print("{}\n", json.dump());
  return {};
}

} // namespace moec::bench
