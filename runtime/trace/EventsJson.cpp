#include "runtime/trace/EventsJson.h"

#include <algorithm>
#include <array>

namespace moec {

namespace {

constexpr uint64_t mostExperts = 1u << 16;
constexpr uint64_t mostRows = 1u << 24; // of a step, or of a weight
constexpr double mostNs = 1e15;

std::string packedText(const std::vector<uint8_t> &packed) {
  std::string text;
  for (uint8_t flag : packed)
    text += flag ? '1' : '0';
  return text;
}

std::vector<uint8_t> readPacked(const JsonValue &json, uint32_t experts) {
  std::string text = json.text();
  if (text.size() != experts || text.find_first_not_of("01") != std::string::npos)
    json.fail(fmt::format("expected {} characters 0 or 1", experts));
  std::vector<uint8_t> packed(experts, 0);
  for (size_t expert = 0; expert < std::min<size_t>(experts, text.size()); ++expert)
    packed[expert] = text[expert] == '1';
  return packed;
}

template <typename T> std::vector<T> readPerExpert(const JsonValue &json, uint32_t experts, uint64_t most) {
  std::vector<T> values = json.integers<T>(most);
  if (values.size() != experts) {
    json.fail(fmt::format("expected {} numbers, one per expert, found {}", experts, values.size()));
    values.assign(experts, 0);
  }
  return values;
}

} // namespace

OrderedJson toJson(const LayerShape &shape) {
  OrderedJson json = {{"hidden", shape.hidden},          {"intermediate", shape.intermediate},
                      {"experts", shape.experts},        {"top_k", shape.topK},
                      {"dtype", dtypeName(shape.dtype)}, {"shared_intermediate", shape.sharedIntermediate},
                      {"shared_gate", shape.sharedGate}};
  if (shape.expertBias) // traces from before there were biases have no such key
    json["expert_bias"] = true;
  if (shape.sharedAlike) // nor this: a GPU then computed the shared expert by itself
    json["shared_alike"] = true;
  if (shape.weightOnInput) // nor this
    json["weight_on_input"] = true;
  if (shape.expertFormat != WeightFormat::Plain) // nor this
    json["expert_format"] = weightFormatName(shape.expertFormat);
  return json;
}

static WeightFormat readWeightFormat(const JsonValue &json) {
  Result<WeightFormat> format = parseWeightFormat(json.text());
  if (!format)
    json.fail(format.status().message());
  return format ? *format : WeightFormat::Plain;
}

LayerShape readShape(const JsonValue &json) {
  LayerShape shape;
  shape.hidden = static_cast<uint32_t>(json["hidden"].integer(1, mostRows));
  shape.intermediate = static_cast<uint32_t>(json["intermediate"].integer(1, mostRows));
  shape.experts = static_cast<uint32_t>(json["experts"].integer(1, mostExperts));
  shape.topK = static_cast<uint32_t>(json["top_k"].integer(1, mostExperts));
  if (Result<DType> dtype = parseDType(json["dtype"].text()))
    shape.dtype = *dtype;
  else
    json["dtype"].fail(dtype.status().message());
  shape.sharedIntermediate = static_cast<uint32_t>(json["shared_intermediate"].integer(0, mostRows));
  shape.sharedGate = json["shared_gate"].flag();
  shape.sharedAlike = json.has("shared_alike") && json["shared_alike"].flag();
  shape.expertBias = json.has("expert_bias") && json["expert_bias"].flag();
  shape.weightOnInput = json.has("weight_on_input") && json["weight_on_input"].flag();
  if (json.has("expert_format"))
    shape.expertFormat = readWeightFormat(json["expert_format"]);
  return shape;
}

OrderedJson toJson(const LayerConfig &config) {
  if (config.device == DeviceKind::Cpu)
    return {{"isa", isaName(config.cpu.isa)},
            {"compute", dtypeName(config.cpu.compute)},
            {"tile_rows", config.cpu.tileRows}};
  const CudaConfig &cuda = config.cuda;
  return {{"element", dtypeName(cuda.element)},
          {"gate_up", cuda.gateUp.text()},
          {"down", cuda.down.text()},
          {"shared_gate_up", cuda.sharedGateUp.text()},
          {"shared_down", cuda.sharedDown.text()}};
}

static DType readDType(const JsonValue &json) {
  if (Result<DType> dtype = parseDType(json.text()))
    return *dtype;
  else
    json.fail(dtype.status().message());
  return DType::BF16;
}

static CudaTile readTile(const JsonValue &json) {
  if (Result<CudaTile> tile = CudaTile::parse(json.text()))
    return *tile;
  else
    json.fail(tile.status().message());
  return {};
}

static CpuIsa readIsa(const JsonValue &json) {
  std::string name = json.text();
  for (CpuIsa isa : {CpuIsa::Avx2, CpuIsa::Avx512, CpuIsa::Avx512Bf16})
    if (name == isaName(isa))
      return isa;
  json.fail("expected avx2, avx512 or avx512bf16");
  return CpuIsa::Avx2;
}

static CudaConfig readCudaConfig(const JsonValue &json) {
  return {.element = readDType(json["element"]),
          .gateUp = readTile(json["gate_up"]),
          .down = readTile(json["down"]),
          .sharedGateUp = readTile(json["shared_gate_up"]),
          .sharedDown = readTile(json["shared_down"])};
}

LayerConfig readConfig(const JsonValue &json) {
  if (json.has("element"))
    return readCudaConfig(json);
  CpuConfig config;
  config.isa = readIsa(json["isa"]);
  config.compute = readDType(json["compute"]);
  JsonValue rows = json["tile_rows"];
  config.tileRows = rows.integers<uint16_t>(Calibration::maxRows);
  bool descending = std::is_sorted(config.tileRows.rbegin(), config.tileRows.rend(), std::less_equal<>()) ||
                    config.tileRows.size() == 1;
  if (config.tileRows.empty() || !descending || config.tileRows.back() == 0) {
    rows.fail("expected descending heights of at least 1");
    config.tileRows = {1};
  }
  return config;
}

OrderedJson toJson(const LayerPlan &plan) {
  return {{"config", toJson(plan.config)},
          {"slots", plan.table.slots},
          {"packed", packedText(plan.table.packed)},
          {"order", plan.table.order},
          {"predicted_ns", plan.predictedNs}};
}

LayerPlan readPlan(const JsonValue &json, uint32_t experts) {
  LayerPlan plan;
  plan.config = readConfig(json["config"]);
  plan.table.slots = readPerExpert<uint32_t>(json["slots"], experts, UINT32_MAX);
  plan.table.packed = readPacked(json["packed"], experts);
  plan.table.order = readPerExpert<uint16_t>(json["order"], experts, experts ? experts - 1 : 0);
  plan.predictedNs = json["predicted_ns"].number(0, mostNs);
  return plan;
}

OrderedJson toJson(const Histogram &histogram) { return {{"tokens", histogram.tokens}, {"pairs", histogram.pairs}}; }

Histogram readHistogram(const JsonValue &json, uint32_t experts) {
  Histogram histogram;
  histogram.tokens = static_cast<uint32_t>(json["tokens"].integer(0, mostRows));
  histogram.pairs = readPerExpert<uint32_t>(json["pairs"], experts, mostRows);
  return histogram;
}

OrderedJson toJson(const TargetFacts &facts) {
  if (facts.device == DeviceKind::Cuda)
    return {{"name", facts.name},
            {"arch", facts.arch},
            {"gpu", facts.gpu.model},
            {"multiprocessors", facts.gpu.multiprocessors},
            {"shared_bytes_per_block", facts.gpu.sharedBytesPerBlock},
            {"l2_bytes", facts.gpu.l2Bytes},
            {"memory_bytes_per_ns", facts.gpu.memoryBytesPerNs},
            {"matrix_flops_per_ns", facts.gpu.matrixFlopsPerNs}};
  return {{"name", facts.name}, {"isa", isaName(facts.isa)}, {"threads", facts.threads}, {"l2_bytes", facts.l2Bytes}};
}

TargetFacts readFacts(const JsonValue &json) {
  TargetFacts facts;
  facts.name = json["name"].text();
  if (json.has("arch")) {
    facts.device = DeviceKind::Cuda;
    facts.arch = json["arch"].text();
    facts.gpu = {.model = json["gpu"].text(),
                 .multiprocessors = static_cast<uint32_t>(json["multiprocessors"].integer(1, 1u << 16)),
                 .sharedBytesPerBlock = static_cast<uint32_t>(json["shared_bytes_per_block"].integer(0, 1u << 30)),
                 .l2Bytes = json["l2_bytes"].integer(0, uint64_t{1} << 40),
                 .memoryBytesPerNs = json["memory_bytes_per_ns"].number(1e-3, 1e9),
                 .matrixFlopsPerNs = json["matrix_flops_per_ns"].number(1e-3, 1e12)};
    return facts;
  }
  facts.isa = readIsa(json["isa"]);
  facts.threads = static_cast<uint32_t>(json["threads"].integer(1, 1u << 16));
  facts.l2Bytes = json["l2_bytes"].integer(0, uint64_t{1} << 40);
  return facts;
}

OrderedJson toJson(const Calibration &calibration) {
  if (calibration.gpu)
    return {{"measured", calibration.measured}, {"gpu", toJson(*calibration.gpu)}};
  return {{"measured", calibration.measured},
          {"tile_ns_per_step", calibration.tileNsPerStep},
          {"stream_ns_per_byte", calibration.streamNsPerByte},
          {"overlap", calibration.overlap},
          {"pack_ns_per_byte", calibration.packNsPerByte},
          {"copy_ns_per_byte", calibration.copyNsPerByte},
          {"section_ns", calibration.sectionNs}};
}

Calibration readCalibration(const JsonValue &json) {
  Calibration calibration;
  calibration.measured = json["measured"].flag();
  if (json.has("gpu")) {
    calibration.gpu = readGpuCalibration(json["gpu"]);
    return calibration;
  }
  JsonValue tiles = json["tile_ns_per_step"];
  if (tiles.size() != calibration.tileNsPerStep.size())
    tiles.fail(fmt::format("expected {} numbers", calibration.tileNsPerStep.size()));
  for (size_t rows = 0; rows < std::min(tiles.size(), calibration.tileNsPerStep.size()); ++rows)
    calibration.tileNsPerStep[rows] = tiles.at(rows).number(0, mostNs);
  calibration.streamNsPerByte = json["stream_ns_per_byte"].number(0, mostNs);
  if (json.has("overlap")) // traces from before it was measured were decided with a perfect one
    calibration.overlap = json["overlap"].number(0, 1);
  calibration.packNsPerByte = json["pack_ns_per_byte"].number(0, mostNs);
  calibration.copyNsPerByte = json["copy_ns_per_byte"].number(0, mostNs);
  calibration.sectionNs = json["section_ns"].number(0, mostNs);
  return calibration;
}

OrderedJson toJson(const PolicyConfig &config) {
  return {{"min_gain", config.minGain},
          {"drift_floor", config.driftFloor},
          {"repay_horizon_steps", config.repayHorizonSteps},
          {"notice_steps", config.noticeSteps},
          {"changes_per_minute", config.changesPerMinute},
          {"cool_down_ns", config.coolDownNs},
          {"back_off_ns", config.backOffNs},
          {"look_ns", config.lookNs},
          {"most_look_ns", config.mostLookNs},
          {"cost_smoothing", config.costSmoothing},
          {"keep_above", config.keepAbove},
          {"keep_median", config.keepMedian},
          {"first_compile_ms", config.firstCost.compileMs},
          {"first_load_ms", config.firstCost.loadMs},
          {"first_validate_ms", config.firstCost.validateMs},
          {"first_pack_ns_per_byte", config.firstPackNsPerByte}};
}

OrderedJson toJson(const PlanLimits &limits) {
  return {{"max_tile_heights", limits.maxTileHeights},
          {"pack_budget_bytes", limits.packBudgetBytes},
          {"slot_headroom", limits.slotHeadroom},
          {"slot_align", limits.slotAlign}};
}

PlanLimits readLimits(const JsonValue &json) {
  PlanLimits limits;
  limits.maxTileHeights = static_cast<uint32_t>(json["max_tile_heights"].integer(1, Calibration::maxRows));
  limits.packBudgetBytes = json["pack_budget_bytes"].integer(0, UINT64_MAX);
  limits.slotHeadroom = json["slot_headroom"].number(0, 1e6);
  limits.slotAlign = static_cast<uint32_t>(json["slot_align"].integer(1, 1u << 16));
  return limits;
}

PolicyConfig readPolicyConfig(const JsonValue &json) {
  constexpr int64_t mostWaitNs = int64_t{1} << 50; // about 13 days; doubled six times it still fits
  PolicyConfig config;
  config.minGain = json["min_gain"].number(0, 1);
  config.driftFloor = json["drift_floor"].number(0, 1);
  config.repayHorizonSteps = json["repay_horizon_steps"].integer(1, UINT64_MAX);
  config.noticeSteps = static_cast<uint32_t>(json["notice_steps"].integer(0, 1u << 24));
  config.changesPerMinute = json["changes_per_minute"].number(0, 1e6);
  config.coolDownNs = json["cool_down_ns"].signedInteger(0, mostWaitNs);
  config.backOffNs = json["back_off_ns"].signedInteger(0, mostWaitNs);
  config.lookNs = json["look_ns"].signedInteger(0, mostWaitNs);
  config.mostLookNs = json["most_look_ns"].signedInteger(0, mostWaitNs);
  config.costSmoothing = json["cost_smoothing"].number(0, 1);
  config.keepAbove = json["keep_above"].number(-10, 10);
  config.keepMedian = json["keep_median"].number(-10, 10);
  config.firstCost.compileMs = json["first_compile_ms"].number(0, mostNs);
  config.firstCost.loadMs = json["first_load_ms"].number(0, mostNs);
  config.firstCost.validateMs = json["first_validate_ms"].number(0, mostNs);
  config.firstPackNsPerByte = json["first_pack_ns_per_byte"].number(0, mostNs);
  return config;
}

} // namespace moec
