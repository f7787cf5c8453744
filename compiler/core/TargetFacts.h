// What a target can do, in numbers: all that planning and code generation may know of it.
#pragma once

#include "compiler/core/LayerShape.h"

#include <cstdint>
#include <string>

namespace moec {

/// The vector extension that CPU code is generated for, each including the ones before it.
enum class CpuIsa : uint8_t { Avx2, Avx512, Avx512Bf16 };
const char *isaName(CpuIsa isa); // "avx2", "avx512", "avx512bf16"

struct TargetFacts {
  std::string name = "cpu"; // as --target takes it: "cpu", "cpu-avx2", "cpu-avx512", "cpu-avx512bf16"
  CpuIsa isa = CpuIsa::Avx2;
  uint32_t threads = 1;        // threads that a step uses
  uint64_t l2Bytes = 1u << 20; // per core

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

} // namespace moec
