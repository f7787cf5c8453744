#include "tools/bench/gpu/Fp8Layer.h"

#include "compiler/core/CudaLaunch.h"

#include <algorithm>

namespace moec::bench {
namespace {

uint64_t addressOf(const void *pointer) { return reinterpret_cast<uint64_t>(pointer); }

/// What stands behind "fp8-ROLE-" in a kernel's name.
std::string tileName(const GemmConfig &config, std::string_view role) {
  const std::string name = shippedFp8Gemm(config).name;
  return name.substr(name.find(role) + role.size() + 1);
}

} // namespace

std::string Fp8Choice::name() const {
  const std::string own = tileName(gateUp, "gateup"), others = tileName(down, "down");
  return "fp8-" + own + (own == others ? "" : "+" + others);
}

Fp8Choice Fp8Choice::combiningFor(const Shape &shape) const {
  Fp8Choice other = *this;
  if (downCombines(shape.topK, false, GemmFamily::Fp8))
    other.down = combining(other.down);
  return other;
}

std::vector<Fp8Choice> fp8Choices() {
  std::vector<Fp8Choice> choices;
  for (const CudaTile &gateUp : e4m3TileClasses())
    for (const CudaTile &down : e4m3TileClasses())
      if (gateUp == down || (gateUp.tokens == down.tokens && givesQuantised(gateUp)))
        choices.push_back({gemmConfigOf(gateUp, DType::BF16, GemmRole::GateUp, false),
                           gemmConfigOf(down, DType::BF16, GemmRole::Down, false),
                           bothHaveQuantisingForms(gateUp, down)});
  return choices;
}

Result<Fp8Buffers> Fp8Buffers::allocate(Device &device, const Shape &shape) {
  Fp8Buffers all;
  const size_t pairs = std::max<size_t>(size_t{shape.tokens} * shape.topK, 1);
  all.scaleStride = scaleStrideOf(pairs);
  const auto scaleBytes = [&](uint32_t k) { return size_t{ceilDivide(k, kFp8Block)} * all.scaleStride * 4; };
  MOEC_TRY(allocateBuffer(device, pairs * shape.hidden, all.tokens));
  MOEC_TRY(allocateBuffer(device, scaleBytes(shape.hidden), all.tokenScales));
  MOEC_TRY(allocateBuffer(device, pairs * shape.intermediate, all.activated));
  MOEC_TRY(allocateBuffer(device, scaleBytes(shape.intermediate), all.activatedScales));
  return all;
}

Result<Fp8Layer> Fp8Layer::create(Device &device, Bundle &bundle, const Shape &shape, const Fp8Choice &choice,
                                  const Fp8WeightsOnDevice &weights, LayerBuffers &buffers, Fp8Buffers &quantised) {
  const uint32_t H = shape.hidden, I = shape.intermediate;
  if (H % 16 != 0 || I % 16 != 0)
    return makeError(Code::InvalidArgument, "e4m3 layers need H and I in sixteens");
  Fp8Layer layer(device, shape, choice, buffers, quantised);
  layer.gateUpScales = weights.gateUpScales;
  layer.downScales = weights.downScales;
  layer.downCombines = choice.down.combines;
  layer.quantiseConfig = quantiseConfigOf(DType::BF16);
  MOEC_TRY(layer.loadEnds(bundle));
  MOEC_TRY(loadKernel(bundle, shippedQuantise(layer.quantiseConfig).name, 0, layer.quantiseKernel));
  // Maps count in pairs of elements (inBytes).
  const uint64_t matrix = uint64_t{I} * H, gate = addressOf(weights.gateUp);
  const CudaTensor gateUp =
      interleavedTensor(Element::BF16, gate, gate + matrix, H / 2, I, shape.experts, matrix, boxGroups(choice.gateUp));
  const CudaTensor down =
      weightTensor(Element::BF16, addressOf(weights.down), I / 2, H, shape.experts, matrix / 2, boxRows(choice.down));
  const Buffer &activated = givesQuantised(choice.gateUp) ? quantised.activated : buffers.activated;
  MOEC_TRY(layer.loadGemm(bundle, choice.gateUp, gateUp, quantised.tokens, H, activated, I, layer.gateUpGemm));
  MOEC_TRY(layer.loadGemm(bundle, choice.down, down, quantised.activated, I, buffers.expertOutput, H, layer.downGemm));
  if (downIsFewFp8(shape.tokens, shape.topK, I, H)) {
    Result<DeviceDownFew> few = DeviceDownFew::loadFp8(device, bundle, shape, weights.down, weights.downScales);
    MOEC_TRY(few.status());
    layer.downFew = *few;
  }
  if (gateUpIsFewFp8(shape.tokens, shape.topK, H, I)) {
    Result<DeviceGateUpFew> few = DeviceGateUpFew::load(device, bundle, shape, weights.gateUp, weights.gateUpScales);
    MOEC_TRY(few.status());
    layer.gateUpFew = *few;
  }
  return layer;
}

Status Fp8Layer::loadGemm(Bundle &bundle, const GemmConfig &config, const CudaTensor &weights, const Buffer &rows,
                          uint32_t k, const Buffer &output, uint32_t n, Gemm &gemm) {
  gemm.config = config;
  MOEC_TRY(loadProduct(*device, bundle, GemmFamily::Fp8, config, gemm.kernel));
  if (quantisesFew)
    MOEC_TRY(loadProduct(*device, bundle, GemmFamily::Fp8, moec::quantising(config), gemm.quantising));
  const uint32_t slots = std::max(numSlots(), 1u);
  const auto map = [&](const CudaTensor &tensor, CUtensorMap &to) -> Status {
    Result<CUtensorMap> made = device->tensorMap(tensor);
    MOEC_TRY(made.status());
    to = *made;
    return {};
  };
  MOEC_TRY(map(inBytes(weights), gemm.weights));
  MOEC_TRY(map(inBytes(rowTensor(Element::BF16, rows.address(), k / 2, slots, tokenBoxRows(config))), gemm.tokens));
  const bool bytes = givesQuantised(config);
  const CudaTensor outputs = rowTensor(Element::BF16, output.address(), bytes ? n / 2 : n, slots, kOutputBoxRows);
  MOEC_TRY(map(bytes ? inBytes(outputs) : outputs, gemm.output));
  MOEC_TRY(allocateBuffer(*device, kTileCounters * 4, gemm.tileCounters));
  return device->fill(gemm.tileCounters, 0);
}

Status Fp8Layer::quantise(const QuantiseArgs &args) {
  QuantiseArgs copy = args;
  void *parameters[] = {&copy};
  return device->launch(quantiseKernel,
                        {quantiseBlocks(quantiseConfig, args.numRows, args.k), quantiseConfig.threads, overlap},
                        parameters);
}

Status Fp8Layer::quantiseTokens(const void *hidden) {
  if (quantisesInputs() || hasFewGateUp())
    return {};
  return quantise({.rows = hidden,
                   .slotOfPair = buffers->slotOfPair.as<int32_t>(),
                   .rowsInUse = nullptr,
                   .quantised = quantised->tokens.as<uint8_t>(),
                   .scales = quantised->tokenScales.as<float>(),
                   .numRows = shape.tokens,
                   .k = shape.hidden,
                   .topK = shape.topK,
                   .scaleStride = quantised->scaleStride,
                   .few = few});
}

Status Fp8Layer::quantiseActivated() {
  if (quantisesInputs() || quantisesOutputs() || hasFewDown())
    return {};
  return quantise({.rows = buffers->activated.as<void>(),
                   .slotOfPair = nullptr,
                   .rowsInUse = few.ids ? nullptr : buffers->expertBegin.as<int32_t>(size_t{shape.experts} * 4),
                   .quantised = quantised->activated.as<uint8_t>(),
                   .scales = quantised->activatedScales.as<float>(),
                   .numRows = numSlots(),
                   .k = shape.intermediate,
                   .topK = 1,
                   .scaleStride = quantised->scaleStride,
                   .few = {}});
}

Status Fp8Layer::launch(Gemm &gemm, Fp8GemmArgs args) {
  args.gemm.numExperts = shape.experts;
  args.gemm.tileCounters = gemm.tileCounters.as<uint32_t>();
  args.tokenScaleStride = quantised->scaleStride;
  void *parameters[] = {&gemm.weights, &gemm.tokens, &gemm.output, &args};
  const uint32_t multiprocessors = device->multiprocessors();
  return device->launch(launchedKernel(quantisesInputs() ? gemm.quantising : gemm.kernel, gemm.config, args.gemm.few,
                                       args.gemm.n, multiprocessors),
                        {gemmBlocks(gemm.config, multiprocessors), hopperThreads(gemm.config), overlap}, parameters);
}

Status Fp8Layer::gateUp(const void *hidden) {
  gateUpWasFew = hasFewGateUp();
  if (gateUpWasFew)
    return gateUpFew->launch(*device, hidden, buffers->activated.as<void>(), few, hasFewDown(), overlap);
  const int64_t scales = int64_t{ceilDivide(shape.intermediate, kFp8Block)} * ceilDivide(shape.hidden, kFp8Block);
  Fp8GemmArgs args{};
  args.gemm = gemmArgs();
  args.gemm.tokens = hidden;
  args.gemm.output = quantisesOutputs() ? quantised->activated.as<void>() : buffers->activated.as<void>();
  args.outputScales = quantised->activatedScales.as<float>();
  args.gemm.k = shape.hidden;
  args.gemm.n = shape.intermediate;
  args.tokenScales = quantised->tokenScales.as<float>();
  args.weightScales = gateUpScales;
  args.upWeightScales = gateUpScales + scales;
  args.expertScaleStride = 2 * scales;
  return launch(gateUpGemm, args);
}

Status Fp8Layer::down(const float *pairWeights) {
  if (takesFewDown())
    return quantisesOutputs() && !gateUpWasFew
               ? downFew->launch(*device, downFewArgs(quantised->activated, pairWeights), overlap,
                                 {quantised->activatedScales.as<float>(), quantised->scaleStride})
               : downFew->launch(*device, downFewArgs(buffers->activated, pairWeights), overlap);
  Fp8GemmArgs args{};
  args.gemm = gemmArgs();
  args.gemm.tokens = buffers->activated.as<void>();
  args.gemm.output = buffers->expertOutput.as<void>();
  if (downCombines)
    letDownCombine(args.gemm, pairWeights);
  args.gemm.k = shape.intermediate;
  args.gemm.n = shape.hidden;
  args.tokenScales = quantised->activatedScales.as<float>();
  args.weightScales = downScales;
  args.expertScaleStride = int64_t{ceilDivide(shape.intermediate, kFp8Block)} * ceilDivide(shape.hidden, kFp8Block);
  return launch(downGemm, args);
}

Status Fp8Layer::forward(const void *hidden, const int32_t *ids, const float *pairWeights) {
  MOEC_TRY(assignSlots(ids));
  MOEC_TRY(quantiseTokens(hidden));
  MOEC_TRY(gateUp(hidden));
  MOEC_TRY(quantiseActivated());
  MOEC_TRY(down(pairWeights));
  return combine(pairWeights);
}

} // namespace moec::bench
