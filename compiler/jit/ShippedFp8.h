// The kernels that we ship for layers with e4m3 weights (compiler/kernels/Fp8Abi.h).
#pragma once

#include "compiler/jit/ShippedKernels.h"
#include "compiler/kernels/Fp8Abi.h"

namespace moec {

/// The classes of groupedGemmFp8 (compiler/core/CudaTiles.h) with bf16 outputs, in all their forms, for few rows first.
std::vector<GemmConfig> shippedFp8Gemms(GemmRole role);

ShippedKernel shippedFp8Gemm(const GemmConfig &config);
ShippedKernel shippedQuantise(const QuantiseConfig &config);

/// All of the above. They need sm_90a.
std::vector<ShippedKernel> shippedFp8Kernels();

/// downFewFp8 for so many experts a token, with so many groups of columns a block (downFewFp8Groups()).
ShippedKernel shippedDownFewFp8(uint32_t topK, uint32_t groups = 1);

/// gateUpFewFp8 with bf16 outputs and SiLU.
ShippedKernel shippedGateUpFewFp8();

} // namespace moec
