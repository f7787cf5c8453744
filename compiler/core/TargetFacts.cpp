#include "compiler/core/TargetFacts.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string_view>

namespace moec {

namespace {

/// A `--target` name of a GPU, what it is compiled for, and its facts.
struct KnownGpu {
  std::string_view name, arch, model;
  uint32_t multiprocessors, sharedKib;
  uint64_t l2Mib;
  double memoryGBs, matrixTflops;
};

// From the makers' documents, listed in docs/planner-gpu.md; SXM boards where there are several. Matrix rates are of
// dense bf16 with f32 sums. A plain architecture stands for the first card of its kind.
constexpr KnownGpu knownGpus[] = {
    {"sm_80", "sm_80", "A100", 108, 163, 40, 2039, 312},      {"sm_89", "sm_89", "L40S", 142, 99, 96, 864, 362},
    {"sm_90", "sm_90", "H100", 132, 227, 50, 3350, 989},      {"sm_90a", "sm_90a", "H100", 132, 227, 50, 3350, 989},
    {"sm_100", "sm_100", "B200", 148, 227, 126, 7700, 2250},  {"sm_120", "sm_120", "RTX 5090", 170, 99, 96, 1792, 209},
    {"a100", "sm_80", "A100", 108, 163, 40, 2039, 312},       {"l40s", "sm_89", "L40S", 142, 99, 96, 864, 362},
    {"rtx4090", "sm_89", "RTX 4090", 128, 99, 72, 1008, 165}, {"h100", "sm_90a", "H100", 132, 227, 50, 3350, 989},
    {"h200", "sm_90a", "H200", 132, 227, 50, 4800, 989},      {"rtx5090", "sm_120", "RTX 5090", 170, 99, 96, 1792, 209},
    {"b200", "sm_100", "B200", 148, 227, 126, 7700, 2250},
};

TargetFacts factsOf(const KnownGpu &known) {
  TargetFacts facts;
  facts.device = DeviceKind::Cuda;
  facts.name = known.name;
  facts.arch = known.arch;
  facts.gpu = {.model = std::string(known.model),
               .multiprocessors = known.multiprocessors,
               .sharedBytesPerBlock = known.sharedKib * 1024,
               .l2Bytes = known.l2Mib << 20,
               .memoryBytesPerNs = known.memoryGBs,
               .matrixFlopsPerNs = known.matrixTflops * 1000};
  return facts;
}

} // namespace

const char *deviceName(DeviceKind device) { return device == DeviceKind::Cpu ? "cpu" : "cuda"; }

const char *isaName(CpuIsa isa) {
  switch (isa) {
  case CpuIsa::Avx2: return "avx2";
  case CpuIsa::Avx512: return "avx512";
  case CpuIsa::Avx512Bf16: return "avx512bf16";
  }
  return "unknown";
}

Result<TargetFacts> targetByName(const std::string &name, const TargetFacts &thisMachine) {
  TargetFacts facts = thisMachine;
  facts.name = name;
  if (name == "cpu")
    return facts;
  for (CpuIsa isa : {CpuIsa::Avx2, CpuIsa::Avx512, CpuIsa::Avx512Bf16}) {
    if (name != std::string("cpu-") + isaName(isa))
      continue;
    facts.isa = isa;
    return facts;
  }
  const auto *gpu = std::find_if(std::begin(knownGpus), std::end(knownGpus),
                                 [&](const KnownGpu &known) { return known.name == name; });
  if (gpu != std::end(knownGpus))
    return factsOf(*gpu);
  std::string names = "cpu, cpu-avx2, cpu-avx512, cpu-avx512bf16";
  for (const KnownGpu &known : knownGpus)
    names += fmt::format(", {}", known.name);
  return makeError(Code::InvalidArgument, "unknown target '{}': expected one of {}", name, names);
}

uint32_t computeMajor(std::string_view arch) {
  constexpr std::string_view prefix = "sm_";
  uint32_t capability = 0; // stays 0 where there is no number
  if (arch.starts_with(prefix))
    (void)std::from_chars(arch.data() + prefix.size(), arch.data() + arch.size(), capability);
  return capability / 10;
}

} // namespace moec
