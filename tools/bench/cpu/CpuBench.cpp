#include "tools/bench/cpu/CpuBench.h"

#include "runtime/weights/Convert.h"

#include <nlohmann/json.hpp>

#include <cmath>
#include <fstream>

namespace moec::bench {

namespace {

std::string cpuName() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name") && line.find(':') != std::string::npos)
      return line.substr(line.find(':') + 2);
  return "unknown";
}

/// Of the tallest tile on all threads: 2 operations for each of rows, columns of a panel and K of a step.
double peakGflops(const TargetFacts &facts, const Calibration &calibration, DType compute) {
  const uint32_t rows = facts.maxTileRows();
  const double perStep = 2.0 * rows * (2.0 * facts.lanes()) * (compute == DType::BF16 ? 2 : 1);
  return perStep / calibration.tileNsPerStep[rows] * facts.threads;
}

} // namespace

nlohmann::json machineJson(const tool::BenchSession &bench) {
  const Calibration calibration = bench.session->host().calibration();
  return {{"cpu", cpuName()},
          {"isa", isaName(bench.facts.isa)},
          {"threads", bench.facts.threads},
          {"l2_bytes", bench.facts.l2Bytes},
          {"read_gb_per_s", 1 / calibration.streamNsPerByte},
          {"peak_gflops", peakGflops(bench.facts, calibration, computeDType(bench.shape))},
          {"calibration_measured", calibration.measured}};
}

std::string machineText(const tool::BenchSession &bench) {
  const Calibration calibration = bench.session->host().calibration();
  return fmt::format(
      "{}, {} on {} threads; read {:.0f} GB/s, {} tiles {:.0f} GFLOP/s ({})", cpuName(), isaName(bench.facts.isa),
      bench.facts.threads, 1 / calibration.streamNsPerByte, dtypeName(computeDType(bench.shape)),
      peakGflops(bench.facts, calibration, computeDType(bench.shape)), calibration.measured ? "measured" : "assumed");
}

double relativeDistance(const void *a, const void *b, uint64_t elements, DType dtype) {
  std::vector<float> left(elements), right(elements);
  convert(a, dtype, left.data(), DType::F32, elements);
  convert(b, dtype, right.data(), DType::F32, elements);
  double distance = 0, size = 0;
  for (uint64_t i = 0; i < elements; ++i) {
    distance += (double(left[i]) - right[i]) * (double(left[i]) - right[i]);
    size += double(left[i]) * left[i];
  }
  return std::sqrt(distance / size);
}

} // namespace moec::bench
