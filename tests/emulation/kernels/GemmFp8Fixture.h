// One launch of groupedGemmFp8, checked against sums in float64 of the same quantised values.
// Include its .cuh first.
#pragma once

#include "tests/emulation/kernels/GemmFittedFixture.h"
#include "tools/bench/gpu/Fp8Reference.h"

namespace moec::emulation {

constexpr GemmConfig fp8Config(GemmRole role, uint32_t tokens, uint32_t weights, uint32_t tileK, uint32_t stages,
                               uint32_t groups, uint32_t blocksPerSm) {
  return fittedConfig(Element::BF16, role, tokens, weights, tileK, stages, groups, blocksPerSm);
}

/// Token rows on the 64-row side.
constexpr GemmConfig inRows(GemmConfig config) {
  config.swapAB = false;
  return config;
}

/// Sums are multiples of 16 long, columns multiples of 8, and of nothing else.
inline std::vector<GemmCase> fp8Cases() {
  return {{"one token", 1, 80, 40, 4, 2, GemmCase::Drawn, true, false},
          {"odd sizes", 21, 272, 200, 4, 2, GemmCase::Drawn, true, true},
          {"idle experts", 13, 208, 72, 8, 2, GemmCase::IdleExperts, true, true},
          {"all pairs to one expert", 70, 400, 136, 4, 1, GemmCase::OneExpert, true, false},
          {"padding", 30, 128, 88, 4, 2, GemmCase::Padded, true, false},
          {"padding alone", 3, 64, 64, 4, 2, GemmCase::PaddingAlone, true, false}};
}

struct Fp8Problem {
  GemmCase test;
  GemmRole role;
  bench::ReferenceSlots slots;
  bench::Fp8Rows rows;           // by slot
  bench::Fp8Weights weights, up; // gate or down; gate-up: up
  std::vector<double> expected;  // [numSlots, n]
};

inline Fp8Problem makeFp8Problem(const GemmCase &test, GemmRole role) {
  std::mt19937_64 random(test.tokens * 7919 + test.k);
  Fp8Problem p{.test = test, .role = role, .slots = {}, .rows = {}, .weights = {}, .up = {}, .expected = {}};
  p.slots = bench::referenceSlots(drawCaseIds(test, random), test.experts);
  p.rows = bench::quantiseRows(bench::drawElements(p.slots.slotPair.size() * test.k, 1, true, random), test.k, true);
  const double scale = 1 / std::sqrt(test.k);
  p.weights = bench::drawFp8Weights(test.experts, test.n, test.k, scale, random);
  p.expected = bench::referenceFp8Product(p.rows, p.weights, p.slots.expertBegin);
  if (role == GemmRole::Down)
    return p;
  p.up = bench::drawFp8Weights(test.experts, test.n, test.k, scale, random);
  const std::vector<double> up = bench::referenceFp8Product(p.rows, p.up, p.slots.expertBegin);
  for (size_t i = 0; i < up.size(); ++i)
    p.expected[i] = p.expected[i] / (1 + std::exp(-p.expected[i])) * up[i];
  return p;
}

/// An expert's gate and up rows one after the other.
inline std::vector<uint8_t> fusedElements(const Fp8Problem &p) {
  const auto matrix = static_cast<std::ptrdiff_t>(size_t{p.test.n} * p.test.k);
  std::vector<uint8_t> fused;
  for (uint32_t expert = 0; expert < p.test.experts; ++expert)
    for (const bench::Fp8Weights *from : {&p.weights, &p.up})
      fused.insert(fused.end(), from->elements.begin() + expert * matrix,
                   from->elements.begin() + (expert + 1) * matrix);
  return fused;
}

/// Maps of gate and up, or of down.
inline TensorMap fp8WeightMap(const GemmConfig &c, const void *weights, const GemmCase &test) {
  const uint64_t matrix = uint64_t{test.n} * test.k / 2; // in pairs of elements
  if (c.role == GemmRole::Down)
    return tensorMap<TensorMap>(
        inBytes(weightTensor(Element::BF16, addressOf(weights), test.k / 2, test.n, test.experts, matrix, boxRows(c))));
  return tensorMap<TensorMap>(
      inBytes(interleavedTensor(Element::BF16, addressOf(weights), addressOf(weights) + matrix * 2, test.k / 2, test.n,
                                test.experts, matrix * 2, boxGroups(c))));
}

template <GemmConfig C> std::string runFp8(const Fp8Problem &p, uint64_t seed, uint32_t blocks) {
  constexpr bool gated = C.role == GemmRole::GateUp;
  DeviceMemory device;
  // Of two-byte elements nothing but the tables and what comes out.
  const GemmProblem tables{.test = p.test,
                           .slots = p.slots,
                           .tokens = {0},
                           .weights = {0},
                           .up = {},
                           .bias = {},
                           .upBias = {},
                           .expected = p.expected,
                           .expertStride = 0,
                           .bf16 = true};
  Fp8GemmArgs args{};
  args.gemm = gemmArgs(device, tables, C.tileTokens);
  args.gemm.tileCounter = device.output(std::vector<uint32_t>{0});
  settleTables(device, args.gemm);
  args.tokenScales = device.input(p.rows.scales);
  args.tokenScaleStride = static_cast<uint32_t>(p.rows.stride);
  args.weightScales = device.constant(p.weights.scales);
  args.upWeightScales = gated ? device.constant(p.up.scales) : nullptr;
  args.expertScaleStride = int64_t{p.weights.rowBlocks()} * p.weights.columnBlocks();
  const uint32_t rows = mappedRows(p.slots);
  const TensorMap weights = fp8WeightMap(C, device.constant(gated ? fusedElements(p) : p.weights.elements), p.test);
  const TensorMap tokens = tensorMap<TensorMap>(
      inBytes(rowTensor(Element::BF16, addressOf(device.input(p.rows.elements)), p.test.k / 2, rows, tokenBoxRows(C))));
  const TensorMap output = rowMap(args.gemm.output, p.test.n, rows, kOutputBoxRows);
  return launchRing<C>(device, tables, args.gemm, fp8SharedBytes(C), blocks, seed,
                       [&] { groupedGemmFp8<C, ActivationOf<C>>(weights, tokens, output, args); });
}

} // namespace moec::emulation
