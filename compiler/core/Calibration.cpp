#include "compiler/core/Calibration.h"

#include "compiler/core/Json.h"

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace moec {

namespace {

constexpr uint64_t schemaVersion = 2; // 1: CPUs alone; still read

/// How many cycles one K-step of a tile takes, as a server core of the last ten years does it.
struct StepCycles {
  double floor;  // latency of one accumulator's chain: few rows cannot fill the pipes
  double perRow; // two vectors of multiply-adds
  double fixed;  // work on the two weight vectors, which all rows share
};

StepCycles stepCycles(CpuIsa isa, DType compute) {
  if (compute != DType::BF16)
    return {4, 1, 0.5}; // two fused multiply-adds a cycle, latency 4
  if (isa == CpuIsa::Avx512Bf16)
    return {6, 2, 0.5}; // one dot product a cycle, latency 6
  // Without bf16 dot products each pair of K is two f32 multiply-adds a vector, and the halves of
  // weights and activations are widened by shifts and masks first.
  return {8, 2.5, 2};
}

} // namespace

Calibration Calibration::assumed(const TargetFacts &facts, DType compute) {
  constexpr double cyclesPerNs = 3;
  constexpr double threadBytesPerNs = 12,
                   socketBytesPerNs = 120; // GB/s: one core alone, and all of them

  Calibration calibration;
  if (facts.device == DeviceKind::Cuda) {
    calibration.gpu = GpuCalibration::assumed(facts);
    return calibration;
  }
  StepCycles cycles = stepCycles(facts.isa, compute);
  for (uint32_t rows = 1; rows <= std::min(maxRows, facts.maxTileRows()); ++rows)
    calibration.tileNsPerStep[rows] = std::max(cycles.floor, cycles.fixed + cycles.perRow * rows) / cyclesPerNs;
  double threads = std::max(1u, facts.threads);
  calibration.streamNsPerByte = 1 / std::min(threadBytesPerNs * threads, socketBytesPerNs);
  calibration.overlap = 0.5;
  calibration.packNsPerByte = 0.25; // a transpose in registers, about 4 GB/s a thread
  calibration.copyNsPerByte = 0.1;
  calibration.sectionNs = 5000; // waking and joining the threads of one section
  return calibration;
}

Status Calibration::checkFor(const TargetFacts &facts) const {
  if (gpu.has_value() == (facts.device == DeviceKind::Cuda))
    return {};
  return makeError(Code::InvalidArgument, "a calibration of a {}, but target {} is a {}", gpu ? "GPU" : "CPU",
                   facts.name, gpu ? "CPU" : "GPU");
}

std::string Calibration::toJson() const {
  const std::string head = fmt::format("{{\n"
                                       "  \"schema\": \"moec.calibration\",\n"
                                       "  \"schema_version\": {},\n"
                                       "  \"measured\": {},\n",
                                       schemaVersion, measured);
  if (gpu)
    return head + fmt::format("  \"gpu\": {}\n}}\n", moec::toJson(*gpu).dump());
  return head + fmt::format("  \"tile_ns_per_step\": [{}],\n"
                            "  \"stream_ns_per_byte\": {},\n"
                            "  \"overlap\": {},\n"
                            "  \"pack_ns_per_byte\": {},\n"
                            "  \"copy_ns_per_byte\": {},\n"
                            "  \"section_ns\": {}\n"
                            "}}\n",
                            fmt::join(tileNsPerStep, ", "), streamNsPerByte, overlap, packNsPerByte, copyNsPerByte,
                            sectionNs);
}

static void readCpu(const JsonValue &root, Calibration &calibration) {
  constexpr double mostNs = 1e12; // above a quarter of an hour nothing here is a measurement
  JsonValue tiles = root["tile_ns_per_step"];
  if (tiles.size() != calibration.tileNsPerStep.size())
    tiles.fail(fmt::format("expected {} numbers, for 0 to {} rows, found {}", calibration.tileNsPerStep.size(),
                           Calibration::maxRows, tiles.size()));
  for (size_t rows = 0; rows < std::min(tiles.size(), calibration.tileNsPerStep.size()); ++rows)
    calibration.tileNsPerStep[rows] = tiles.at(rows).number(0, mostNs);
  calibration.streamNsPerByte = root["stream_ns_per_byte"].number(0, mostNs);
  if (root.has("overlap")) // files from before it was measured: perfect
    calibration.overlap = root["overlap"].number(0, 1);
  calibration.packNsPerByte = root["pack_ns_per_byte"].number(0, mostNs);
  calibration.copyNsPerByte = root["copy_ns_per_byte"].number(0, mostNs);
  calibration.sectionNs = root["section_ns"].number(0, mostNs);
}

Result<Calibration> Calibration::fromJson(const std::string &text) {
  Result<JsonDocument> document = JsonDocument::parse(text, "calibration", Code::InvalidArgument);
  if (!document)
    return document.status();
  JsonValue root = document->root();
  const uint64_t version = root["schema_version"].integer(1, schemaVersion);
  root.requireSchema("moec.calibration", version);
  Calibration calibration;
  if (version > 1 && root.has("gpu")) {
    root.onlyKeys({"schema", "schema_version", "measured", "gpu"});
    calibration.measured = root["measured"].flag();
    calibration.gpu = readGpuCalibration(root["gpu"]);
  } else {
    root.onlyKeys({"schema", "schema_version", "measured", "tile_ns_per_step", "stream_ns_per_byte", "overlap",
                   "pack_ns_per_byte", "copy_ns_per_byte", "section_ns"});
    calibration.measured = root["measured"].flag();
    readCpu(root, calibration);
  }
  if (Status status = document->status(); !status.ok())
    return status;
  return calibration;
}

} // namespace moec
