// The compile-time choices of a layer's kernels. A config is what codegen instantiates, what the cache key
// contains and what a trace shows.
#pragma once

#include "compiler/core/LayerShape.h"
#include "compiler/core/TargetFacts.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace moec {

/// Kernels of one layer on a CPU.
///
/// The GEMMs run over panels of two vectors of output columns (`2 * lanes`), K pairs of weights interleaved, and over
/// tiles of `tileRows[i]` rows; each height is a kernel of its own. All heights sum each output element in the
/// same order, so the choice of heights never changes a bit of a result.
struct CpuConfig {
  CpuIsa isa = CpuIsa::Avx2;
  DType compute = DType::BF16;    // F32 or BF16: what packed weights are kept in (F16 checkpoints: F32)
  std::vector<uint16_t> tileRows; // descending, unique; the first is the tallest

  /// What the rows of activations between the GEMMs are kept in. Without a bf16 dot product, bf16 weights are widened
  /// in registers and meet f32 rows: half the bytes of f32 weights, at the full rate of f32 multiply-adds.
  DType rowDType() const { return isa == CpuIsa::Avx512Bf16 ? compute : DType::F32; }

  /// Canonical text, e.g. "cpu{isa=avx512bf16,compute=bf16,rows=14.8.4.2.1}".
  std::string text() const;
  bool operator==(const CpuConfig &) const = default;
};

/// Which grouped GEMM kernels (compiler/kernels): `mma.sync` from sm_80 on, or `wgmma` and TMA on sm_90a. Fitted is the
/// second with tiles as wide as an expert's rows (groupedGemmFitted.cuh), Fp8 the same for e4m3 weights and tokens
/// (groupedGemmFp8.cuh); neither has a dense form for shared experts.
enum class GemmFamily : uint8_t { Portable, Hopper, Fitted, Fp8 };

/// The tile class of a grouped GEMM on a GPU: what a block multiplies at a time, and how. Fields as those of the
/// kernels' GemmConfig (compiler/kernels/KernelAbi.h).
struct CudaTile {
  GemmFamily family = GemmFamily::Portable;
  bool swapAB = false; // Hopper, Fp8: weights on the 64-row side of the instruction, tokens on the other
  uint16_t tokens = 16;
  uint16_t weights = 128; // gate-up: half of them gate, half up
  uint16_t stages = 5;
  uint16_t warpsTokens = 1;  // Hopper, Fitted, Fp8: multiplying warpgroups
  uint16_t warpsWeights = 4; // Fitted: how many kCudaTileK of the sum a stage has; Fp8: how many kFp8Block (Fp8Abi.h)
  uint16_t blocksPerSm = 2;

  /// Canonical text: family, tokens x weights, stages, warps, blocks; e.g. "portable-16x128-s5-w1x4-b2",
  /// "hopper-128x256-s4-w2x1-b1", "swapped-16x128-s12-w1x1-b1", "fitted-192x256-s4-w2x1-b1",
  /// "fp8-16x64-s5-w1x2-b2" (swapAB), "fp8rows-128x256-s4-w2x1-b1" (token rows on the 64-row side).
  std::string text() const;
  /// The tile that `text` gave. Errors: InvalidArgument.
  static Result<CudaTile> parse(const std::string &text);
  bool operator==(const CudaTile &) const = default;
};

/// Kernels of one layer on a GPU. Every tile class sums over K in ascending order, 16 elements at a time.
struct CudaConfig {
  DType element = DType::BF16; // BF16 or F16: tokens, weights (Fp8: e4m3) and output; sums are f32
  CudaTile gateUp, down;
  CudaTile sharedGateUp, sharedDown; // for all tokens of a step; of no meaning where the layer has no shared expert, or
                                     // it joins the routed ones (JoinedShared.h)

  /// Canonical text, e.g. "cuda{element=bf16,gate_up=hopper-128x256-s4-w2x1-b1,down=...,shared_gate_up=...,...}".
  std::string text() const;
  bool operator==(const CudaConfig &) const = default;
};

/// Kernels of one layer: those of the device that the plan is for.
struct LayerConfig {
  DeviceKind device = DeviceKind::Cpu;
  CpuConfig cpu;   // of meaning where `device` is Cpu
  CudaConfig cuda; // of meaning where `device` is Cuda

  LayerConfig() = default;
  LayerConfig(CpuConfig config) : cpu(std::move(config)) {}
  LayerConfig(CudaConfig config) : device(DeviceKind::Cuda), cuda(std::move(config)) {}

  std::string text() const { return device == DeviceKind::Cpu ? cpu.text() : cuda.text(); }
  bool operator==(const LayerConfig &) const = default;
};

/// Elements between two rows of an activation buffer with `columns` columns: a whole number of cache lines
/// and an odd one, so that the rows of a tile do not fall into the same cache sets.
uint32_t paddedStride(uint32_t columns, DType dtype);

/// Bytes of one packed panel: K (rounded up to a pair) times two vectors of columns; `biased`: then those columns'
/// biases.
uint64_t panelBytes(uint32_t k, uint32_t lanes, DType compute, bool biased = false);

} // namespace moec
