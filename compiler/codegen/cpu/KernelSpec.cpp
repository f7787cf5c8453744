#include "compiler/codegen/cpu/KernelSpec.h"

#include <fmt/format.h>

#include <algorithm>

namespace moec::codegen {

static const char *roleName(CpuRole role) {
  switch (role) {
  case CpuRole::GateUp: return "gate_up";
  case CpuRole::Down: return "down";
  case CpuRole::Router: return "router";
  }
  return "unknown";
}

std::string symbolOf(const TileKernelSpec &spec) {
  std::string name = fmt::format("moec_{}_k{}_r{}{}{}", roleName(spec.role), spec.k, spec.rows,
                                 spec.weighted ? "_weighted" : "", spec.biased ? "_bias" : "");
  return spec.activationIndex ? fmt::format("{}_a{}", name, spec.activationIndex) : name;
}

std::string symbolOf(const PackKernelSpec &spec) { return fmt::format("moec_pack_k{}", spec.k); }

uint32_t panelsPerIteration(uint16_t rows, const CpuConfig &config) {
  // A panel needs two sums a row, two vectors of weights, and two more where those are widened; one register is for the
  // row's entry. More than four panels bring nothing: eight sums in flight hide the latency.
  uint32_t registers = config.isa == CpuIsa::Avx2 ? 16 : 32;
  bool widened = config.compute == DType::BF16 && config.rowDType() != DType::BF16;
  return std::clamp<uint32_t>((registers - 1) / (2u * rows + (widened ? 4 : 2)), 1, 4);
}

} // namespace moec::codegen
