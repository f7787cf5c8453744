#include "runtime/device/cuda/Calibrate.h"

#include "compiler/core/JoinedShared.h"
#include "compiler/core/Median.h"
#include "runtime/device/Noise.h"
#include "runtime/device/cuda/GraphTimer.h"

#include <algorithm>
#include <numeric>

namespace moec {
namespace {

constexpr uint64_t weightBytes = 1u << 30, rowBytes = 128u << 20; // what cases need: GpuFit.h
constexpr uint64_t placeBytes = 1u << 20;                         // weights of one launch begin at multiples of it
constexpr uint32_t repeats = 7;
constexpr uint32_t warmUps = 60; // replays: clocks fall with power some tens of milliseconds after a load begins
constexpr double graphNs = 1e6;  // of one replay, about: the clock's grain and a graph's start are some 2 us
constexpr uint32_t fewestLaunches = 4, mostLaunches = 200;

bool isGemm(const GpuCase &what) { return what.kind != GpuCaseKind::Copy && what.kind != GpuCaseKind::Dispatch; }

/// A layer for dispatch alone: of one expert a token, and a joined one where its kernels reckon with that.
LayerShape dispatchShape(const LayerShape &shape) {
  LayerShape made{.intermediate = shape.intermediate, .experts = shape.experts, .topK = 1, .dtype = shape.dtype};
  made.sharedAlike = joinsShared(shape);
  made.sharedIntermediate = made.sharedAlike ? shape.intermediate : 0;
  return made;
}

/// Workspace for all cases: rows in `activated`, outputs in `expertOutput`, their tensor maps, and dispatch's tables.
CudaWorkspaceNeeds needsOf(const std::vector<GpuCase> &cases, const LayerShape &shape, bool tensorMaps) {
  uint32_t tokens = 1, experts = shape.experts;
  for (const GpuCase &what : cases) {
    experts = std::max(experts, static_cast<uint32_t>(what.rows.size()));
    tokens = std::max(tokens, std::accumulate(what.rows.begin(), what.rows.end(), 0u));
    if (what.kind == GpuCaseKind::Dispatch)
      tokens = std::max(tokens, static_cast<uint32_t>(what.amount));
  }
  LayerShape widest = dispatchShape(shape);
  widest.hidden = widest.intermediate = widest.sharedIntermediate = 8;
  widest.experts = experts;
  CudaWorkspaceNeeds needs = CudaWorkspaceNeeds::of({&widest, 1}, tokens, tensorMaps);
  for (const GpuCase &what : cases) {
    const CudaRowSizes sizes{what.gemm.n, what.gemm.k, 1, shape.dtype};
    if (tensorMaps && isGemm(what) && std::find(needs.mapped.begin(), needs.mapped.end(), sizes) == needs.mapped.end())
      needs.mapped.push_back(sizes);
  }
  needs.activatedBytes = needs.outputBytes = rowBytes;
  needs.logits = 0;
  return needs;
}

class GpuBench {
public:
  GpuBench(std::shared_ptr<const CudaDriver> driver, const DeviceMemory &memory, Uploader &uploader,
           const LayerShape &shape, const TargetFacts &facts, const TileKernels &kernels, CudaLaunchSite site)
      : driver(std::move(driver)), memory(memory), uploader(uploader), shape(shape), facts(facts), kernels(kernels),
        site(site), assumed(GpuCalibration::assumed(facts)) {}

