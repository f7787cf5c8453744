#include "runtime/device/cuda/Facts.h"

#include <array>
#include <cctype>
#include <cmath>
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

/// Whether `words` stands in `text` by itself: H200 is not in GH200.
bool hasWords(std::string_view text, std::string_view words) {
  const auto inWord = [&](size_t at) { return at < text.size() && std::isalnum(static_cast<unsigned char>(text[at])); };
  for (size_t at = text.find(words); at != std::string_view::npos; at = text.find(words, at + 1))
    if (!(at > 0 && inWord(at - 1)) && !inWord(at + words.size()))
      return true;
  return false;
}

/// The name under which `--target` knows the card, or "".
std::string knownName(std::string_view model) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 7> known = {{{"H100", "h100"},
                                                                                   {"H200", "h200"},
                                                                                   {"A100", "a100"},
                                                                                   {"L40S", "l40s"},
                                                                                   {"RTX 4090", "rtx4090"},
                                                                                   {"RTX 5090", "rtx5090"},
                                                                                   {"B200", "b200"}}};
  for (auto [words, name] : known)
    if (hasWords(model, words))
      return std::string(name);
  return "";
}

double memoryBytesPerNs(const Attributes &attributes) {
  return 2.0 * attributes.memoryKhz * attributes.busBits / 8 * 1e-6; // two transfers a clock
}

/// Whether the card is the board of that name: a PCIe board or a MIG slice has fewer multiprocessors, an A100 with 40
/// GB and an H100 NVL other memory. Data sheets round: an H200's attributes give 2.4 % more than its sheet; the nearest
/// other board, an A100 with 80 GB on PCIe, is 5 % from the one that we know. A driver may not tell (0).
bool isBoard(const GpuFacts &known, const Attributes &attributes) {
  constexpr double rounding = 0.04;
  const double memory = memoryBytesPerNs(attributes);
  return known.multiprocessors == static_cast<uint32_t>(attributes.multiprocessors) &&
         (memory == 0 || std::abs(memory / known.memoryBytesPerNs - 1) < rounding);
}

/// Where the driver does not tell: what the slowest memory of the boards that we know by name does. Such a board is
/// calibrated anyway.
constexpr double unknownMemoryBytesPerNs = 864;

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
  if (const std::string name = knownName(driver.deviceName()); !name.empty())
    if (Result<TargetFacts> facts = targetByName(name, {}); facts && isBoard(facts->gpu, attributes))
      return facts;
  TargetFacts facts;
  facts.device = DeviceKind::Cuda;
  facts.arch = fmt::format("sm_{}{}{}", attributes.major, attributes.minor, attributes.major == 9 ? "a" : "");
  facts.name = facts.arch;
  facts.gpu.model = driver.deviceName();
  facts.gpu.multiprocessors = multiprocessors;
  facts.gpu.sharedBytesPerBlock = static_cast<uint32_t>(attributes.sharedBytes);
  facts.gpu.l2Bytes = static_cast<uint64_t>(attributes.l2Bytes);
  const double memory = memoryBytesPerNs(attributes);
  facts.gpu.memoryBytesPerNs = memory > 0 ? memory : unknownMemoryBytesPerNs;
  facts.gpu.matrixFlopsPerNs = flopsPerClock(attributes) * multiprocessors * attributes.clockKhz * 1e-6;
  return facts;
}

} // namespace moec
