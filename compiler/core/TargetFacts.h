// What a target can do, in numbers: all that planning and code generation may know of it.
#pragma once

#include "compiler/core/LayerShape.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace moec {

/// The vector extension that CPU code is generated for, each including the ones before it.
enum class CpuIsa : uint8_t { Avx2, Avx512, Avx512Bf16 };
const char *isaName(CpuIsa isa); // "avx2", "avx512", "avx512bf16"

/// Where kernels run.
enum class DeviceKind : uint8_t { Cpu, Cuda };
const char *deviceName(DeviceKind device); // "cpu", "cuda"

/// What a GPU can do, by its maker's data sheet or by measurement.
struct GpuFacts {
  std::string model; // "H100", or what the driver calls the device
  uint32_t multiprocessors = 0;
  uint32_t sharedBytesPerBlock = 0; // dynamic shared memory that a block may ask for
  uint64_t l2Bytes = 0;
  double memoryBytesPerNs = 0; // device memory, GB/s
  double matrixFlopsPerNs = 0; // dense bf16 with f32 sums, GFLOP/s

  bool operator==(const GpuFacts &) const = default;
};

struct TargetFacts {
  DeviceKind device = DeviceKind::Cpu;
  std::string name = "cpu"; // as --target takes it: "cpu", "cpu-avx2", "cpu-avx512bf16", "sm_90a", "h200"
  CpuIsa isa = CpuIsa::Avx2;
  uint32_t threads = 1;        // threads that a step uses
  uint64_t l2Bytes = 1u << 20; // per core
  GpuFacts gpu;                // where `device` is Cuda; the CPU's fields have no meaning then

  /// The architecture that CUDA kernels are compiled for, "sm_90a"; empty on a CPU.
  std::string arch;

  /// f32 lanes of one vector register.
  uint32_t lanes() const { return isa == CpuIsa::Avx2 ? 8 : 16; }
  /// Most rows of a register tile of two vectors: sums, weights (as stored and widened, where the ISA has no bf16 dot
  /// product) and a broadcast fit the registers.
  uint32_t maxTileRows() const { return isa == CpuIsa::Avx2 ? 5 : isa == CpuIsa::Avx512 ? 13 : 14; }

  bool operator==(const TargetFacts &) const = default;
};

/// The facts behind a `--target` name, with this machine's features where the name is "cpu".
/// Errors: InvalidArgument for an unknown name; DeviceMissing where "cpu" lacks AVX2.
Result<TargetFacts> targetByName(const std::string &name, const TargetFacts &thisMachine);

/// The compute capability's first number: 9 of "sm_90a", 12 of "sm_120"; 0 of a CPU's empty one.
uint32_t computeMajor(std::string_view arch);

} // namespace moec