  Result<std::vector<GpuSample>> run(const std::vector<GpuCase> &cases) {
    MOEC_TRY(allocate(cases));
    Result<GraphTimer> timer = GraphTimer::make(driver, site.stream);
    MOEC_TRY(timer.status());
    std::vector<GpuSample> samples;
    for (const GpuCase &what : cases) {
      if (isGemm(what) && !kernelsOf(what.tile))
        continue;
      Result<double> ns = nsOf(*timer, what);
      if (!ns)
        return ns.status().withContext("measuring {}", isGemm(what) ? what.tile.text() : "a copy or a dispatch");
      samples.push_back({what, *ns});
    }
    return samples;
  }

private:
  Status allocate(const std::vector<GpuCase> &cases) {
    Result<DeviceBuffer> made = memory.allocate(weightBytes, "calibration");
    MOEC_TRY(made.status());
    weights = std::move(*made);
    const CudaWorkspaceNeeds needs = needsOf(cases, shape, site.tensorMaps);
    Result<CudaWorkspace> workspace = CudaWorkspace::make(*driver, memory, needs, uploader.stream());
    MOEC_TRY(workspace.status());
    space = std::move(*workspace);
    Result<DeviceBuffer> places = memory.allocate(needs.experts * sizeof(int32_t), "calibration");
    MOEC_TRY(places.status());
    order = std::move(*places);
    std::vector<int32_t> ids(needs.pairs), inTurn(needs.experts);
    for (size_t pair = 0; pair < ids.size(); ++pair) // by chance, as a router's
      ids[pair] = static_cast<int32_t>((noise(pair) + 1) / 2 * static_cast<float>(shape.experts)) %
                  static_cast<int32_t>(shape.experts);
    std::iota(inTurn.begin(), inTurn.end(), 0);
    MOEC_TRY(uploader.copy(reinterpret_cast<CUdeviceptr>(space.ids), ids.data(), ids.size() * sizeof(int32_t)));
    MOEC_TRY(uploader.copy(order.address(), inTurn.data(), inTurn.size() * sizeof(int32_t)));
    MOEC_TRY(fill(weights.address(), weightBytes));
    MOEC_TRY(fill(reinterpret_cast<CUdeviceptr>(space.activated), rowBytes));
    return uploader.finish();
  }

  /// Random values: zeros, or one value everywhere, take less power and run faster than weights.
  Status fill(CUdeviceptr to, uint64_t bytes) {
    constexpr uint32_t rows = 1024, columns = 2048;
    const std::vector<std::byte> first = noiseRows(rows, columns, shape.dtype);
    MOEC_TRY(uploader.copy(to, first.data(), first.size()));
    for (uint64_t done = first.size(); done < bytes; done *= 2)
      MOEC_TRY(copy(to, to + done, std::min(done, bytes - done), uploader.stream()));
    return {};
  }

  Status copy(CUdeviceptr from, CUdeviceptr to, uint64_t bytes, CUstream stream) {
    MOEC_CUDA(*driver, cuMemcpyDtoDAsync, (to, from, bytes, stream), "copying {} bytes", bytes);
    return {};
  }

  const CudaKernels *kernelsOf(const CudaTile &tile) const {
    const auto found =
        std::find_if(kernels.begin(), kernels.end(), [&](const auto &some) { return some->config.down == tile; });
    return found == kernels.end() ? nullptr : found->get();
  }

  /// Nanoseconds of one launch among its like, at the clocks that the device keeps up.
  Result<double> nsOf(const GraphTimer &timer, const GpuCase &what) {
    const uint32_t launches =
        static_cast<uint32_t>(std::clamp(graphNs / assumedNs(what), double{fewestLaunches}, double{mostLaunches}));
    CudaLayer layer;
    if (what.kind != GpuCaseKind::Copy)
      MOEC_TRY(prepare(what, layer));
    const auto queue = [&]() -> Status {
      for (uint32_t launch = 0; launch < launches; ++launch)
        MOEC_TRY(queueOne(what, layer, launch));
      return {};
    };
    Result<std::vector<double>> ns = timer.replays(queue, warmUps, repeats);
    MOEC_TRY(ns.status());
    return median(std::move(*ns)) / launches;
  }

  double assumedNs(const GpuCase &what) const {
    switch (what.kind) {
    case GpuCaseKind::Copy: return 2 * static_cast<double>(what.amount) / assumed.copyBytesPerNs;
    case GpuCaseKind::Dispatch: return assumed.dispatchGridNs;
    default:
      return cudaGemmCost(cudaGemmWork(what.tile, what.gemm, what.rows, facts.gpu), assumed.costOf(what.tile, facts),
                          assumed)
          .ns;
    }
  }

  /// A layer without anything but what the case needs of it, and its tables.
  Status prepare(const GpuCase &what, CudaLayer &layer) {
    auto own = std::make_shared<CudaKernels>(isGemm(what) ? *kernelsOf(what.tile) : *kernels.front());
    layer.shape = dispatchShape(shape);
    if (isGemm(what))
      layer.shape = {.hidden = what.gemm.n,
                     .intermediate = what.gemm.k,
                     .experts = static_cast<uint32_t>(what.rows.size()),
                     .topK = 1,
                     .dtype = shape.dtype};
    own->down.k = what.gemm.k;
    own->down.n = what.gemm.n;
    own->gateUp.family = GemmFamily::Portable; // which has no tensor maps: it does not run
    own->sharedGateUp.reset();
    own->sharedDown.reset();
    layer.kernels = std::move(own);
    layer.order = std::make_shared<const CUdeviceptr>(order.address());
    layer.weights = std::make_shared<const CudaWeights>();
    return isGemm(what) ? writeTables(what) : Status();
  }

