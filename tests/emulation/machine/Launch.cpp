#include "tests/emulation/machine/Launch.h"

#include <algorithm>
#include <fmt/format.h>
#include <memory>
#include <numeric>

namespace moec::emulation {
namespace {

std::optional<Failure> runAlone(DeviceMemory &device, const LaunchShape &shape, uint32_t index, uint64_t seed,
                                const std::function<void()> &kernel) {
  Grid grid{shape.threads, {index}};
  Block block(device, shape, grid, 0, seed);
  block.begin(kernel);
  block.run(UINT32_MAX);
  if (!block.isDone() && !block.result())
    block.reportDeadlock();
  block.end();
  return block.result();
}

struct Part {
  const LaunchShape *shape;
  const std::function<void()> *kernel;
};

/// Turns of random length for random blocks. `partOf(place)`: whose block is at a place of the grid.
template <class PartOf>
std::optional<Failure> runGrid(DeviceMemory &device, Grid &grid, Random &random, PartOf partOf) {
  std::vector<std::unique_ptr<Block>> blocks;
  for (uint32_t place = 0; place < grid.blocks.size(); ++place) {
    const Part part = partOf(place);
    blocks.push_back(std::make_unique<Block>(device, *part.shape, grid, place, random.next()));
    blocks.back()->begin(*part.kernel);
  }
  for (;;) {
    std::vector<Block *> able, waiting;
    for (const auto &block : blocks)
      if (!block->isDone())
        (block->canStep() && !block->isHeld() ? able : waiting).push_back(block.get());
    if (able.empty() && !waiting.empty())
      waiting[0]->reportDeadlock();
    else if (able.empty())
      break;
    else
      able[random.below(static_cast<uint32_t>(able.size()))]->run(1 + random.below(200));
    for (const auto &block : blocks)
      if (block->result())
        return block->result();
  }
  for (const auto &block : blocks) {
    block->end();
    if (block->result())
      return block->result();
  }
  return {};
}

/// Those at `order` of the launch.
std::optional<Failure> runTogether(DeviceMemory &device, const LaunchShape &shape, std::vector<uint32_t> order,
                                   Random &random, const std::function<void()> &kernel) {
  Grid grid{shape.threads, std::move(order)};
  return runGrid(device, grid, random, [&](uint32_t) { return Part{&shape, &kernel}; });
}

Failure wholeClusters(const LaunchShape &shape) {
  return {Fault::Barrier, fmt::format("{} blocks in clusters of {}", shape.blocks, shape.clusterBlocks)};
}

std::vector<uint32_t> shuffledBlocks(const LaunchShape &shape, Random &random) {
  std::vector<uint32_t> order(shape.blocks);
  std::iota(order.begin(), order.end(), 0u);
  for (uint32_t i = shape.blocks; i > 1; --i)
    std::swap(order[i - 1], order[random.below(i)]);
  return order;
}

/// One cluster after the other, in the order in which their first blocks come.
std::optional<Failure> runClusters(DeviceMemory &device, const LaunchShape &shape, const std::vector<uint32_t> &order,
                                   Random &random, const std::function<void()> &kernel) {
  for (uint32_t index : order) {
    if (index % shape.clusterBlocks != 0)
      continue;
    std::vector<uint32_t> cluster(shape.clusterBlocks);
    std::iota(cluster.begin(), cluster.end(), index);
    if (std::optional<Failure> failure = runTogether(device, shape, std::move(cluster), random, kernel))
      return failure;
  }
  return {};
}

} // namespace

std::optional<Failure> launch(DeviceMemory &device, const LaunchShape &shape, uint64_t seed,
                              const std::function<void()> &kernel) {
  device.settle();
  if (shape.blocks % shape.clusterBlocks != 0)
    return wholeClusters(shape);
  Random random(seed);
  std::vector<uint32_t> order = shuffledBlocks(shape, random);
  if (shape.together)
    return runTogether(device, shape, std::move(order), random, kernel);
  if (shape.clusterBlocks > 1)
    return runClusters(device, shape, order, random, kernel);
  for (uint32_t index : order)
    if (std::optional<Failure> failure = runAlone(device, shape, index, random.next(), kernel))
      return failure;
  return {};
}

std::optional<Failure> launchOverlapped(DeviceMemory &device, const LaunchShape &first,
                                        const std::function<void()> &firstKernel, const LaunchShape &second,
                                        const std::function<void()> &secondKernel, uint64_t seed) {
  device.settle();
  for (const LaunchShape *shape : {&first, &second})
    if (shape->blocks % shape->clusterBlocks != 0)
      return wholeClusters(*shape);
  Random random(seed);
  Grid grid{std::max(first.threads, second.threads), shuffledBlocks(first, random)};
  const std::vector<uint32_t> others = shuffledBlocks(second, random);
  grid.blocks.insert(grid.blocks.end(), others.begin(), others.end());
  grid.firstBlocks = first.blocks;
  return runGrid(device, grid, random, [&](uint32_t place) {
    return place < first.blocks ? Part{&first, &firstKernel} : Part{&second, &secondKernel};
  });
}

} // namespace moec::emulation
