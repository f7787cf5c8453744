#include "runtime/trace/DecisionTrace.h"

#include "runtime/trace/EventsJson.h"

#include <fmt/ranges.h>

namespace moec {

Result<std::unique_ptr<LineWriter>> openDecisionTrace(LineWriterOptions options, TraceInfo info, PolicySetup setup) {
  options.header = [info = std::move(info), setup = std::move(setup)](uint32_t segment) mutable {
    info.segment = segment;
    return traceHeader(info, setup);
  };
  return LineWriter::open(std::move(options));
}

void RoutingTrace::write(const LayerObservation &sample) {
  if (sink)
    sink->write(fmt::format("{{\"n\":{},\"event\":\"step\",\"layer\":{},\"tokens\":{},\"layer_ns\":{},"
                            "\"spilled_pairs\":{},\"generation\":{},\"pairs\":[{}]}}",
                            next, sample.layer, sample.tokens, sample.layerNs, sample.spilledPairs, sample.generation,
                            fmt::join(sample.pairs, ",")));
  ++next;
}

std::string RoutingTrace::header(const TraceInfo &info, const PolicySetup &setup) {
  OrderedJson json = {{"schema", kRoutingTraceSchema},
                      {"schema_version", kTraceVersion},
                      {"build_id", info.buildId},
                      {"run", info.run},
                      {"segment", info.segment}};
  json["layers"] = OrderedJson::array();
  for (const LayerSetup &layer : setup.layers)
    json["layers"].push_back({{"layer", layer.layer}, {"shape", toJson(layer.shape)}});
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

} // namespace moec