  /// What dispatch would leave, of rows that lie as they come, in the order of the experts.
  Status writeTables(const GpuCase &what) {
    std::vector<TokenTile> tiles;
    uint32_t slot = 0;
    for (uint32_t expert = 0; expert < what.rows.size(); ++expert) {
      const uint32_t rows = what.rows[expert], count = ceilDivide(rows, what.tile.tokens);
      tiles.insert(tiles.end(), count, {expert, static_cast<uint32_t>(tiles.size()), slot, slot + rows});
      slot += rows;
    }
    const TileHead head{static_cast<uint32_t>(tiles.size()), 0, 0, 0};
    MOEC_TRY(uploader.copy(reinterpret_cast<CUdeviceptr>(space.tileHead), &head, sizeof(head)));
    MOEC_TRY(uploader.copy(reinterpret_cast<CUdeviceptr>(space.tiles), tiles.data(), tiles.size() * sizeof(TokenTile)));
    // Where rows go, of a down that combines: that is what is timed where the session's first layer has such a one.
    std::vector<int32_t> pairs(slot);
    std::iota(pairs.begin(), pairs.end(), 0);
    MOEC_TRY(
        uploader.copy(reinterpret_cast<CUdeviceptr>(space.slotPair), pairs.data(), pairs.size() * sizeof(int32_t)));
    return uploader.finish();
  }

  Status queueOne(const GpuCase &what, CudaLayer &layer, uint32_t launch) {
    if (what.kind == GpuCaseKind::Copy)
      return copy(weights.address(), weights.address() + weightBytes / 2, what.amount, site.stream);
    if (what.kind == GpuCaseKind::Dispatch)
      return CudaForward(layer, space, site).dispatchAlone(space.ids, static_cast<uint32_t>(what.amount));
    // Other weights each time, until all of the buffer has had its turn: they come from memory.
    const uint64_t bytes = uint64_t{2} * what.gemm.n * what.gemm.k * what.rows.size();
    const uint64_t stride = (bytes + placeBytes - 1) / placeBytes * placeBytes;
    auto own = std::make_shared<CudaWeights>();
    own->down = weights.address() + launch % (weightBytes / stride) * stride;
    own->downBias = weights.address(); // kernels of a layer with biases read some; any will do
    layer.weights = std::move(own);
    MOEC_TRY(makeMaps(*driver, layer));
    return CudaForward(layer, space, site).downAlone();
  }

  std::shared_ptr<const CudaDriver> driver;
  const DeviceMemory &memory;
  Uploader &uploader;
  const LayerShape &shape;
  const TargetFacts &facts;
  const TileKernels &kernels;
  const CudaLaunchSite site;
  const GpuCalibration assumed;
  DeviceBuffer weights, order;
  CudaWorkspace space;
};

} // namespace

std::vector<LayerConfig> calibrationConfigs(const LayerShape &shape, const TargetFacts &facts) {
  const std::vector<CudaTile> tiles = cudaTiles(facts);
  std::vector<LayerConfig> configs;
  for (const CudaTile &tile : tiles) {
    // Gate-up is not measured. The first tile of as many tokens, as down's must have: one gate-up serves several.
    CudaConfig config{.element = shape.dtype, .gateUp = {}, .down = tile, .sharedGateUp = {}, .sharedDown = {}};
    config.gateUp =
        *std::find_if(tiles.begin(), tiles.end(), [&](const auto &other) { return other.tokens == tile.tokens; });
    const CudaTile dense = *std::find_if(tiles.begin(), tiles.end(), hasDenseForm);
    const bool hasDense = shape.sharedIntermediate && !joinsShared(shape);
    config.sharedGateUp = hasDense ? dense : config.gateUp;
    config.sharedDown = hasDense ? dense : config.down;
    configs.emplace_back(config);
  }
  return configs;
}

Result<GpuCalibration> calibrateGpu(std::shared_ptr<const CudaDriver> driver, const DeviceMemory &memory,
                                    Uploader &uploader, const LayerShape &shape, const TargetFacts &facts,
                                    const TileKernels &kernels, CudaLaunchSite site) {
  Result<std::vector<GpuSample>> samples =
      GpuBench(std::move(driver), memory, uploader, shape, facts, kernels, site).run(calibrationCases(facts));
  if (!samples)
    return samples.status();
  return fitGpuCalibration(*samples, facts);
}

} // namespace moec
