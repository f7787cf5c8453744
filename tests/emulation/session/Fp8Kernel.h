// Products of e4m3 as kernels of the emulated driver, and their weights.
#pragma once

#include "compiler/kernels/groupedGemmFp8.cuh"
#include "tests/emulation/session/EmulatedDriver.h"
#include "tools/bench/gpu/Fp8Reference.h"

#include <type_traits>

namespace moec::emulation {

template <GemmConfig C> const Kernel &fp8Kernel() {
  using Activation = std::conditional_t<C.role == GemmRole::GateUp, SiluGate, NoActivation>;
  static const Kernel kernel = [](const CUlaunchConfig &launch, void **parameters) {
    const TensorMap weights = argument<TensorMap>(parameters, 0), tokens = argument<TensorMap>(parameters, 1),
                    output = argument<TensorMap>(parameters, 2);
    const Fp8GemmArgs args = argument<Fp8GemmArgs>(parameters, 3);
    runKernel(launch, unaligned, true, [&] { groupedGemmFp8<C, Activation>(weights, tokens, output, args); });
  };
  return kernel;
}

/// `Combines`: GemmConfig's.
template <CudaTile Tile, GemmRole Role, bool Combines = false> CudaProduct fp8Product(uint32_t k, uint32_t n) {
  constexpr GemmConfig plain = gemmConfigOf(Tile, DType::BF16, Role, false);
  constexpr GemmConfig config = Combines ? combining(plain) : plain;
  CudaProduct product = loadedProduct(fp8Kernel<config>(), Tile, config, k, n);
  if constexpr (hasQuantisingForm(Tile))
    product.quantising = loaded(fp8Kernel<quantising(config)>(), product.kernel.threads, product.kernel.sharedBytes);
  return product;
}

/// The experts' weights; gate's and up's in one allocation, as a session's.
inline CudaWeights weightsOn(emulation::DeviceMemory &memory, const bench::Fp8Weights &gate,
                             const bench::Fp8Weights &up, const bench::Fp8Weights &down) {
  std::vector<uint8_t> gateThenUp = gate.elements;
  gateThenUp.insert(gateThenUp.end(), up.elements.begin(), up.elements.end());
  CudaWeights weights;
  weights.gate = addressOf(memory.constant(gateThenUp));
  weights.up = weights.gate + gate.elements.size();
  weights.down = addressOf(memory.constant(down.elements));
  weights.gateScales = addressOf(memory.constant(gate.scales));
  weights.upScales = addressOf(memory.constant(up.scales));
  weights.downScales = addressOf(memory.constant(down.scales));
  return weights;
}

} // namespace moec::emulation
