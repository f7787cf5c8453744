#include "tools/moec/BenchCudaTable.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace moec::tool {
namespace {

std::string percent(double share) { return fmt::format("{:.0f}%", 100 * share); }

/// "-" where nothing was predicted.
std::string usText(double us) { return us > 0 ? fmt::format("{:.2f}", us) : "-"; }

std::string layerLine(const CudaRow &row, const FloorRates &rates) {
  const double floorUs = rates.floorUs(row.work);
  return fmt::format("{:>7} {:>8.1f} {:>10.2f} {:>18} {:>10.2f} {:>10.2f} {:>10} {:>10.2f} {:>7} {:>9.1f} {:>9.0f}\n",
                     row.tokens, row.experts, row.graph.us,
                     fmt::format("{:.2f} .. {:.2f}", row.graph.low, row.graph.high), row.stream.us, row.routed.us,
                     usText(row.predictedUs), floorUs, percent(floorUs / row.graph.us),
                     row.work.flops / row.graph.us / 1e6, row.work.bytes / row.graph.us / 1e3);
}

std::string kernelLine(const CudaRow &row, const KernelRow &kernel, const FloorRates &rates) {
  const double floorUs = rates.floorUs(kernel.work);
  return fmt::format("{:>7} {:<18} {:>10.2f} {:>10} {:>12.3f} {:>12.3f} {:>10.2f} {:>7}\n", row.tokens, kernel.name,
                     kernel.us, usText(kernel.predictedUs), kernel.work.bytes / 1e6, kernel.work.flops / 1e9, floorUs,
                     percent(floorUs / kernel.us));
}

nlohmann::json kernelJson(const KernelRow &kernel, const FloorRates &rates) {
  const double floorUs = rates.floorUs(kernel.work);
  nlohmann::json json = {{"kernel", kernel.name},      {"us", kernel.us},     {"bytes", kernel.work.bytes},
                         {"flops", kernel.work.flops}, {"floor_us", floorUs}, {"share_of_floor", floorUs / kernel.us}};
  if (kernel.predictedUs > 0)
    json["predicted_us"] = kernel.predictedUs;
  return json;
}

nlohmann::json rowJson(const CudaRow &row, const FloorRates &rates) {
  const double floorUs = rates.floorUs(row.work);
  nlohmann::json json = {{"tokens", row.tokens},
                         {"experts_hit", row.experts},
                         {"graph_us", row.graph.us},
                         {"graph_us_low", row.graph.low},
                         {"graph_us_high", row.graph.high},
                         {"stream_us", row.stream.us},
                         {"own_routing_us", row.routed.us},
                         {"predicted_us", row.predictedUs},
                         {"floor_us", floorUs},
                         {"share_of_floor", floorUs / row.graph.us},
                         {"tflops", row.work.flops / row.graph.us / 1e6},
                         {"gb_per_s", row.work.bytes / row.graph.us / 1e3},
                         {"rotated_bytes", row.rotatedBytes},
                         {"config", row.config},
                         {"kernels", nlohmann::json::array()}};
  for (const KernelRow &kernel : row.kernels)
    json["kernels"].push_back(kernelJson(kernel, rates));
  return json;
}

} // namespace

std::string reportText(const CudaReport &report) {
  const FloorRates &rates = report.rates;
  std::string text = fmt::format(
      "{}: H {} I {} E {} K {} {}, {} ({}), routing {}, {} layer(s); device time of a layer, medians\n", report.model,
      report.shape.hidden, report.shape.intermediate, report.shape.experts, report.shape.topK,
      dtypeName(report.shape.dtype), report.facts.gpu.model, report.facts.arch, report.routing, report.layers);
  text += fmt::format("Floors: the longer of bytes at {:.0f} GB/s and operations at {:.0f} TFLOP/s, {}.\n",
                      rates.bytesPerNs, rates.flopsPerNs / 1e3,
                      rates.measured ? "as calibrated on this device" : "by the data sheet");
  text += fmt::format("{:>7} {:>8} {:>10} {:>18} {:>10} {:>10} {:>10} {:>10} {:>7} {:>9} {:>9}\n", "tokens", "experts",
                      "graph us", "95 % interval", "stream us", "routed us", "predicted", "floor us", "share",
                      "TFLOP/s", "GB/s");
  for (const CudaRow &row : report.rows)
    text += layerLine(row, rates);
  for (const CudaRow &row : report.rows)
    if (row.rotatedBytes < 2 * static_cast<double>(report.facts.gpu.l2Bytes))
      text += fmt::format("{:>7} weights of {:.0f} MB in turn: some stay in the L2 cache of {:.0f} MB\n", row.tokens,
                          row.rotatedBytes / 1e6, static_cast<double>(report.facts.gpu.l2Bytes) / 1e6);
  text +=
      "\nKernels one by one, held apart by events (the layer's launches overlap: its time is less than their sum):\n";
  text += fmt::format("{:>7} {:<18} {:>10} {:>10} {:>12} {:>12} {:>10} {:>7}\n", "tokens", "kernel", "us", "predicted",
                      "MB", "GFLOP", "floor us", "share");
  for (const CudaRow &row : report.rows)
    for (const KernelRow &kernel : row.kernels)
      text += kernelLine(row, kernel, rates);
  for (const CudaRow &row : report.rows)
    text += fmt::format("{:>7} {}\n", row.tokens, row.config);
  return text;
}

nlohmann::json reportJson(const CudaReport &report) {
  nlohmann::json json = {{"schema", "moec.bench-cuda"},
                         {"schema_version", 2},
                         {"model", report.model},
                         {"device", report.facts.gpu.model},
                         {"arch", report.facts.arch},
                         {"routing", report.routing},
                         {"layers", report.layers},
                         {"floor_rates",
                          {{"source", report.rates.measured ? "calibration" : "data-sheet"},
                           {"memory_gb_per_s", report.rates.bytesPerNs},
                           {"matrix_tflops", report.rates.flopsPerNs / 1e3}}},
                         {"calibration", nlohmann::json::parse(report.calibration.toJson())},
                         {"rows", nlohmann::json::array()}};
  for (const CudaRow &row : report.rows)
    json["rows"].push_back(rowJson(row, report.rates));
  return json;
}

} // namespace moec::tool
