#include "runtime/device/cpu/LayerKernels.h"

#include "compiler/core/Plan.h"
#include "runtime/device/cpu/Workspace.h"

#include <algorithm>

namespace moec {
namespace {

struct Expected {
  LaunchKind kind;
  uint32_t k, columns;
  bool gated; // two operands share a panel
  bool biased;
};

Status checkHeights(const Launch &launch, const CpuConfig &config) {
  const char *name = launchName(launch.kind);
  if (launch.kernels.empty())
    return makeError(Code::InvalidModel, "launch {} has no kernels", name);
  uint32_t before = Calibration::maxRows + 1;
  for (const KernelRef &kernel : launch.kernels) {
    if (kernel.rows == 0 || kernel.rows >= before)
      return makeError(Code::InvalidModel, "launch {}: tile heights must descend from {} at most, found {}", name,
                       Calibration::maxRows, kernel.rows);
    before = kernel.rows;
  }
  if (launch.kind != LaunchKind::GateUp && launch.kind != LaunchKind::Down)
    return {};
  // The two share the rows of a region, so an overhanging tile must overhang alike in both.
  bool same = std::equal(launch.kernels.begin(), launch.kernels.end(), config.tileRows.begin(), config.tileRows.end(),
                         [](const KernelRef &kernel, uint16_t rows) { return kernel.rows == rows; });
  if (!same)
    return makeError(Code::InvalidModel, "launch {}: tile heights differ from those of {}", name, config.text());
  return {};
}

/// The fewest rows that tiles take at least `ns` for in one K step of a panel, as far as a cover is searched.
uint32_t rowsAsLongAs(double ns, const CpuConfig &config, const Calibration &calibration) {
  uint32_t rows = 1;
  while (rows < 8u * config.tileRows.front() && coverRows(rows, config, calibration).nsPerStep < ns)
    ++rows;
  return rows;
}

Result<GemmKernels> bindGemm(const Launch &launch, const Expected &expected, const CpuConfig &config,
                             const TargetFacts &facts, const Calibration &calibration, const KernelImage &image) {
  const char *name = launchName(launch.kind);
  if (launch.k != expected.k || launch.columns != expected.columns)
    return makeError(Code::InvalidModel, "launch {} is for K={} and {} columns, the layer has K={} and {} columns",
                     name, launch.k, launch.columns, expected.k, expected.columns);
  if (Status status = checkHeights(launch, config); !status.ok())
    return status;
  GemmKernels gemm;
  gemm.k = launch.k;
  gemm.columns = launch.columns;
  gemm.panelColumns = expected.gated ? facts.lanes() : 2 * facts.lanes();
  gemm.panels = (launch.columns + gemm.panelColumns - 1) / gemm.panelColumns;
  gemm.biased = expected.biased;
  gemm.panelSize = panelBytes(launch.k, facts.lanes(), config.compute, gemm.biased);
  gemm.stepBytes = 2 * facts.lanes() * sizeof(float);
  auto panelsIn = [&](uint64_t bytes) {
    return static_cast<uint32_t>(std::clamp<uint64_t>(bytes / gemm.panelSize, 1, kPanelsPerCall));
  };
  // Half of the cache for panels, the rest for rows.
  gemm.panelsPerCall = panelsIn(facts.l2Bytes / 2);
  gemm.panelsPerFetch = panelsIn(facts.l2Bytes / 4);
  gemm.aStrideBytes = paddedStride(launch.k, config.rowDType()) * byteSize(config.rowDType());
  CpuConfig heights = config;
  heights.tileRows.clear();
  for (const KernelRef &kernel : launch.kernels) {
    auto function = reinterpret_cast<CpuTileFn>(image.symbol(kernel.symbol));
    if (!function)
      return makeError(Code::NotFound, "launch {}: the image has no symbol '{}'", name, kernel.symbol);
    gemm.tiles.push_back(function);
    heights.tileRows.push_back(kernel.rows);
  }
  gemm.pack = reinterpret_cast<CpuPackFn>(image.symbol(launch.pack.symbol));
  if (!gemm.pack)
    return makeError(Code::NotFound, "launch {}: the image has no packing symbol '{}'", name, launch.pack.symbol);
  gemm.cover = CoverTable(heights, calibration);
  gemm.fetchFromRows = rowsAsLongAs(calibration.streamNsPerByte * gemm.stepBytes * facts.threads, heights, calibration);
  return gemm;
}

/// What must have run before `kind`, where the layer has it.
std::vector<LaunchKind> needs(LaunchKind kind) {
  switch (kind) {
  case LaunchKind::Router: return {};
  case LaunchKind::Route: return {LaunchKind::Router};
  case LaunchKind::Dispatch: return {LaunchKind::Route};
  case LaunchKind::GateUp:
  case LaunchKind::SharedGateUp: return {LaunchKind::Dispatch};
  case LaunchKind::SharedDown: return {LaunchKind::SharedGateUp};
  case LaunchKind::Down: // the shared expert is added first, always: the order of a sum decides its bits
    return {LaunchKind::GateUp, LaunchKind::SharedDown};
  case LaunchKind::Store: return {LaunchKind::Down};
  }
  return {};
}

Status checkOrder(const LayerPackage &layer) {
  auto has = [&](LaunchKind kind) {
    return std::any_of(layer.launches.begin(), layer.launches.end(), [&](const Launch &l) { return l.kind == kind; });
  };
  for (LaunchKind kind : {LaunchKind::Dispatch, LaunchKind::GateUp, LaunchKind::Down, LaunchKind::Store})
    if (!has(kind))
      return makeError(Code::InvalidModel, "the launch list has no {}", launchName(kind));
  if (has(LaunchKind::Router) != has(LaunchKind::Route))
    return makeError(Code::InvalidModel, "the launch list has only one of router and route");
  bool shared = layer.shape.sharedIntermediate > 0;
  if (has(LaunchKind::SharedGateUp) != shared || has(LaunchKind::SharedDown) != shared)
    return makeError(Code::InvalidModel, "the launch list and the shape differ on whether there is a shared expert");
  std::vector<LaunchKind> seen;
  auto done = [&](LaunchKind kind) { return std::find(seen.begin(), seen.end(), kind) != seen.end(); };
  for (const Launch &launch : layer.launches) {
    if (done(launch.kind))
      return makeError(Code::InvalidModel, "the launch list has {} twice", launchName(launch.kind));
    for (LaunchKind before : needs(launch.kind))
      if (has(before) && !done(before))
        return makeError(Code::InvalidModel, "the launch list has {} before {}", launchName(launch.kind),
                         launchName(before));
    seen.push_back(launch.kind);
  }
  return {};
}

} // namespace

Result<std::shared_ptr<const LayerKernels>> bindKernels(const LayerPackage &layer, const TargetFacts &facts,
                                                        const Calibration &calibration,
                                                        std::shared_ptr<const KernelImage> image) {
  const LayerShape &shape = layer.shape;
  if (Status status = checkOrder(layer); !status.ok())
    return status.withContext("layer {}", layer.layer);
  if (layer.plan.config.device != DeviceKind::Cpu || layer.plan.config.cpu.isa != facts.isa ||
      layer.plan.config.cpu.tileRows.empty())
    return makeError(Code::InvalidModel, "layer {}: kernels of {} cannot run on a target with {}", layer.layer,
                     layer.plan.config.text(), isaName(facts.isa));
  auto kernels = std::make_shared<LayerKernels>();
  kernels->config = layer.plan.config.cpu;
  kernels->lanes = facts.lanes();
  const Expected gemms[] = {
      {LaunchKind::Router, shape.hidden, shape.experts, false, false},
      {LaunchKind::GateUp, shape.hidden, shape.intermediate, true, shape.expertBias},
      {LaunchKind::Down, shape.intermediate, shape.hidden, false, shape.expertBias},
      {LaunchKind::SharedGateUp, shape.hidden, shape.sharedIntermediate, true, false},
      {LaunchKind::SharedDown, shape.sharedIntermediate, shape.hidden, false, false},
  };
  for (const Launch &launch : layer.launches) {
    kernels->launches.push_back(launch.kind);
    auto expected = std::find_if(std::begin(gemms), std::end(gemms), [&](auto &g) { return g.kind == launch.kind; });
    if (expected == std::end(gemms))
      continue;
    Result<GemmKernels> bound = bindGemm(launch, *expected, kernels->config, facts, calibration, *image);
    if (!bound)
      return bound.status().withContext("layer {}", layer.layer);
    if (launch.kind == LaunchKind::GateUp)
      kernels->gateUp = std::move(*bound);
    else if (launch.kind == LaunchKind::Down)
      kernels->down = std::move(*bound);
    else if (launch.kind == LaunchKind::Router)
      kernels->router = std::move(*bound);
    else
      (launch.kind == LaunchKind::SharedGateUp ? kernels->sharedGateUp : kernels->sharedDown) = std::move(*bound);
  }
  kernels->image = std::move(image);
  return std::shared_ptr<const LayerKernels>(std::move(kernels));
}

} // namespace moec
