#include "compiler/jit/ShippedFp8.h"

namespace moec {
namespace {

struct Fp8Tile {
  uint32_t tokens, weights, k, stages, groups, blocksPerSm;
  bool weightsInRows = true; // on the 64-row side of wgmma
};

/// 16 rows: all of shared memory in flight, by two blocks or, for very few rows, one with long stages. Beyond, two
/// warpgroups, of which one adds up products while the other multiplies. From some 500 rows on: token rows on the
/// 64-row side, where adding up costs half. Best where (H100): docs/performance-log.md.
constexpr Fp8Tile tiles[] = {
    {16, 64, 256, 5, 1, 2},   {16, 64, 512, 5, 1, 1},          {96, 256, 128, 4, 2, 1},
    {192, 128, 128, 5, 2, 1}, {256, 128, 128, 4, 2, 1, false},
};

} // namespace

std::vector<GemmConfig> shippedFp8Gemms(GemmRole role) {
  std::vector<GemmConfig> configs;
  for (const Fp8Tile &tile : tiles)
    configs.push_back({.element = Element::BF16,
                       .role = role,
                       .tileTokens = tile.tokens,
                       .tileWeights = tile.weights,
                       .tileK = tile.k,
                       .stages = tile.stages,
                       .warpsTokens = tile.groups,
                       .warpsWeights = 1,
                       .swapAB = tile.weightsInRows,
                       .blocksPerSm = tile.blocksPerSm,
                       .dense = false});
  return configs;
}

ShippedKernel shippedFp8Gemm(const GemmConfig &c) {
  const bool gated = c.role == GemmRole::GateUp;
  return {fmt::format("fp8-{}-{}x{}-s{}-b{}-k{}{}", gated ? "gateup" : "down", c.tileTokens, c.tileWeights, c.stages,
                      c.blocksPerSm, c.tileK, c.swapAB ? "" : "-rows"),
          {.files = {KernelFile::GroupedGemmFp8},
           .functors = {},
           .kernels = {gemmFp8Kernel(c, gated ? "SiluGate" : "NoActivation")}}};
}

QuantiseConfig shippedQuantiseConfig(Element element) { return {.element = element, .threads = 256}; }

ShippedKernel shippedQuantise(const QuantiseConfig &c) {
  return {fmt::format("quantise-{}", c.element == Element::BF16 ? "bf16" : "f16"),
          {.files = {KernelFile::Quantise}, .functors = {}, .kernels = {quantiseKernel(c)}}};
}

std::vector<ShippedKernel> shippedFp8Kernels() {
  std::vector<ShippedKernel> all = {shippedQuantise(shippedQuantiseConfig(Element::BF16))};
  for (GemmRole role : {GemmRole::GateUp, GemmRole::Down})
    for (const GemmConfig &config : shippedFp8Gemms(role))
      all.push_back(shippedFp8Gemm(config));
  return all;
}

} // namespace moec
