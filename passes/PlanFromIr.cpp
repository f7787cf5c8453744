#include "passes/PlanFromIr.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace moec::moe;

namespace moec::passes {

static int64_t dim(Value value, unsigned index) { return cast<RankedTensorType>(value.getType()).getDimSize(index); }

static DType dtypeOf(Value value) {
  Type element = cast<RankedTensorType>(value.getType()).getElementType();
  return element.isBF16() ? DType::BF16 : element.isF16() ? DType::F16 : DType::F32;
}

static bool isBlockE4M3(Value value) {
  auto weight = value.getDefiningOp<WeightOp>();
  return weight && weight.getBlockE4m3();
}

/// E4m3 kernels multiply all three: experts that hold one of them otherwise have none.
template <typename FfnOp> static WeightFormat formatOf(FfnOp ffn) {
  const bool all = isBlockE4M3(ffn.getGate()) && isBlockE4M3(ffn.getUp()) && isBlockE4M3(ffn.getDown());
  return all ? WeightFormat::BlockE4M3 : WeightFormat::Plain;
}

/// Whether the shared expert computes as a routed one would, for whom nobody but the routed ones waits.
static bool isAlike(SharedFfnOp shared, GroupedFfnOp grouped) {
  return shared.getHidden() == grouped.getHidden() && shared.getResult().hasOneUse() &&
         formatOf(shared) == formatOf(grouped) &&
         OperationEquivalence::isRegionEquivalentTo(&shared.getActivation(), &grouped.getActivation(),
                                                    OperationEquivalence::IgnoreLocations);
}

LayerShape shapeOf(GroupedFfnOp grouped) {
  LayerShape shape;
  shape.experts = static_cast<uint32_t>(dim(grouped.getGate(), 0));
  shape.intermediate = static_cast<uint32_t>(dim(grouped.getGate(), 1));
  shape.hidden = static_cast<uint32_t>(dim(grouped.getGate(), 2));
  shape.topK = static_cast<uint32_t>(dim(grouped.getIds(), 1));
  shape.dtype = dtypeOf(grouped.getHidden());
  shape.expertBias = static_cast<bool>(grouped.getGateBias());
  shape.weightOnInput = grouped.getWeightOnInput();
  shape.expertFormat = formatOf(grouped);
  if (Value init = grouped.getInit())
    if (auto shared = init.getDefiningOp<SharedFfnOp>()) {
      shape.sharedIntermediate = static_cast<uint32_t>(dim(shared.getGate(), 0));
      shape.sharedGate = static_cast<bool>(shared.getRouter());
      shape.sharedAlike = isAlike(shared, grouped);
    }
  return shape;
}

FailureOr<Histogram> histogramOf(func::FuncOp function, const LayerShape &shape, int64_t defaultTokens) {
  auto tokens = function->getAttrOfType<IntegerAttr>(kTokensAttr);
  auto pairs = function->getAttrOfType<DenseI32ArrayAttr>(kPairsAttr);
  int64_t uniformTokens = tokens ? tokens.getInt() : defaultTokens;
  if (!pairs && (uniformTokens < 0 || uniformTokens > INT32_MAX))
    return function.emitError() << "cannot plan for " << uniformTokens << " tokens, expected 0.." << INT32_MAX;
  if (!pairs)
    return Histogram::uniform(static_cast<uint32_t>(uniformTokens), shape.topK, shape.experts);
  // That neither is negative the dialect has verified.
  if (!tokens || pairs.size() != shape.experts)
    return function.emitError() << "a profile has moe.tokens and a moe.pairs entry for each of " << shape.experts
                                << " experts";
  Histogram histogram{static_cast<uint32_t>(tokens.getInt()), {}};
  histogram.pairs.assign(pairs.asArrayRef().begin(), pairs.asArrayRef().end());
  return histogram;
}

Attribute toAttribute(MLIRContext *context, const LayerConfig &config) {
  if (config.device == DeviceKind::Cuda) {
    const CudaConfig &cuda = config.cuda;
    return CudaConfigAttr::get(context, dtypeName(cuda.element), cuda.gateUp.text(), cuda.down.text(),
                               cuda.sharedGateUp.text(), cuda.sharedDown.text());
  }
  SmallVector<int64_t> rows(config.cpu.tileRows.begin(), config.cpu.tileRows.end());
  return CpuConfigAttr::get(context, isaName(config.cpu.isa), dtypeName(config.cpu.compute), rows);
}

static CpuIsa isaFromName(StringRef name) {
  return name == "avx2" ? CpuIsa::Avx2 : name == "avx512" ? CpuIsa::Avx512 : CpuIsa::Avx512Bf16;
}

/// The verifier has parsed it before.
static CudaTile tileOf(StringRef text) {
  Result<CudaTile> tile = CudaTile::parse(text.str());
  return tile ? *tile : CudaTile();
}

LayerConfig fromAttribute(Attribute attribute) {
  if (auto cuda = dyn_cast<CudaConfigAttr>(attribute))
    return CudaConfig{.element = cuda.getElement() == "bf16" ? DType::BF16 : DType::F16,
                      .gateUp = tileOf(cuda.getGateUp()),
                      .down = tileOf(cuda.getDown()),
                      .sharedGateUp = tileOf(cuda.getSharedGateUp()),
                      .sharedDown = tileOf(cuda.getSharedDown())};
  auto cpu = cast<CpuConfigAttr>(attribute);
  CpuConfig config;
  config.isa = isaFromName(cpu.getIsa());
  config.compute = cpu.getCompute() == "bf16" ? DType::BF16 : DType::F32;
  config.tileRows.assign(cpu.getRows().begin(), cpu.getRows().end());
  return config;
}

void writeTarget(ModuleOp module, const TargetFacts &facts, const PlanLimits &limits, const Calibration &calibration) {
  Builder builder(module.getContext());
  if (facts.device == DeviceKind::Cuda)
    module->setAttr(kTargetAttr,
                    builder.getDictionaryAttr({
                        builder.getNamedAttr("name", builder.getStringAttr(facts.name)),
                        builder.getNamedAttr("arch", builder.getStringAttr(facts.arch)),
                        builder.getNamedAttr("gpu", builder.getStringAttr(facts.gpu.model)),
                        builder.getNamedAttr("multiprocessors", builder.getI64IntegerAttr(facts.gpu.multiprocessors)),
                        builder.getNamedAttr("shared", builder.getI64IntegerAttr(facts.gpu.sharedBytesPerBlock)),
                        builder.getNamedAttr("l2", builder.getI64IntegerAttr(static_cast<int64_t>(facts.gpu.l2Bytes))),
                        builder.getNamedAttr("bytes_per_ns", builder.getF64FloatAttr(facts.gpu.memoryBytesPerNs)),
                        builder.getNamedAttr("flops_per_ns", builder.getF64FloatAttr(facts.gpu.matrixFlopsPerNs)),
                    }));
  else
    module->setAttr(kTargetAttr, builder.getDictionaryAttr({
                                     builder.getNamedAttr("name", builder.getStringAttr(facts.name)),
                                     builder.getNamedAttr("isa", builder.getStringAttr(isaName(facts.isa))),
                                     builder.getNamedAttr("threads", builder.getI64IntegerAttr(facts.threads)),
                                     builder.getNamedAttr("l2", builder.getI64IntegerAttr(facts.l2Bytes)),
                                 }));
  module->setAttr(
      kLimitsAttr,
      builder.getDictionaryAttr({
          builder.getNamedAttr("heights", builder.getI64IntegerAttr(limits.maxTileHeights)),
          builder.getNamedAttr("pack_budget", builder.getI64IntegerAttr(static_cast<int64_t>(limits.packBudgetBytes))),
          builder.getNamedAttr("headroom", builder.getF64FloatAttr(limits.slotHeadroom)),
          builder.getNamedAttr("align", builder.getI64IntegerAttr(limits.slotAlign)),
      }));
  module->setAttr(kCalibrationAttr, builder.getStringAttr(calibration.toJson()));
}

/// Reads attributes of one dictionary, with a diagnostic that names what is missing.
namespace {
struct DictionaryReader {
  Operation *op;
  StringRef name;
  DictionaryAttr dictionary;
  bool failed = false;

