#include "runtime/device/cpu/Workspace.h"

#include "compiler/core/Plan.h"

#include <algorithm>

namespace moec {
namespace {

constexpr uint32_t floatsPerLine = 16;

uint64_t rowBytes(uint32_t columns, DType type) { return paddedStride(columns, type) * byteSize(type); }

ThreadScratch carveScratch(Carver &carver, const WorkspaceNeeds &needs) {
  ThreadScratch scratch;
  scratch.panel = carver.take<std::byte>(kPanelsPerCall * needs.panelBytes);
  scratch.rows = carver.take<std::byte>(needs.panelBytes);
  scratch.scores = carver.take<float>(3 * (needs.experts + floatsPerLine));
  return scratch;
}

Workspace carve(Carver &carver, const WorkspaceNeeds &needs) {
  const uint64_t tokens = uint64_t{needs.maxTokens} + kOverhangRows;
  Workspace space;
  space.staged = carver.take<std::byte>(needs.stagedBytes);
  space.logits = carver.take<float>(needs.logits);
  space.ids = carver.take<int32_t>(needs.pairs);
  space.weights = carver.take<float>(needs.pairs);
  space.pairs = carver.take<uint32_t>(needs.experts);
  space.begin = carver.take<uint32_t>(needs.experts + 1);
  space.fill = carver.take<uint32_t>(needs.experts);
  space.spilled = carver.take<uint8_t>(needs.experts);
  space.rowToken = carver.take<int32_t>(needs.rows);
  space.rowWeight = carver.take<float>(needs.rows);
  space.inputWeight = needs.inputWeights ? carver.take<float>(needs.rows) : nullptr;
  space.sharedToken = carver.take<int32_t>(tokens);
  space.sharedWeight = carver.take<float>(tokens);
  space.gathered = carver.take<std::byte>(needs.gatheredBytes);
  space.middle = carver.take<std::byte>(needs.middleBytes);
  space.sharedMiddle = carver.take<std::byte>(needs.sharedMiddleBytes);
  space.accumulators = carver.take<float>(needs.accumulators);
  // Each expert that has pairs starts an item of its own; the rest are cuts.
  space.maxItems = needs.experts + 16 * needs.threads;
  space.items = carver.take<WorkItem>(space.maxItems);
  space.scratch = carveScratch(carver, needs);
  return space;
}

} // namespace

uint32_t accumulatorStride(uint32_t hidden, uint32_t lanes) {
  uint32_t columns = (hidden + 2 * lanes - 1) / (2 * lanes) * (2 * lanes);
  return ((columns + floatsPerLine - 1) / floatsPerLine | 1) * floatsPerLine;
}

uint32_t logitStride(uint32_t experts, uint32_t lanes) { return accumulatorStride(experts, lanes); }

WorkspaceNeeds WorkspaceNeeds::of(std::span<const LayerShape> shapes, uint32_t maxTokens, uint32_t threads,
                                  const TargetFacts &facts) {
  WorkspaceNeeds needs{.maxTokens = maxTokens, .threads = threads, .lanes = facts.lanes()};
  const uint64_t tokens = uint64_t{maxTokens} + kOverhangRows;
  auto grow = [](auto &value, uint64_t atLeast) {
    value = static_cast<std::remove_reference_t<decltype(value)>>(std::max<uint64_t>(value, atLeast));
  };
  for (const LayerShape &shape : shapes) {
    DType compute = computeDType(shape);
    DType rowType = CpuConfig{.isa = facts.isa, .compute = compute, .tileRows = {}}.rowDType();
    uint64_t pairs = uint64_t{maxTokens} * shape.topK;
    uint64_t rows = pairs + uint64_t{shape.experts} * kOverhangRows;
    grow(needs.rows, rows);
    grow(needs.pairs, pairs);
    grow(needs.experts, shape.experts);
    needs.inputWeights |= shape.weightOnInput;
    grow(needs.stagedBytes, tokens * rowBytes(shape.hidden, rowType));
    grow(needs.gatheredBytes, rows * rowBytes(shape.hidden, rowType));
    grow(needs.middleBytes, rows * rowBytes(shape.intermediate, rowType));
    grow(needs.sharedMiddleBytes, shape.sharedIntermediate ? tokens * rowBytes(shape.sharedIntermediate, rowType) : 0);
    grow(needs.logits, tokens * logitStride(shape.experts, needs.lanes));
    grow(needs.accumulators, (uint64_t{maxTokens} + 1) * accumulatorStride(shape.hidden, needs.lanes));
    for (uint32_t k : {shape.hidden, shape.intermediate})
      grow(needs.panelBytes, moec::panelBytes(k, needs.lanes, compute, shape.expertBias));
  }
  return needs;
}

Result<Workspace> Workspace::make(const WorkspaceNeeds &needs) {
  Carver sizes;
  carve(sizes, needs);
  Result<Region> memory = Region::map(sizes.bytes(), "a step's workspace");
  if (!memory)
    return memory.status();
  Carver carver(memory->data());
  Workspace space = carve(carver, needs);
  space.memory = std::move(*memory);
  return space;
}

Result<WorkerScratch> WorkerScratch::make(const WorkspaceNeeds &needs, uint32_t workers) {
  Carver sizes;
  for (uint32_t i = 0; i < workers; ++i)
    carveScratch(sizes, needs);
  Result<Region> memory = Region::map(sizes.bytes(), "workers' scratch");
  if (!memory)
    return memory.status();
  WorkerScratch scratch;
  Carver carver(memory->data());
  for (uint32_t i = 0; i < workers; ++i)
    scratch.ofWorker.push_back(carveScratch(carver, needs));
  scratch.memory = std::move(*memory);
  return scratch;
}

} // namespace moec
