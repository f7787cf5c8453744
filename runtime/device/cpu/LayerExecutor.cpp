#include "runtime/device/cpu/LayerExecutor.h"

#include "runtime/ProfileRange.h"
#include "runtime/device/cpu/Panels.h"
#include "runtime/device/cpu/Route.h"
#include "runtime/device/cpu/Rows.h"

#include <algorithm>
#include <atomic>
#include <cstring>

namespace moec {
namespace {

// Tokens or rows that one item of a copying section takes: some tens of KB, so that taking an item costs nothing
// beside it.
constexpr uint32_t rowsPerItem = 16;
// Items per thread of a GEMM section: what the slowest thread can lag behind is one item of so many.
constexpr uint32_t itemsPerThread = 4;

uint32_t divideUp(uint64_t value, uint64_t by) { return static_cast<uint32_t>((value + by - 1) / by); }

/// An odd K of the next GEMM reads one element further: it must not be what another layer left there.
void zeroAfterLastColumn(std::byte *rows, uint64_t rowBytes, uint32_t count, uint32_t columns, DType dtype) {
  for (uint32_t row = 0; row < count; ++row)
    std::memset(rows + row * rowBytes + uint64_t{columns} * byteSize(dtype), 0, byteSize(dtype));
}

} // namespace

Status LayerExecutor::run(ConstTensorView hidden, const std::optional<RoutingView> &routing, TensorView output,
                          NonFinitePolicy policy, ForwardCounts &counts) {
  tokens = static_cast<uint32_t>(hidden.rows);
  routed = {space.ids, space.weights, tokens, layer.shape.topK, layer.shape.weightOnInput};
  if (routing) {
    routed.ids = routing->ids;
    routed.weights = routing->weights;
    if (Status status = checkIds(routed, layer.shape.experts); !status.ok())
      return status.withContext("layer {}", layer.number);
  } else if (!kernels.router) {
    return makeError(Code::InvalidArgument, "layer {} has no router: hand in ids and weights", layer.number);
  }
  stage(hidden);
  for (LaunchKind kind : kernels.launches) {
    if (routing && (kind == LaunchKind::Router || kind == LaunchKind::Route))
      continue;
    if (Status status = launch(kind, output, policy, counts); !status.ok())
      return status;
  }
  return {};
}

Status LayerExecutor::launch(LaunchKind kind, TensorView output, NonFinitePolicy policy, ForwardCounts &counts) {
  const ProfileRange range(launchName(kind));
  switch (kind) {
  case LaunchKind::Router: routerLogits(); break;
  case LaunchKind::Route:
    counts.nonFiniteLogits = route();
    if (counts.nonFiniteLogits > 0 && policy == NonFinitePolicy::Fail)
      return makeError(Code::Failure, "layer {}: {} router logits are not finite", layer.number,
                       counts.nonFiniteLogits);
    break;
  case LaunchKind::Dispatch: dispatch(counts); break;
  case LaunchKind::GateUp: gateUp(); break;
  case LaunchKind::Down: down(); break;
  case LaunchKind::SharedGateUp: sharedGateUp(); break;
  case LaunchKind::SharedDown: sharedDown(); break;
  case LaunchKind::Store: store(output); break;
  }
  return {};
}

void LayerExecutor::stage(ConstTensorView hidden) {
  const uint64_t rowBytes = kernels.gateUp.aStrideBytes, fromBytes = hidden.columns * byteSize(hidden.dtype);
  pool.parallelFor(divideUp(tokens, rowsPerItem), [&](uint32_t item, unsigned) {
    for (uint32_t t = item * rowsPerItem, end = std::min(tokens, t + rowsPerItem); t < end; ++t)
      stageRow(static_cast<const std::byte *>(hidden.data) + t * fromBytes, hidden.dtype, space.staged + t * rowBytes,
               kernels.config.rowDType(), layer.shape.hidden);
  });
}

void LayerExecutor::routerLogits() {
  const GemmKernels &gemm = *kernels.router;
  const uint32_t stride = logitStride(layer.shape.experts, kernels.lanes);
  // Whole tallest tiles, so that only the last block overhangs, into rows that are nobody's.
  const uint32_t blockRows = 4 * gemm.cover.tallest();
  const uint32_t blocks = divideUp(tokens, blockRows);
  const uint32_t cuts = std::min(gemm.panels, divideUp(2 * pool.threads(), blocks));
  const uint32_t chunk = divideUp(gemm.panels, cuts);
  PanelSource source{gemm, layer.common->router.data(), {}, kernels.config.compute};
  pool.parallelFor(blocks * cuts, [&](uint32_t item, unsigned thread) {
    const uint32_t row = item / cuts * blockRows, begin = item % cuts * chunk;
    const uint32_t rows = std::min(tokens - row, blockRows), end = std::min(gemm.panels, begin + chunk);
    if (begin >= end)
      return;
    TileOperands to;
    to.a = space.staged + uint64_t{row} * gemm.aStrideBytes;
    to.c = reinterpret_cast<std::byte *>(space.logits + uint64_t{row} * stride);
    to.cRowBytes = stride * sizeof(float);
    to.cPanelBytes = gemm.panelColumns * sizeof(float);
    if (rows < blockRows)
      return runPanels(source, to, rows, begin, end, {}, scratchOf(thread));
    for (uint32_t first = 0; first < rows; first += gemm.cover.tallest())
      gemm.tiles[0](to.a + uint64_t{first} * gemm.aStrideBytes, source.packed + begin * gemm.panelSize,
                    to.c + first * to.cRowBytes + begin * to.cPanelBytes, nullptr, nullptr,
                    static_cast<int64_t>(to.cRowBytes), end - begin, source.packed, 0);
  });
}

uint64_t LayerExecutor::route() {
  const CommonWeights &common = *layer.common;
  RouteSpec spec{layer.router, layer.shape.experts, layer.shape.topK, nullptr, nullptr};
  spec.routerBias = common.routerBias.empty() ? nullptr : common.routerBias.data();
  spec.correctionBias = common.correctionBias.empty() ? nullptr : common.correctionBias.data();
  const uint32_t stride = logitStride(layer.shape.experts, kernels.lanes), topK = layer.shape.topK;
  std::atomic<uint64_t> bad{0};
  pool.parallelFor(divideUp(tokens, rowsPerItem), [&](uint32_t item, unsigned thread) {
    uint64_t badHere = 0;
    for (uint32_t t = item * rowsPerItem, end = std::min(tokens, t + rowsPerItem); t < end; ++t)
      badHere += routeToken(spec, space.logits + uint64_t{t} * stride, scratchOf(thread).scores,
                            space.ids + uint64_t{t} * topK, space.weights + uint64_t{t} * topK);
    if (badHere)
      bad.fetch_add(badHere, std::memory_order_relaxed);
  });
  return bad.load(std::memory_order_relaxed);
}

void LayerExecutor::dispatch(ForwardCounts &counts) {
  countPairs(routed, layer.shape.experts, space);
  counts.spilledPairs =
      listRows(routed, layer.plan.table.slots, kernels.gateUp.cover, layer.generic->gateUp.cover, space);
  if (layer.shape.sharedIntermediate > 0)
    fillSharedRows();
  // Copies and zeros are one section: both only move memory.
  const uint32_t rows = space.begin[layer.shape.experts], stride = accStride();
  const uint32_t gathers = divideUp(rows, rowsPerItem), zeros = divideUp(tokens + 1, rowsPerItem);
  pool.parallelFor(gathers + zeros, [&](uint32_t item, unsigned) {
    if (item < gathers)
      return gatherRows(item * rowsPerItem, std::min(rows, (item + 1) * rowsPerItem));
    uint64_t begin = uint64_t{item - gathers} * rowsPerItem, end = std::min<uint64_t>(tokens + 1, begin + rowsPerItem);
    std::memset(space.accumulators + begin * stride, 0, (end - begin) * stride * sizeof(float));
  });
}

void LayerExecutor::gatherRows(uint32_t rowBegin, uint32_t rowEnd) {
  const uint64_t stride = kernels.gateUp.aStrideBytes;
  const uint64_t bytes = uint64_t{layer.shape.hidden + layer.shape.hidden % 2} * byteSize(kernels.config.rowDType());
  for (uint32_t row = rowBegin; row < rowEnd; ++row)
    if (int32_t token = space.rowToken[row]; token < static_cast<int32_t>(tokens))
      std::memcpy(space.gathered + row * stride, space.staged + token * stride, bytes);
}

void LayerExecutor::fillSharedRows() {
  const std::vector<float> &gate = layer.common->sharedGate;
  const uint64_t rowBytes = kernels.gateUp.aStrideBytes;
  pool.parallelFor(divideUp(tokens + kOverhangRows, rowsPerItem), [&](uint32_t item, unsigned) {
    for (uint32_t t = item * rowsPerItem, end = std::min(tokens + kOverhangRows, t + rowsPerItem); t < end; ++t) {
      space.sharedToken[t] = static_cast<int32_t>(std::min(t, tokens));
      space.sharedWeight[t] = t >= tokens    ? 0.0f
                              : gate.empty() ? 1.0f
                                             : sharedGateOf(space.staged + t * rowBytes, kernels.config.rowDType(),
                                                            gate.data(), layer.shape.hidden);
    }
  });
}

uint32_t LayerExecutor::cutGateUp() {
  // An expert costs its rows, and about four rows' worth for reading its weights whatever their number.
  auto cost = [&](uint32_t e) {
    return space.pairs[e] ? uint64_t{kernelsOf(e).gateUp.cover.covered(space.pairs[e])} + 4 : 0;
  };
  uint64_t total = 0;
  for (uint32_t e = 0; e < layer.shape.experts; ++e)
    total += cost(e);
  const uint64_t wanted = itemsPerThread * pool.threads();
  const uint32_t panels = kernels.gateUp.panels;
  uint32_t items = 0;
  for (uint16_t e : layer.plan.table.order) {
    if (space.pairs[e] == 0)
      continue;
    const uint32_t cuts = std::clamp(divideUp(cost(e) * wanted, total), 1u, panels);
    const uint32_t chunk = pool.threads() == 1 ? panels : divideUp(panels, cuts);
    for (uint32_t panel = 0; panel < panels; panel += chunk)
      space.items[items++] = {e, panel, std::min(panels, panel + chunk)};
  }
  return items;
}

void LayerExecutor::gateUp() {
  const uint32_t items = cutGateUp();
  pool.parallelFor(items, [&](uint32_t item, unsigned thread) {
    // Threads take items in turn, so this is likely the one that this thread takes next. Where another takes it, the
    // weights wait in the cache that all share.
    const uint32_t next = item + pool.threads();
    gateUpItem(space.items[item], next < items ? &space.items[next] : nullptr, scratchOf(thread));
  });
}

void LayerExecutor::gateUpItem(const WorkItem &item, const WorkItem *next, const ThreadScratch &scratch) {
  const GemmKernels &gemm = kernelsOf(item.expert).gateUp;
  const ExpertWeights &weights = layer.experts[item.expert];
  const DType rowType = kernels.config.rowDType();
  const uint64_t first = space.begin[item.expert], middleBytes = kernels.down.aStrideBytes;
  PanelSource source{gemm, nullptr, {}, kernels.config.compute};
  if (weights.packed)
    source.packed = weights.packed->gateUp;
  else
    source.stored = weights.stored->gateUp;
  NextPanels after;
  if (next && layer.experts[next->expert].packed)
    after = {layer.experts[next->expert].packed->gateUp + next->panelBegin * gemm.panelSize,
             next->panelEnd - next->panelBegin};
  TileOperands to;
  to.a = space.gathered + first * gemm.aStrideBytes;
  to.c = space.middle + first * middleBytes;
  to.cRowBytes = middleBytes;
  to.cPanelBytes = uint64_t{gemm.panelColumns} * byteSize(rowType);
  if (layer.shape.weightOnInput)
    to.rowWeight = space.inputWeight + first;
  runPanels(source, to, space.pairs[item.expert], item.panelBegin, item.panelEnd, after, scratch);
  if (item.panelEnd == gemm.panels && gemm.columns % 2 != 0)
    zeroAfterLastColumn(to.c, middleBytes, space.pairs[item.expert], gemm.columns, rowType);
}

void LayerExecutor::down() {
  const uint32_t panels = kernels.down.panels;
  const uint32_t chunk = pool.threads() == 1 ? panels : divideUp(panels, itemsPerThread * pool.threads());
  pool.parallelFor(divideUp(panels, chunk), [&](uint32_t item, unsigned thread) {
    downPanels(item * chunk, std::min(panels, (item + 1) * chunk), scratchOf(thread));
  });
}

void LayerExecutor::downPanels(uint32_t panelBegin, uint32_t panelEnd, const ThreadScratch &scratch) {
  auto withPairs = [&](uint32_t from) {
    while (from < layer.shape.experts && space.pairs[from] == 0)
      ++from;
    return from;
  };
  for (uint32_t e = withPairs(0), next = 0; e < layer.shape.experts; e = next) {
    next = withPairs(e + 1);
    const GemmKernels &gemm = kernelsOf(e).down;
    const ExpertWeights &weights = layer.experts[e];
    const uint64_t first = space.begin[e];
    PanelSource source{gemm, nullptr, {}, kernels.config.compute};
    if (weights.packed)
      source.packed = weights.packed->down;
    else
      source.stored = weights.stored->down;
    TileOperands to;
    to.a = space.middle + first * gemm.aStrideBytes;
    to.c = reinterpret_cast<std::byte *>(space.accumulators);
    to.cRowBytes = accStride() * sizeof(float);
    to.cPanelBytes = gemm.panelColumns * sizeof(float);
    to.rowToken = space.rowToken + first;
    to.rowWeight = space.rowWeight + first;
    NextPanels after;
    if (next < layer.shape.experts && layer.experts[next].packed)
      after = {layer.experts[next].packed->down + panelBegin * gemm.panelSize, panelEnd - panelBegin};
    runPanels(source, to, space.pairs[e], panelBegin, panelEnd, after, scratch);
  }
}

void LayerExecutor::sharedGateUp() {
  const GemmKernels &gemm = *kernels.sharedGateUp;
  const DType rowType = kernels.config.rowDType();
  PanelSource source{gemm, layer.common->shared->gateUp, {}, kernels.config.compute};
  TileOperands to;
  to.a = space.staged;
  to.c = space.sharedMiddle;
  to.cRowBytes = kernels.sharedDown->aStrideBytes;
  to.cPanelBytes = uint64_t{gemm.panelColumns} * byteSize(rowType);
  const uint32_t chunk = divideUp(gemm.panels, itemsPerThread * pool.threads());
  pool.parallelFor(divideUp(gemm.panels, chunk), [&](uint32_t item, unsigned thread) {
    const uint32_t end = std::min(gemm.panels, (item + 1) * chunk);
    runPanels(source, to, tokens, item * chunk, end, {}, scratchOf(thread));
    if (end == gemm.panels && gemm.columns % 2 != 0)
      zeroAfterLastColumn(to.c, to.cRowBytes, tokens, gemm.columns, rowType);
  });
}

void LayerExecutor::sharedDown() {
  const GemmKernels &gemm = *kernels.sharedDown;
  PanelSource source{gemm, layer.common->shared->down, {}, kernels.config.compute};
  TileOperands to;
  to.a = space.sharedMiddle;
  to.c = reinterpret_cast<std::byte *>(space.accumulators);
  to.cRowBytes = accStride() * sizeof(float);
  to.cPanelBytes = gemm.panelColumns * sizeof(float);
  to.rowToken = space.sharedToken;
  to.rowWeight = space.sharedWeight;
  const uint32_t chunk = divideUp(gemm.panels, itemsPerThread * pool.threads());
  pool.parallelFor(divideUp(gemm.panels, chunk), [&](uint32_t item, unsigned thread) {
    runPanels(source, to, tokens, item * chunk, std::min(gemm.panels, (item + 1) * chunk), {}, scratchOf(thread));
  });
}

void LayerExecutor::store(TensorView output) {
  const uint64_t rowBytes = output.columns * byteSize(output.dtype);
  pool.parallelFor(divideUp(tokens, rowsPerItem), [&](uint32_t item, unsigned) {
    for (uint32_t t = item * rowsPerItem, end = std::min(tokens, t + rowsPerItem); t < end; ++t)
      storeRow(space.accumulators + uint64_t{t} * accStride(), static_cast<std::byte *>(output.data) + t * rowBytes,
               output.dtype, layer.shape.hidden);
  });
}

} // namespace moec
