#include "tests/emulation/machine/Launch.h"

#include <numeric>

namespace moec::emulation {

std::optional<Failure> launch(DeviceMemory &device, const LaunchShape &shape, uint64_t seed,
                              const std::function<void()> &kernel) {
  device.settle();
  Random random(seed);
  std::vector<uint32_t> order(shape.blocks);
  std::iota(order.begin(), order.end(), 0u);
  for (uint32_t i = shape.blocks; i > 1; --i)
    std::swap(order[i - 1], order[random.below(i)]);
  for (uint32_t index : order) {
    Block block(device, shape, index, random.next());
    if (std::optional<Failure> failure = block.run(kernel))
      return failure;
  }
  return {};
}

} // namespace moec::emulation
