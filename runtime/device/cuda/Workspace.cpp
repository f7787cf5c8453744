#include "runtime/device/cuda/Workspace.h"

#include "compiler/core/CudaLaunch.h"
#include "runtime/memory/Region.h"

#include <algorithm>

namespace moec {
namespace {

constexpr uint32_t smallestTile = 8; // tokens

CudaWorkspace carve(Carver &carver, const CudaWorkspaceNeeds &needs) {
  CudaWorkspace space;
  space.logits = carver.take<float>(needs.logits);
  space.ids = carver.take<int32_t>(needs.pairs);
  space.weights = carver.take<float>(needs.pairs);
  space.counts = carver.take<int32_t>(needs.experts);
  space.expertBegin = carver.take<int32_t>(needs.experts + 1);
  space.tileBegin = carver.take<int32_t>(needs.experts + 1);
  space.tilePlace = carver.take<int32_t>(needs.tiles);
  space.slotPair = carver.take<int32_t>(needs.pairs);
  space.slotOfPair = carver.take<int32_t>(needs.pairs);
  space.blockCounts = carver.take<int32_t>(needs.blockCounts);
  space.activated = carver.take<std::byte>(needs.activatedBytes);
  space.expertOutput = carver.take<std::byte>(needs.outputBytes);
  space.sharedActivated = carver.take<std::byte>(needs.sharedActivatedBytes);
  space.sharedOutput = carver.take<std::byte>(needs.sharedOutputBytes);
  space.hidden = carver.take<std::byte>(needs.paddedBytes);
  space.output = carver.take<std::byte>(needs.paddedBytes);
  return space;
}

} // namespace

uint32_t cudaLogitStride(const LayerShape &shape) { return (shape.experts + 1 + 3) / 4 * 4; }

CudaWorkspaceNeeds CudaWorkspaceNeeds::of(std::span<const LayerShape> shapes, uint32_t maxTokens) {
  CudaWorkspaceNeeds needs;
  const auto grow = [](uint64_t &value, uint64_t atLeast) { value = std::max(value, atLeast); };
  const uint64_t tokens = maxTokens;
  needs.tokens = tokens;
  for (const LayerShape &shape : shapes) {
    const uint64_t pairs = tokens * shape.topK, element = byteSize(shape.dtype);
    const uint64_t hidden = paddedForCuda(shape.hidden), shared = paddedForCuda(shape.sharedIntermediate);
    grow(needs.pairs, pairs);
    grow(needs.experts, shape.experts);
    grow(needs.logits, tokens * cudaLogitStride(shape));
    grow(needs.tiles, pairs / smallestTile + shape.experts);
    grow(needs.blockCounts, ceilDivide(pairs, dispatchConfigOf(shape.experts).pairsPerBlock) * uint64_t{shape.experts});
    grow(needs.activatedBytes, pairs * paddedForCuda(shape.intermediate) * element);
    grow(needs.outputBytes, pairs * hidden * element);
    grow(needs.sharedActivatedBytes, tokens * shared * element);
    grow(needs.sharedOutputBytes, shared ? tokens * hidden * element : 0);
    grow(needs.paddedBytes, hidden == shape.hidden ? 0 : tokens * hidden * element);
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
  return space;
}

} // namespace moec
