// `moec bench` without a scenario: a row of times per token count.
#include "tools/moec/BenchSession.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <set>

namespace moec::tool {
namespace {

struct Row {
  uint32_t tokens = 0;
  uint64_t experts = 0;                            // hit in a typical step
  double layerUs = 0, layerLow = 0, layerHigh = 0; // median of the layer, routing given; its 95 % interval
  double routeUs = 0, routeLow = 0,
         routeHigh = 0; // router and top-k, whose ids the scenario's then replace; see routesAlone
  double tflops = 0;    // of both GEMMs
  double weightGBs = 0; // bytes of expert weights read per second
};

double gemmFlops(const LayerShape &shape, uint32_t tokens) {
  double perRow = 6.0 * shape.hidden * shape.intermediate;
  return tokens * (shape.topK * perRow + 6.0 * shape.hidden * shape.sharedIntermediate);
}

/// Elsewhere the router runs within a forward only: there the row is the layer with its own routing.
bool routesAlone(const BenchSession &bench) { return bench.facts.device == DeviceKind::Cpu; }

Result<Row> measure(BenchSession &bench, const RoutingSpec &routing, uint32_t tokens, uint32_t repeats) {
  const LayerShape &shape = bench.shape;
  constexpr uint32_t numDraws = 4;
  std::vector<RoutedStep> steps;
  std::set<int32_t> hit;
  for (uint32_t draw = 0; draw < numDraws; ++draw)
    steps.push_back(drawStep(routing, tokens, shape.topK, shape.experts, 1, draw));
  hit.insert(steps[0].ids.begin(), steps[0].ids.end());
  std::vector<double> layer, routed;
  double budgetNs = 0.25e9; // per repeat: enough steps that one hiccup does not decide
  double layers = static_cast<double>(bench.session->layers().size());
  for (uint32_t repeat = 0; repeat <= repeats; ++repeat) {
    double spent = 0;
    for (uint32_t step = 0; spent < budgetNs && step < 200; ++step) {
      Result<uint64_t> route = routesAlone(bench) ? bench.route(tokens) : bench.runRouted(tokens);
      Result<uint64_t> ns = bench.run(steps[step % numDraws]);
      if (!ns || !route)
        return ns ? route.status() : ns.status();
      spent += static_cast<double>(*ns + *route);
      if (repeat == 0) // warm-up: pages, caches, clock
        continue;
      layer.push_back(static_cast<double>(*ns) / layers);
      routed.push_back(static_cast<double>(*route) / layers);
    }
  }
  Row row;
  row.tokens = tokens;
  row.experts = hit.size();
  row.layerUs = median(layer) / 1e3;
  row.layerLow = medianInterval(layer).first / 1e3, row.layerHigh = medianInterval(layer).second / 1e3;
  row.routeUs = median(routed) / 1e3;
  row.routeLow = medianInterval(routed).first / 1e3, row.routeHigh = medianInterval(routed).second / 1e3;
  row.tflops = gemmFlops(shape, tokens) / (row.layerUs * 1e-6) / 1e12;
  double bytes = (static_cast<double>(row.experts) * shape.intermediate + shape.sharedIntermediate) * 3.0 *
                 shape.hidden * byteSize(shape.dtype);
  row.weightGBs = bytes / (row.layerUs * 1e-6) / 1e9;
  return row;
}

void printJson(const BenchSession &bench, const BenchOptions &options, const std::vector<Row> &rows) {
  nlohmann::json json = {{"schema", "moec.bench"},
                         {"schema_version", 1},
                         {"model", bench.model->name()},
                         {"target", isaName(bench.facts.isa)},
                         {"threads", bench.facts.threads},
                         {"routing", options.routing},
                         {"layers", bench.session->layers().size()}};
  const std::string route = routesAlone(bench) ? "route_us" : "layer_with_own_router_us";
  for (const Row &row : rows) {
    nlohmann::json fields = {{"tokens", row.tokens},
                             {"experts_hit", row.experts},
                             {route, row.routeUs},
                             {route + "_low", row.routeLow},
                             {route + "_high", row.routeHigh},
                             {"layer_us", row.layerUs},
                             {"layer_us_low", row.layerLow},
                             {"layer_us_high", row.layerHigh},
                             {"tflops", row.tflops},
                             {"weight_gb_per_s", row.weightGBs}};
    if (options.format == "jsonl") { // a row a line, each with what all have in common
      nlohmann::json line = json;
      line.update(fields);
      fmt::print("{}\n", line.dump());
    }
    json["rows"].push_back(std::move(fields));
  }
  if (options.format == "json")
    fmt::print("{}\n", json.dump());
}

void printText(const BenchSession &bench, const BenchOptions &options, const std::vector<Row> &rows) {
  fmt::print("{}: H {} I {} E {} K {} {}, {} on {} threads, routing {}, {} layer(s), medians with 95 % intervals\n",
             bench.model->name(), bench.shape.hidden, bench.shape.intermediate, bench.shape.experts, bench.shape.topK,
             dtypeName(bench.shape.dtype), isaName(bench.facts.isa), bench.facts.threads, options.routing,
             bench.session->layers().size());
  fmt::print("{:>7} {:>8} {:>12} {:>25} {:>16} {:>9} {:>11}\n", "tokens", "experts", "layer us", "95 % interval",
             routesAlone(bench) ? "router+top-k us" : "own routing us", "GFLOP/s", "weights GB/s");
  for (const Row &row : rows)
    fmt::print("{:>7} {:>8} {:>12.1f} {:>25} {:>16.1f} {:>9.1f} {:>11.1f}\n", row.tokens, row.experts, row.layerUs,
               fmt::format("{:.1f} .. {:.1f}", row.layerLow, row.layerHigh), row.routeUs, row.tflops * 1e3,
               row.weightGBs);
}

} // namespace

Status runBenchTable(const BenchOptions &options) {
  Result<RoutingSpec> routing = RoutingSpec::parse(options.routing);
  if (!routing)
    return routing.status();
  std::vector<uint32_t> tokens = options.tokens.empty() ? std::vector<uint32_t>{1, 16, 64, 256} : options.tokens;
  std::vector<Row> rows;
  for (uint32_t count : tokens) {
    // Each row is generation 0 planned for its token count: what a session opened for such steps would run.
    Result<BenchSession> bench = BenchSession::open(options, count, count);
    if (!bench)
      return bench.status();
    Result<Row> row = measure(*bench, *routing, count, options.repeats);
    if (!row)
      return row.status();
    rows.push_back(*row);
    if (count == tokens.back())
      options.format == "text" ? printText(*bench, options, rows) : printJson(*bench, options, rows);
  }
  return {};
}

} // namespace moec::tool