  template <typename AttrT> AttrT get(StringRef key) {
    AttrT value = dictionary ? dictionary.getAs<AttrT>(key) : AttrT();
    if (!value && !failed) {
      op->emitError() << name << " lacks a well-formed '" << key << "'";
      failed = true;
    }
    return value;
  }
  int64_t integer(StringRef key, int64_t atLeast, int64_t atMost = INT64_MAX) {
    IntegerAttr value = get<IntegerAttr>(key);
    if (value && !value.getType().isSignlessInteger(64) && !failed) {
      op->emitError() << name << " lacks a well-formed '" << key << "': it is an i64";
      failed = true;
    }
    if (!value || failed)
      return atLeast;
    if (value.getInt() < atLeast || value.getInt() > atMost) {
      InFlightDiagnostic error = op->emitError() << name << " has " << key << " = " << value.getInt()
                                                 << ", expected at least " << atLeast;
      if (atMost != INT64_MAX)
        error << " and at most " << atMost;
      failed = true;
    }
    return value.getInt();
  }
  double number(StringRef key, double atLeast, double atMost) {
    FloatAttr value = get<FloatAttr>(key);
    if (!value || failed)
      return atLeast;
    double number = value.getValueAsDouble();
    if (!(number >= atLeast && number <= atMost)) { // NaN is neither
      op->emitError() << name << " has " << key << " = " << number << ", expected " << atLeast << " to " << atMost;
      failed = true;
    }
    return number;
  }
  double positive(StringRef key) {
    FloatAttr value = get<FloatAttr>(key);
    if (value && !(value.getValueAsDouble() > 0) && !failed) {
      op->emitError() << name << " has " << key << " = " << value.getValueAsDouble() << ", expected more than 0";
      failed = true;
    }
    return value ? value.getValueAsDouble() : 1;
  }
};
} // namespace

static constexpr int64_t most32 = UINT32_MAX;

static FailureOr<TargetFacts> readGpu(DictionaryReader &reader, TargetFacts facts) {
  facts.device = DeviceKind::Cuda;
  if (auto arch = reader.get<StringAttr>("arch"))
    facts.arch = arch.getValue().str();
  if (auto model = reader.get<StringAttr>("gpu"))
    facts.gpu.model = model.getValue().str();
  facts.gpu.multiprocessors = static_cast<uint32_t>(reader.integer("multiprocessors", 1, most32));
  facts.gpu.sharedBytesPerBlock = static_cast<uint32_t>(reader.integer("shared", 1, most32));
  facts.gpu.l2Bytes = static_cast<uint64_t>(reader.integer("l2", 1));
  facts.gpu.memoryBytesPerNs = reader.positive("bytes_per_ns");
  facts.gpu.matrixFlopsPerNs = reader.positive("flops_per_ns");
  if (reader.failed)
    return failure();
  return facts;
}

FailureOr<TargetFacts> targetOf(ModuleOp module) {
  TargetFacts facts;
  auto dictionary = module->getAttrOfType<DictionaryAttr>(kTargetAttr);
  if (!dictionary) { // as `moec-opt` on a plain model: the newest ISA, so that tests read the same everywhere
    facts.isa = CpuIsa::Avx512Bf16;
    facts.name = "cpu-avx512bf16";
    return facts;
  }
  DictionaryReader reader{module, kTargetAttr, dictionary};
  if (auto name = reader.get<StringAttr>("name"))
    facts.name = name.getValue().str();
  if (dictionary.contains("arch"))
    return readGpu(reader, std::move(facts));
  if (auto isa = reader.get<StringAttr>("isa")) {
    facts.isa = isaFromName(isa.getValue());
    if (isa.getValue() != isaName(facts.isa))
      return module.emitError() << kTargetAttr << " has the unknown isa '" << isa.getValue() << "'";
  }
  facts.threads = static_cast<uint32_t>(reader.integer("threads", 1, 1 << 16));
  facts.l2Bytes = static_cast<uint64_t>(reader.integer("l2", 1));
  if (reader.failed)
    return failure();
  return facts;
}

static FailureOr<PlanLimits> readLimits(ModuleOp module) {
  PlanLimits limits;
  auto dictionary = module->getAttrOfType<DictionaryAttr>(kLimitsAttr);
  if (!dictionary)
    return limits;
  DictionaryReader reader{module, kLimitsAttr, dictionary};
  // The ranges that a trace's limits have.
  limits.maxTileHeights = static_cast<uint32_t>(reader.integer("heights", 1, Calibration::maxRows));
  limits.packBudgetBytes = static_cast<uint64_t>(reader.integer("pack_budget", INT64_MIN));
  limits.slotHeadroom = reader.number("headroom", 0, 1e6);
  limits.slotAlign = static_cast<uint32_t>(reader.integer("align", 1, 1 << 16));
  if (reader.failed)
    return failure();
  return limits;
}

static FailureOr<Calibration> readCalibration(ModuleOp module, const TargetFacts &facts, DType compute) {
  auto text = module->getAttrOfType<StringAttr>(kCalibrationAttr);
  if (!text)
    return Calibration::assumed(facts, compute);
  Result<Calibration> calibration = Calibration::fromJson(text.getValue().str());
  if (!calibration)
    return module.emitError() << kCalibrationAttr << ": " << calibration.status().message();
  return *calibration;
}

void writePlan(func::FuncOp function, const LayerPlan &plan) {
  Builder builder(function.getContext());
  SmallVector<int32_t> slots(plan.table.slots.begin(), plan.table.slots.end());
  SmallVector<int8_t> packed(plan.table.packed.begin(), plan.table.packed.end());
  SmallVector<int16_t> order(plan.table.order.begin(), plan.table.order.end());
  function->setAttr(kPlanAttr, builder.getDictionaryAttr({
                                   builder.getNamedAttr("config", toAttribute(function.getContext(), plan.config)),
                                   builder.getNamedAttr("slots", builder.getDenseI32ArrayAttr(slots)),
                                   builder.getNamedAttr("packed", builder.getDenseI8ArrayAttr(packed)),
                                   builder.getNamedAttr("order", builder.getDenseI16ArrayAttr(order)),
                                   builder.getNamedAttr("ns", builder.getF64FloatAttr(plan.predictedNs)),
                               }));
}

/// A plan that was decided elsewhere; for `facts`, where the module says what it is for.
static FailureOr<LayerPlan> readPlan(func::FuncOp function, DictionaryAttr dictionary, const TargetFacts *facts) {
  DictionaryReader reader{function, kPlanAttr, dictionary};
  LayerPlan plan;
  auto config = reader.get<Attribute>("config");
  auto slots = reader.get<DenseI32ArrayAttr>("slots");
  auto packed = reader.get<DenseI8ArrayAttr>("packed");
  auto order = reader.get<DenseI16ArrayAttr>("order");
  auto ns = reader.get<FloatAttr>("ns");
  if (config && !isa<CpuConfigAttr, CudaConfigAttr>(config) && !reader.failed)
    return function.emitError() << kPlanAttr << " has a config that is neither #moe.cpu_config nor #moe.cuda_config";
  if (reader.failed)
    return failure();
  plan.config = fromAttribute(config);
  if (facts && plan.config.device != facts->device)
    return function.emitError() << kPlanAttr << " has a config for device " << deviceName(plan.config.device)
                                << ", but target " << facts->name << " is for device " << deviceName(facts->device);
  plan.table.slots.assign(slots.asArrayRef().begin(), slots.asArrayRef().end());
  plan.table.packed.assign(packed.asArrayRef().begin(), packed.asArrayRef().end());
  plan.table.order.assign(order.asArrayRef().begin(), order.asArrayRef().end());
  plan.predictedNs = ns.getValueAsDouble();
  return plan;
}

/// That there are GPU kernels for such a layer: matrix instructions take two-byte elements.
static LogicalResult checkForGpu(GroupedFfnOp grouped, const LayerShape &shape, const TargetFacts &facts) {
  auto function = grouped->getParentOfType<func::FuncOp>();
  if (shape.dtype == DType::F32)
    return function.emitError() << "the layer is f32, but target " << facts.name << " takes bf16 and f16 layers";
  return success();
}

FailureOr<LayerPlan> planOf(GroupedFfnOp grouped, int64_t defaultTokens) {
  auto function = grouped->getParentOfType<func::FuncOp>();
  auto module = grouped->getParentOfType<ModuleOp>();
  LayerShape shape = shapeOf(grouped);
  FailureOr<TargetFacts> facts = targetOf(module);
  if (failed(facts) || (facts->device == DeviceKind::Cuda && failed(checkForGpu(grouped, shape, *facts))))
    return failure();
  if (auto plan = function->getAttrOfType<DictionaryAttr>(kPlanAttr))
    return readPlan(function, plan, module->hasAttr(kTargetAttr) ? &*facts : nullptr);
  FailureOr<Histogram> histogram = histogramOf(function, shape, defaultTokens);
  FailureOr<PlanLimits> limits = readLimits(module);
  if (failed(histogram) || failed(limits))
    return failure();
  FailureOr<Calibration> calibration = readCalibration(module, *facts, computeDType(shape));
  if (failed(calibration))
    return failure();
  return planLayer(shape, *histogram, *facts, *calibration, *limits);
}

} // namespace moec::passes
