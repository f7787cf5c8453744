#include "runtime/device/cuda/Workspace.h"

#include "compiler/core/CudaLaunch.h"
#include "compiler/core/JoinedShared.h"
#include "runtime/device/cuda/TensorMap.h"
#include "runtime/memory/Region.h"

#include <algorithm>

namespace moec {
namespace {

constexpr uint32_t smallestTile = 8;                                            // tokens
constexpr uint64_t numCounters = 2 * kTileCounters, numZeros = numCounters + 2; // of both products; grid barrier

CudaWorkspace carve(Carver &carver, const CudaWorkspaceNeeds &needs) {
  CudaWorkspace space;
  space.logits = carver.take<float>(needs.logits);
  space.ids = carver.take<int32_t>(needs.pairs);
  space.weights = carver.take<float>(needs.pairs);
  space.counts = carver.take<int32_t>(needs.experts);
  space.progress = carver.take<uint32_t>(numProgressCounts(kLeastWideTile, needs.experts, needs.rows));
  space.expertBegin = carver.take<int32_t>(needs.experts + 1);
  space.tileHead = carver.take<TileHead>(1);
  space.tiles = carver.take<TokenTile>(needs.tiles);
  space.slotPair = carver.take<int32_t>(needs.rows);
  space.slotOfPair = carver.take<int32_t>(needs.pairs);
  space.blockCounts = carver.take<int32_t>(needs.blockCounts);
  space.activated = carver.take<std::byte>(needs.activatedBytes);
  space.expertOutput = carver.take<std::byte>(needs.outputBytes);
  space.quantised = carver.take<uint8_t>(needs.quantisedBytes);
  space.scaleStride = scaleStrideOf(needs.rows);
  space.tokenScales = carver.take<float>(needs.tokenScaleBlocks * space.scaleStride);
  space.activatedScales = carver.take<float>(needs.activatedScaleBlocks * space.scaleStride);
  space.sharedActivated = carver.take<std::byte>(needs.sharedActivatedBytes);
  space.sharedOutput = carver.take<std::byte>(needs.sharedOutputBytes);
  space.hidden = carver.take<std::byte>(needs.paddedBytes);
  space.output = carver.take<std::byte>(needs.paddedBytes);
  space.tileCounters = carver.take<uint32_t>(numZeros);
  // (an address: the first carving only counts, from nothing)
  space.gridBarrier =
      reinterpret_cast<uint32_t *>(reinterpret_cast<uintptr_t>(space.tileCounters) + numCounters * sizeof(uint32_t));
  return space;
}

Status makeQuantisedMaps(const CudaDriver &driver, const CudaWorkspace &space, uint64_t rows, CudaRowMaps &maps) {
  const auto make = [&](const void *from, uint32_t columns, uint32_t boxRows, CUtensorMap &map) {
    // as of half as many two-byte columns
    const CudaTensor pairs = rowTensor(Element::BF16, reinterpret_cast<uint64_t>(from), columns / 2, rows, boxRows);
    return encode(driver, inBytes(pairs), "quantised rows", map);
  };
  MOEC_TRY(make(space.expertOutput, maps.sizes.hidden, kOutputBoxRows, maps.quantisedTokens));
  MOEC_TRY(make(space.expertOutput, maps.sizes.hidden, kWideBoxRows, maps.wideQuantisedTokens));
  MOEC_TRY(make(space.quantised, maps.sizes.intermediate, kOutputBoxRows, maps.quantisedActivated));
  return make(space.quantised, maps.sizes.intermediate, kWideBoxRows, maps.wideQuantisedActivated);
}

/// The buffers do not move, so this is done once and not on the step path.
Status makeRowMaps(const CudaDriver &driver, const CudaWorkspaceNeeds &needs, CudaWorkspace &space) {
  for (const CudaRowSizes &sizes : needs.mapped) {
    CudaRowMaps &maps = space.rowMaps.emplace_back(CudaRowMaps{.sizes = sizes});
    const Element element = sizes.dtype == DType::F16 ? Element::F16 : Element::BF16;
    const uint64_t rows = needs.tokens * sizes.tokenRows;
    const auto make = [&](const std::byte *from, uint32_t columns, uint32_t boxRows, CUtensorMap &map) {
      return encode(driver, rowTensor(element, reinterpret_cast<uint64_t>(from), columns, rows, boxRows), "rows", map);
    };
    MOEC_TRY(make(space.activated, sizes.intermediate, kOutputBoxRows, maps.activated));
    MOEC_TRY(make(space.activated, sizes.intermediate, kWideBoxRows, maps.wideActivated));
    MOEC_TRY(make(space.expertOutput, sizes.hidden, kOutputBoxRows, maps.expertOutput));
    if (sizes.e4m3)
      MOEC_TRY(makeQuantisedMaps(driver, space, rows, maps));
  }
  return {};
}

} // namespace

CudaRowSizes CudaRowSizes::of(const LayerShape &shape) {
  return {paddedForCuda(shape.hidden), paddedForCuda(shape.intermediate), rowsPerToken(shape), shape.dtype,
          hasE4M3Kernels(shape)};
}

const CudaRowMaps *CudaWorkspace::mapsOf(const LayerShape &shape) const {
  // Layers of a model have one or two sizes.
  const auto found =
      std::find_if(rowMaps.begin(), rowMaps.end(),
                   [sizes = CudaRowSizes::of(shape)](const CudaRowMaps &maps) { return maps.sizes == sizes; });
  return found == rowMaps.end() ? nullptr : &*found;
}

uint32_t cudaLogitStride(const LayerShape &shape) { return (shape.experts + 1 + 3) / 4 * 4; }

CudaWorkspaceNeeds CudaWorkspaceNeeds::of(std::span<const LayerShape> shapes, uint32_t maxTokens, bool tensorMaps) {
  CudaWorkspaceNeeds needs;
  const auto grow = [](uint64_t &value, uint64_t atLeast) { value = std::max(value, atLeast); };
  const uint64_t tokens = maxTokens;
  needs.tokens = tokens;
  for (const LayerShape &shape : shapes) {
    const uint64_t pairs = tokens * shape.topK, element = byteSize(shape.dtype);
    const uint64_t rows = tokens * rowsPerToken(shape), experts = groupedExperts(shape);
    const uint64_t hidden = paddedForCuda(shape.hidden),
                   shared = joinsShared(shape) ? 0 : paddedForCuda(shape.sharedIntermediate);
    grow(needs.pairs, pairs);
    grow(needs.rows, rows);
    grow(needs.experts, experts);
    grow(needs.logits, tokens * cudaLogitStride(shape));
    grow(needs.tiles, rows / smallestTile + experts);
    const uint32_t dispatchBlocks = std::max(ceilDivide(pairs, dispatchConfigOf(shape.experts).pairsPerBlock),
                                             dispatchGridBlocks(static_cast<uint32_t>(pairs), kDispatchGridMost));
    grow(needs.blockCounts, dispatchBlocks * uint64_t{shape.experts});
    grow(needs.activatedBytes, rows * paddedForCuda(shape.intermediate) * element);
    grow(needs.outputBytes, rows * hidden * element);
    grow(needs.sharedActivatedBytes, tokens * shared * element);
    grow(needs.sharedOutputBytes, shared ? tokens * hidden * element : 0);
    grow(needs.paddedBytes, hidden == shape.hidden ? 0 : tokens * hidden * element);
    const CudaRowSizes sizes = CudaRowSizes::of(shape);
    if (tensorMaps && sizes.e4m3) {
      grow(needs.quantisedBytes, rows * sizes.intermediate);
      grow(needs.tokenScaleBlocks, ceilDivide(sizes.hidden, kFp8Block));
      grow(needs.activatedScaleBlocks, ceilDivide(sizes.intermediate, kFp8Block));
    }
    if (tensorMaps && std::find(needs.mapped.begin(), needs.mapped.end(), sizes) == needs.mapped.end())
      needs.mapped.push_back(sizes);
  }
  return needs;
}

Result<CudaWorkspace> CudaWorkspace::make(const CudaDriver &driver, const DeviceMemory &memory,
                                          const CudaWorkspaceNeeds &needs, CUstream stream) {
  Carver sizes;
  carve(sizes, needs);
  Result<DeviceBuffer> buffer = memory.allocate(sizes.bytes(), fmt::format("a step of {} tokens", needs.tokens));
  if (!buffer)
    return buffer.status();
  Carver carver(buffer->as<std::byte>());
  CudaWorkspace space = carve(carver, needs);
  space.memory = std::move(*buffer);
  if (needs.paddedBytes)
    MOEC_CUDA(driver, cuMemsetD8Async, (reinterpret_cast<CUdeviceptr>(space.hidden), 0, needs.paddedBytes, stream),
              "clearing padded hidden states");
  MOEC_CUDA(driver, cuMemsetD8Async,
            (reinterpret_cast<CUdeviceptr>(space.tileCounters), 0, numZeros * sizeof(uint32_t), stream),
            "clearing counters");
  MOEC_TRY(makeRowMaps(driver, needs, space));
  return space;
}

} // namespace moec
