#include "compiler/jit/ShippedFp8.h"

#include "compiler/core/CudaLaunch.h"

namespace moec {

std::vector<GemmConfig> shippedFp8Gemms(GemmRole role) {
  std::vector<GemmConfig> configs;
  for (const CudaTile &tile : e4m3TileClasses()) {
    configs.push_back(gemmConfigOf(tile, DType::BF16, role, false));
    if (hasQuantisingForm(tile))
      configs.push_back(quantising(configs.back()));
  }
  return configs;
}

ShippedKernel shippedFp8Gemm(const GemmConfig &c) {
  const bool gated = c.role == GemmRole::GateUp;
  return {fmt::format("fp8-{}-{}x{}-s{}-b{}-k{}{}{}{}", gated ? "gateup" : "down", c.tileTokens, c.tileWeights,
                      c.stages, c.blocksPerSm, c.tileK, c.swapAB ? "" : "-rows", c.quantises ? "-few" : "",
                      c.combines ? "-combining" : ""),
          {.files = {KernelFile::GroupedGemmFp8},
           .functors = {},
           .kernels = {gemmFp8Kernel(c, gated ? "SiluGate" : "NoActivation")}}};
}

ShippedKernel shippedQuantise(const QuantiseConfig &c) {
  return {fmt::format("quantise-{}{}", c.element == Element::BF16 ? "bf16" : "f16", c.joined ? "-joined" : ""),
          {.files = {KernelFile::Quantise}, .functors = {}, .kernels = {quantiseKernel(c)}}};
}

ShippedKernel shippedDownFewFp8(uint32_t topK, uint32_t groups) {
  return {fmt::format("downfew-fp8-k{}{}", topK, groups > 1 ? fmt::format("-g{}", groups) : ""),
          {.files = {KernelFile::DownFewFp8},
           .functors = {},
           .kernels = {downFewFp8Kernel({.element = Element::BF16, .topK = topK, .groups = groups})}}};
}

ShippedKernel shippedGateUpFewFp8() {
  return {"gateupfew-fp8",
          {.files = {KernelFile::GateUpFewFp8},
           .functors = {},
           .kernels = {gateUpFewFp8Kernel({.element = Element::BF16}, "SiluGate")}}};
}

std::vector<ShippedKernel> shippedFp8Kernels() {
  std::vector<ShippedKernel> all = {shippedGateUpFewFp8(), shippedQuantise(quantiseConfigOf(DType::BF16)),
                                    shippedQuantise(quantiseConfigOf(DType::BF16, true))};
  for (GemmRole role : {GemmRole::GateUp, GemmRole::Down})
    for (const GemmConfig &config : shippedFp8Gemms(role)) {
      all.push_back(shippedFp8Gemm(config));
      if (role == GemmRole::Down)
        all.push_back(shippedFp8Gemm(combining(config)));
    }
  return all;
}

} // namespace moec
