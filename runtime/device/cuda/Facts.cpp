#include "runtime/device/cuda/Facts.h"

#include <array>
#include <string_view>

namespace moec {
namespace {

struct Attributes {
  int major = 0, minor = 0, multiprocessors = 0, sharedBytes = 0, l2Bytes = 0, clockKhz = 0, memoryKhz = 0, busBits = 0;
};

Result<Attributes> readAttributes(const CudaDriver &driver) {
  Attributes attributes;
  for (auto [which, to] : {std::pair{CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, &attributes.major},
                           std::pair{CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, &attributes.minor},
                           std::pair{CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, &attributes.multiprocessors},
                           std::pair{CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, &attributes.sharedBytes},
                           std::pair{CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, &attributes.l2Bytes},
                           std::pair{CU_DEVICE_ATTRIBUTE_CLOCK_RATE, &attributes.clockKhz},
                           std::pair{CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, &attributes.memoryKhz},
                           std::pair{CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, &attributes.busBits}}) {
    Result<int> value = driver.attribute(which);
    if (!value)
      return value.status();
    *to = *value;
  }
  return attributes;
}

/// Dense bf16 operations with f32 sums per clock and multiprocessor, by generation (the makers' white papers).
double flopsPerClock(const Attributes &attributes) {
  switch (attributes.major) {
  case 8: return attributes.minor == 0 ? 2048 : 1024;
  case 9: return 4096;
  case 10: return 8192;
  default: return 1024;
  }
}

/// The name under which `--target` knows the card, or "".
std::string knownName(std::string_view model) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 6> known = {
      {{"H100", "h100"}, {"H200", "h200"}, {"A100", "a100"}, {"L40S", "l40s"}, {"RTX 4090", "rtx4090"}, {"B200", "b200"}}};
  for (auto [part, name] : known)
    if (model.find(part) != std::string_view::npos)
      return std::string(name);
  return "";
}

} // namespace

Result<TargetFacts> cudaFacts(const CudaDriver &driver) {
  Result<Attributes> read = readAttributes(driver);
  if (!read)
    return read.status();
  const Attributes &attributes = *read;
  if (attributes.major < 8)
    return makeError(Code::DeviceMissing, "{} is sm_{}{}, kernels need sm_80 at least", driver.deviceName(),
                     attributes.major, attributes.minor);
  const auto multiprocessors = static_cast<uint32_t>(attributes.multiprocessors);
  // A card of that name may be cut down (PCIe, MIG): then its own attributes are what counts.
  if (const std::string name = knownName(driver.deviceName()); !name.empty())
    if (Result<TargetFacts> facts = targetByName(name, {}); facts && facts->gpu.multiprocessors == multiprocessors)
      return facts;
  TargetFacts facts;
  facts.device = DeviceKind::Cuda;
  facts.arch = fmt::format("sm_{}{}{}", attributes.major, attributes.minor, attributes.major == 9 ? "a" : "");
  facts.name = facts.arch;
  facts.gpu.model = driver.deviceName();
  facts.gpu.multiprocessors = multiprocessors;
  facts.gpu.sharedBytesPerBlock = static_cast<uint32_t>(attributes.sharedBytes);
  facts.gpu.l2Bytes = static_cast<uint64_t>(attributes.l2Bytes);
  facts.gpu.memoryBytesPerNs = 2.0 * attributes.memoryKhz * attributes.busBits / 8 * 1e-6; // two transfers a clock
  facts.gpu.matrixFlopsPerNs = flopsPerClock(attributes) * multiprocessors * attributes.clockKhz * 1e-6;
  return facts;
}

} // namespace moec
