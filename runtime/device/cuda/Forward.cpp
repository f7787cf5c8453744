#include "runtime/device/cuda/Forward.h"

#include "compiler/core/CudaLaunch.h"
#include "compiler/core/JoinedShared.h"
#include "runtime/ProfileRange.h"
#include "runtime/device/cuda/TensorMap.h"

#include <algorithm>

namespace moec {

Status CudaForward::run(const void *hidden, uint32_t numTokens, const RoutingView *routing,
                        const CudaCounters &counters, void *output) {
  tokens = numTokens;
  const uint64_t rowBytes = uint64_t{layer.shape.hidden} * byteSize(layer.shape.dtype);
  const uint64_t paddedBytes = uint64_t{paddedForCuda(layer.shape.hidden)} * byteSize(layer.shape.dtype);
  if (isPadded()) {
    MOEC_TRY(copyRows(hidden, rowBytes, space.hidden, paddedBytes));
    hidden = space.hidden;
  }
  const bool gated = weights.sharedRouter != 0;
  if (!routing && kernels.router.empty())
    return makeError(Code::InvalidArgument, "layer {} has no router: give ids and weights", layer.number);
  if (!routing || gated)
    MOEC_TRY(routerLogits(hidden, !routing));
  if (!routing)
    MOEC_TRY(route(counters.nonFinite));
  const int32_t *ids = routing ? routing->ids : space.ids;
  MOEC_TRY(assignSlots(ids, counters.ring));
  const float *pairWeights = routing ? routing->weights : space.weights;
  forms = fewForms();
  if (forms.gateUp) { // down then quantises its rows itself
    MOEC_TRY(gateUpFew(hidden));
  } else {
    const bool quantisedApart = kernels.gateUp.family == GemmFamily::Fp8 && !quantisesFew();
    if (quantisedApart)
      MOEC_TRY(quantiseTokens(hidden));
    MOEC_TRY(gateUp(hidden, pairWeights));
    if (quantisedApart && !kernels.gateUp.quantisesOutputs() && !forms.down) // which does that itself
      MOEC_TRY(quantiseActivated());
  }
  void *outputs = isPadded() ? space.output : output;
  if (forms.down) {
    MOEC_TRY(downFew(pairWeights, counters.ring, outputs));
  } else {
    MOEC_TRY(down(ids, pairWeights, counters.ring, outputs));
    countsQueued |= !isFew(few);
    if (kernels.sharedGateUp)
      MOEC_TRY(shared(hidden));
    if (!kernels.down.config.combines)
      MOEC_TRY(combine(pairWeights, counters.ring, outputs));
  }
  countsQueued = true; // of a pair a lane who combines leaves them
  return isPadded() ? copyRows(space.output, paddedBytes, output, rowBytes) : Status();
}

Status CudaForward::dispatchAlone(const int32_t *ids, uint32_t numTokens) {
  tokens = numTokens;
  return dispatch(ids, {});
}

Status CudaForward::copyRows(const void *from, uint64_t fromStride, void *to, uint64_t toStride) {
  CUDA_MEMCPY2D copy{};
  copy.srcMemoryType = copy.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  copy.srcDevice = reinterpret_cast<CUdeviceptr>(from);
  copy.dstDevice = reinterpret_cast<CUdeviceptr>(to);
  copy.srcPitch = fromStride;
  copy.dstPitch = toStride;
  copy.WidthInBytes = std::min(fromStride, toStride);
  copy.Height = tokens;
  MOEC_CUDA(site.driver, cuMemcpy2DAsync, (&copy, site.stream), "layer {}, copying {} rows of {} bytes", layer.number,
            tokens, copy.WidthInBytes);
  return {};
}

Status CudaForward::routerLogits(const void *hidden, bool experts) {
  const CudaRouter &router = *std::find_if(kernels.router.begin(), kernels.router.end(),
                                           [&](const CudaRouter &tile) { return tokens <= tile.maxTokens; });
  const RouterGemmConfig config{
      .element = kernels.gateUp.config.element, .tileTokens = router.tileTokens, .tileExperts = router.tileExperts};
  RouterGemmArgs args{};
  args.hidden = hidden;
  args.weight = reinterpret_cast<const void *>(weights.router);
  args.extraRow = reinterpret_cast<const void *>(weights.sharedRouter);
  args.bias = reinterpret_cast<const float *>(weights.routerBias);
  args.logits = space.logits;
  args.numTokens = tokens;
  args.numExperts = experts ? layer.shape.experts : 0; // without: the shared expert's gate alone
  args.hiddenSize = paddedForCuda(layer.shape.hidden);
  args.planes = weights.planes;
  args.logitStride = cudaLogitStride(layer.shape);
  sharedGate = args.extraRow ? space.logits + args.numExperts : nullptr;
  void *parameters[] = {&args};
  return launch(router.kernel, routerBlocks(config, tokens, args.numExperts + (args.extraRow ? 1 : 0)), parameters,
                "router");
}

Status CudaForward::route(uint32_t *nonFinite) {
  RouteArgs args{};
  args.logits = space.logits;
  args.correctionBias = reinterpret_cast<const float *>(weights.correctionBias);
  args.ids = space.ids;
  args.weights = space.weights;
  args.numNonFinite = nonFinite;
  args.numTokens = tokens;
  args.logitStride = cudaLogitStride(layer.shape);
  args.epsilon = static_cast<float>(layer.router.epsilon);
  args.scale = static_cast<float>(layer.router.scale);
  void *parameters[] = {&args};
  return launch(kernels.route, ceilDivide(tokens, kernels.route.threads / 32), parameters, "route");
}

Status CudaForward::assignSlots(const int32_t *ids, const CountsRing &ring) {
  const LayerShape &shape = layer.shape;
  few = {};
  const FewPairs pairs{ids, tokens, shape.topK, shape.experts, joinsShared(shape) ? 1u : 0u, space.slotOfPair};
  if (!hasNoDispatch(shape, tokens, kernels.config.gateUp, kernels.config.down) || (dispatchesAlways && !isFew(pairs)))
    return dispatch(ids, ring);
  few = pairs;
  return {};
}

Status CudaForward::dispatch(const int32_t *ids, const CountsRing &ring) {
  const DispatchConfig config = dispatchConfigOf(layer.shape.experts);
  DispatchArgs args{};
  args.ids = ids;
  args.plannedOrder = layer.asNumbered ? nullptr : reinterpret_cast<const int32_t *>(*layer.order);
  args.counts = space.counts;
  args.progress = space.progress;
  args.expertBegin = space.expertBegin;
  args.tileHead = space.tileHead;
  args.tiles = space.tiles;
  args.slotPair = space.slotPair;
  args.slotOfPair = space.slotOfPair;
  args.blockCounts = space.blockCounts;
  args.ring = ring;
  args.numPairs = tokens * layer.shape.topK;
  args.numBlocks = ceilDivide(args.numPairs, config.pairsPerBlock);
  args.tileTokens = kernels.gateUp.config.tileTokens;
  args.mixRows = mixRowsOf(kernels.gateUp.family, args.tileTokens);
  if (overlapsProducts())
    args.numProgress =
        numProgressCounts(args.tileTokens, groupedExperts(layer.shape), uint64_t{tokens} * rowsPerToken(layer.shape));
  args.numTokens = tokens;
  args.topK = layer.shape.topK;
  void *parameters[] = {&args};
  const auto counting = [&](const CudaKernel &kernel, uint32_t blocks, const char *name) { // of all pairs
    MOEC_TRY(launch(kernel, blocks, parameters, name));
    countsQueued = true;
    return Status();
  };
  switch (dispatchFormOf(config, args.numPairs, kernels.dispatchCluster.has_value(), site.multiprocessors,
                         site.gridBlocks)) {
  case DispatchForm::Cluster:
    return counting(*kernels.dispatchCluster, kDispatchClusterBlocks, "dispatch, by a cluster");
  case DispatchForm::OneBlock: return counting(kernels.dispatchOneBlock, 1, "dispatch");
  case DispatchForm::Grid:
    args.numBlocks = dispatchGridBlocks(args.numPairs, site.multiprocessors);
    args.gridBarrier = space.gridBarrier;
    return counting(kernels.dispatchGrid, args.numBlocks, "dispatch, by many blocks");
  case DispatchForm::ThreeLaunches: break;
  }
  MOEC_TRY(launch(kernels.dispatchCount, args.numBlocks, parameters, "dispatch, counting"));
  MOEC_TRY(counting(kernels.dispatchScan, 1, "dispatch, scanning"));
  return launch(kernels.dispatchPlace, args.numBlocks, parameters, "dispatch, placing");
}

bool CudaForward::quantisesFew() const {
  return moec::quantisesFew(tokens, layer.shape.topK, kernels.config.gateUp, kernels.config.down);
}

bool CudaForward::overlapsProducts() const {
  return moec::overlapsProducts(kernels.gateUp.family, kernels.gateUp.config, kernels.gateUp.k, kernels.gateUp.n);
}

GroupedGemmArgs CudaForward::groupedArgs() const {
  GroupedGemmArgs args{};
  args.slotPair = space.slotPair;
  args.tileHead = space.tileHead;
  args.tiles = space.tiles;
  args.topK = layer.shape.topK;
  args.numExperts = groupedExperts(layer.shape);
  args.few = few;
  if (!few.ids && overlapsProducts())
    args.progress = gateUpProgress(space.progress, kernels.gateUp.config, kernels.gateUp.n, site.multiprocessors);
  return args;
}

Status CudaForward::quantise(QuantiseArgs args, const char *name) {
  args.scaleStride = space.scaleStride;
  const QuantiseConfig config{.element = kernels.gateUp.config.element, .threads = kernels.quantise.threads};
  void *parameters[] = {&args};
  return launch(kernels.quantise, quantiseBlocks(config, args.numRows, args.k), parameters, name);
}

Status CudaForward::quantiseTokens(const void *hidden) {
  QuantiseArgs args{};
  args.rows = hidden;
  args.slotOfPair = space.slotOfPair;
  args.few = few;
  args.quantised = reinterpret_cast<uint8_t *>(space.expertOutput);
  args.scales = space.tokenScales;
  args.numRows = tokens;
  args.k = layer.shape.hidden;
  args.topK = layer.shape.topK;
  return quantise(args, "quantise-tokens");
}

Status CudaForward::quantiseActivated() {
  QuantiseArgs args{};
  args.rows = space.activated;
  if (!few.ids)
    args.rowsInUse = space.expertBegin + groupedExperts(layer.shape); // the rest is padding's
  args.quantised = space.quantised;
  args.scales = space.activatedScales;
  args.numRows = tokens * rowsPerToken(layer.shape);
  args.k = layer.shape.intermediate;
  args.topK = 1;
  return quantise(args, "quantise-activated");
}

Status CudaForward::gateUp(const void *hidden, const float *pairWeights) {
  const GemmConfig &config = kernels.gateUp.config;
  const bool quantises = kernels.gateUp.quantisesOutputs();
  GroupedGemmArgs args = groupedArgs();
  args.tokens = hidden;
  args.output = quantises ? static_cast<void *>(space.quantised) : space.activated;
  args.tileCounters = space.tileCounters;
  args.bias = reinterpret_cast<const float *>(weights.gateBias);
  args.upBias = reinterpret_cast<const float *>(weights.upBias);
  args.pairWeights = layer.shape.weightOnInput ? pairWeights : nullptr;
  const CUtensorMap *map = !rows ? nullptr : quantises ? &rows->quantisedActivated : &rows->activated;
  const GemmFamily family = kernels.gateUp.family;
  const CUtensorMap *tokenRows = map; // of who copies rows from where their tokens are, which looks at none
  CUtensorMap hiddenRows{};
  if (family == GemmFamily::Fitted && fetchesRows(config)) { // the caller's, so there is no map of them yet
    const CudaTensor tensor =
        rowTensor(config.element, reinterpret_cast<uint64_t>(hidden), kernels.gateUp.k, tokens, tokenBoxRows(config));
    MOEC_TRY(encode(site.driver, tensor, "hidden states", hiddenRows));
    tokenRows = &hiddenRows;
  } else if (rows && family == GemmFamily::Fp8) {
    tokenRows = &rows->tokens(family, config);
  }
  return gemm(kernels.gateUp, layer.gateUpMaps, args, {weights.gate, weights.up, weights.gateScales, weights.upScales},
              tokenRows, map);
}

Status CudaForward::down(const int32_t *ids, const float *pairWeights, const CountsRing &ring, void *output) {
  GroupedGemmArgs args = groupedArgs();
  args.tokens = space.activated;
  args.output = space.expertOutput;
  args.tileCounters = space.tileCounters + kTileCounters;
  args.bias = reinterpret_cast<const float *>(weights.downBias);
  args.ring = ring;
  if (kernels.down.config.combines) { // (its map of outputs is not looked at)
    args.output = output;
    args.numRows = tokens;
    args.pairWeights = layer.shape.weightOnInput ? nullptr : pairWeights;
    args.ids = ids;
  }
  return gemm(kernels.down, layer.downMaps, args, {weights.down, weights.down, weights.downScales, weights.downScales},
              rows ? &rows->tokens(kernels.down.family, kernels.down.config) : nullptr,
              rows ? &rows->expertOutput : nullptr);
}

FewForms CudaForward::fewForms() const {
  if (!few.ids)
    return {};
  const FewForms all = FewForms::of(layer.shape, tokens, kernels.config.gateUp, kernels.config.down);
  return {all.gateUp && kernels.gateUpFew, all.down && kernels.downFew};
}

Status CudaForward::gateUpFew(const void *hidden) {
  const CudaProduct &gateUp = kernels.gateUp;
  const GateUpFewLaunch how =
      gateUpFewLaunch(forms.down, tokens, layer.shape.topK, gateUp.n, gateUp.k, site.multiprocessors);
  GateUpFewFp8Args args{};
  args.tokens = hidden;
  args.output = space.activated;
  args.weightScales = reinterpret_cast<const float *>(weights.gateScales);
  args.upWeightScales = reinterpret_cast<const float *>(weights.upScales);
  args.expertScaleStride = int64_t{ceilDivide(gateUp.n, kFp8Block)} * (gateUp.k / kFp8Block);
  args.expertGroups = gateUp.n / kGateUpFewColumns;
  args.k = gateUp.k;
  args.n = gateUp.n;
  args.ringBytes = how.ringBytes;
  args.startAt = how.startAt;
  args.few = few;
  CudaKernel kernel = *kernels.gateUpFew;
  kernel.sharedBytes = gateUpFewSharedBytes(args.k, args.ringBytes);
  void *parameters[] = {const_cast<CUtensorMap *>(&layer.gateUpFewMap), &args}; // (which the driver does not write to)
  return launch(kernel, site.multiprocessors, parameters, "gate-up, of few tokens");
}

Status CudaForward::downFew(const float *pairWeights, const CountsRing &ring, void *output) {
  const CudaProduct &down = kernels.down;
  const bool fp8 = down.family == GemmFamily::Fp8, quantised = kernels.gateUp.quantisesOutputs() && !forms.gateUp;
  const DownFewLaunch how = downFewLaunch(down.family, tokens, layer.shape.topK, down.k, down.n, site.multiprocessors);
  DownFewFp8Args args{};
  args.down.activated = quantised ? static_cast<const void *>(space.quantised) : space.activated;
  args.down.output = output;
  args.down.pairWeights = layer.shape.weightOnInput ? nullptr : pairWeights;
  args.down.bias = reinterpret_cast<const float *>(weights.downBias);
  args.down.k = down.k;
  args.down.n = down.n;
  args.down.slots = how.slots;
  args.down.few = few;
  args.down.ring = ring;
  args.rowScales = quantised ? space.activatedScales : nullptr;
  args.weightScales = reinterpret_cast<const float *>(weights.downScales);
  args.rowScaleStride = space.scaleStride;
  CudaKernel kernel = *kernels.downFew;
  kernel.sharedBytes = how.sharedBytes;
  void *parameters[] = {const_cast<CUtensorMap *>(&layer.downFewMap), // (which the driver does not write to)
                        fp8 ? static_cast<void *>(&args) : &args.down};
  return launch(kernel, how.blocks, parameters, "down, of few tokens");
}

Status CudaForward::shared(const void *hidden) {
  GroupedGemmArgs args{};
  args.topK = 1;
  args.numExperts = 1;
  args.numRows = tokens;
  args.tokens = hidden;
  args.output = space.sharedActivated;
  MOEC_TRY(gemm(*kernels.sharedGateUp, layer.sharedGateUpMaps, args, {weights.sharedGate, weights.sharedUp}));
  args.tokens = space.sharedActivated;
  args.output = space.sharedOutput;
  return gemm(*kernels.sharedDown, layer.sharedDownMaps, args, {weights.sharedDown, weights.sharedDown});
}

Status CudaForward::gemm(const CudaProduct &gemm, const GemmMaps &maps, GroupedGemmArgs args, const Weights &from,
                         const CUtensorMap *tokenRows, const CUtensorMap *outputRows) {
  args.weights = reinterpret_cast<const void *>(from.first);
  args.upWeights = reinterpret_cast<const void *>(from.second);
  args.expertStride = int64_t{gemm.k} * gemm.n;
  args.k = gemm.k;
  args.n = gemm.n;
  const char *name = gemm.config.role == GemmRole::GateUp ? gemm.config.dense ? "shared-gate-up" : "gate-up"
                     : gemm.config.dense                  ? "shared-down"
                                                          : "down";
  const uint32_t blocks = gemmBlocks(gemm.config, site.multiprocessors);
  if (gemm.family == GemmFamily::Portable) {
    void *parameters[] = {&args};
    return launch(gemm.kernel, blocks, parameters, name);
  }
  // The driver copies parameters at launch and does not write to them.
  const auto parameter = [](const CUtensorMap &map) { return const_cast<CUtensorMap *>(&map); };
  if (gemm.family == GemmFamily::Hopper) {
    void *parameters[] = {parameter(maps.first), parameter(maps.second), &args};
    return launch(gemm.kernel, blocks, parameters, name);
  }
  if (!tokenRows || !outputRows)
    return makeError(Code::Failure, "layer {}, {}: its buffers have no tensor maps", layer.number, name);
  Fp8GemmArgs scaled{};
  if (gemm.family == GemmFamily::Fp8) {
    scaled.gemm = args;
    scaled.tokenScales = gemm.config.role == GemmRole::GateUp ? space.tokenScales : space.activatedScales;
    scaled.outputScales = space.activatedScales;
    scaled.weightScales = reinterpret_cast<const float *>(from.firstScales);
    scaled.upWeightScales = reinterpret_cast<const float *>(from.secondScales);
    scaled.expertScaleStride = int64_t{ceilDivide(gemm.n, kFp8Block)} * ceilDivide(gemm.k, kFp8Block);
    scaled.tokenScaleStride = space.scaleStride;
  }
  void *last = gemm.family == GemmFamily::Fp8 ? static_cast<void *>(&scaled) : &args;
  void *parameters[] = {parameter(maps.first), parameter(*tokenRows), parameter(*outputRows), last};
  CudaKernel kernel = gemm.family == GemmFamily::Fp8 && quantisesFew() ? gemm.quantising : gemm.kernel;
  if (runsAlone(gemm.config, args.few, gemm.n, site.multiprocessors))
    kernel.sharedBytes = kAloneSharedBytes;
  return launch(kernel, blocks, parameters, name);
}

Status CudaForward::combine(const float *pairWeights, const CountsRing &ring, void *output) {
  CombineArgs args{};
  args.expertOutput = space.expertOutput;
  args.slotOfPair = space.slotOfPair;
  args.weights = pairWeights;
  args.shared = joinsShared(layer.shape) ? space.expertOutput // whose first rows are the joined expert's
                : kernels.sharedGateUp   ? space.sharedOutput
                                         : nullptr;
  args.sharedGate = sharedGate;
  args.gateStride = cudaLogitStride(layer.shape);
  args.output = output;
  args.numTokens = tokens;
  args.hidden = paddedForCuda(layer.shape.hidden);
  if (isFew(few)) // else gate-up has left the slots, and down leaves the counts
    args.few = few;
  args.ring = ring;
  const CombineConfig config{
      .element = kernels.gateUp.config.element, .topK = layer.shape.topK, .threads = kernels.combine.threads};
  void *parameters[] = {&args};
  const uint32_t counting = args.few.ids && ring.words ? 1 : 0; // a block more
  return launch(kernels.combine, combineBlocks(config, tokens, args.hidden) + counting, parameters, "combine");
}

Status CudaForward::launch(const CudaKernel &kernel, uint32_t blocks, void **parameters, const char *name) {
  const ProfileRange range(name, blocks);
  CUlaunchAttribute attribute{};
  attribute.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
  attribute.value.programmaticStreamSerializationAllowed = 1;
  CUlaunchConfig config{};
  config.gridDimX = blocks;
  config.blockDimX = kernel.threads;
  config.gridDimY = config.gridDimZ = config.blockDimY = config.blockDimZ = 1;
  config.sharedMemBytes = kernel.sharedBytes;
  config.hStream = site.stream;
  config.attrs = &attribute;
  config.numAttrs = site.overlap ? 1 : 0;
  if (site.watch)
    site.watch->begins(name, site.stream);
  MOEC_CUDA(site.driver, cuLaunchKernelEx, (&config, kernel.function, parameters, nullptr), "layer {}, {} of {} blocks",
            layer.number, name, blocks);
  if (site.watch)
    site.watch->ends(name, site.stream);
  return {};
}

} // namespace moec
