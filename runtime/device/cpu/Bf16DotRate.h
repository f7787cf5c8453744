// Whether this core's bf16 dot product beats two f32 multiply-adds on widened operands.
#pragma once

namespace moec {

/// Times both on sums in registers, some 200 us. Only where the CPU has AVX-512 BF16; false elsewhere.
bool bf16DotIsFaster();

} // namespace moec
