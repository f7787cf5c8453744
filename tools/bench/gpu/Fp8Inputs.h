// What a measured layer of e4m3 weights reads: tokens and routings as others (Inputs.h), and the weights below. Pure
// functions too, and handed to rivals in the same way.
#pragma once

#include "tools/bench/gpu/Fp8Reference.h"
#include "tools/bench/gpu/Inputs.h"

namespace moec::bench {

/// As inputPeriod, of the scales.
constexpr size_t inputScalePeriod = 4093;

/// A block of e4m3 codes of GateUp or Down, inputPeriod of them, as Fp8Weights has them: normal, the largest near 448.
std::vector<uint8_t> inputCodes(InputTensor tensor);
/// A block of their scales, which are [E, 2I / 128, H / 128] and [E, H / 128, I / 128]: weights have a deviation of
/// about 0.02, and blocks of 128 by 128 differ by up to four in it.
std::vector<float> inputScales(InputTensor tensor);

/// Writes the blocks into `folder`: hidden.bf16; gate-up.e4m3 and down.e4m3; gate-up.scales and down.scales, f32.
Status writeFp8Blocks(const std::string &folder);

/// A problem's first routing on the host, by the rules of moec's kernels.
struct Fp8Output {
  Fp8Rows tokens;             // [T, H]
  std::vector<double> output; // [T, H], of both products in float64
};
/// For small shapes; H and I are multiples of 128.
Fp8Output referenceFp8Output(const ModelShape &model, uint32_t tokens, const Routings &routings);

/// Writes that: SHAPE-T-SKEW.f64, the output; .codes [T, H], the tokens' e4m3, and .scales [H / 128, T rounded up to
/// 4], f32.
Status writeFp8Reference(const std::string &folder, const ModelShape &model, uint32_t tokens, double skew,
                         const Routings &routings);

} // namespace moec::bench
