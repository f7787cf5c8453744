// One launch of groupedGemmFp8, checked against sums in float64 of the same quantised values.
// Include its .cuh first.
#pragma once

#include "compiler/core/CudaLaunch.h"
#include "tests/emulation/kernels/GemmFittedFixture.h"
#include "tests/emulation/kernels/QuantisedRows.h"
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
  std::vector<uint16_t> tokens;  // bf16, [T, k]; down: by slot
  bench::Fp8Rows rows;           // the same quantised, by slot
  bench::Fp8Weights weights, up; // gate or down; gate-up: up
  std::vector<double> expected;  // [numSlots, n]
};

inline Fp8Problem makeFp8Problem(const GemmCase &test, GemmRole role) {
  std::mt19937_64 random(test.tokens * 7919 + test.k);
  Fp8Problem p{
      .test = test, .role = role, .slots = {}, .tokens = {}, .rows = {}, .weights = {}, .up = {}, .expected = {}};
  p.slots = bench::referenceSlots(drawCaseIds(test, random), test.experts);
  const bool gathers = role == GemmRole::GateUp;
  p.tokens = bench::drawElements((gathers ? test.tokens : p.slots.slotPair.size()) * test.k, 1, true, random);
  p.rows = bench::quantiseRows(p.tokens, test.k, true);
  if (gathers)
    p.rows = bench::gatherRows(p.rows, p.slots.slotPair, test.topK);
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

/// What a launch of groupedGemmFp8 takes but where it leaves its outputs.
template <GemmConfig C> struct Fp8Launch {
  const Fp8Problem &p;
  DeviceMemory device;
  GemmProblem tables; // of two-byte elements nothing but these and what comes out
  Fp8GemmArgs args{};
  TensorMap weights, tokens;

  explicit Fp8Launch(const Fp8Problem &p)
      : p(p), tables{.test = p.test,
                     .slots = p.slots,
                     .tokens = C.quantises ? p.tokens : std::vector<uint16_t>{0},
                     .weights = {0},
                     .up = {},
                     .bias = {},
                     .upBias = {},
                     .expected = p.expected,
                     .expertStride = 0,
                     .bf16 = true} {
    constexpr bool gated = C.role == GemmRole::GateUp;
    args.gemm = gemmArgs(device, tables, C.tileTokens);
    args.gemm.tileCounters = device.output(std::vector<uint32_t>(kTileCounters));
    if (!(C.quantises && gated)) // who comes after dispatch waits for it
      settleTables(device, args.gemm);
    args.tokenScales = device.input(p.rows.scales);
    args.tokenScaleStride = static_cast<uint32_t>(p.rows.stride);
    args.weightScales = device.constant(p.weights.scales);
    args.upWeightScales = gated ? device.constant(p.up.scales) : nullptr;
    args.expertScaleStride = int64_t{p.weights.rowBlocks()} * p.weights.columnBlocks();
    weights = fp8WeightMap(C, device.constant(gated ? fusedElements(p) : p.weights.elements), p.test);
    tokens = tensorMap<TensorMap>(inBytes(
        rowTensor(Element::BF16, addressOf(device.input(p.rows.elements)), p.test.k / 2, numRows(), tokenBoxRows(C))));
  }

  uint32_t numRows() const { return mappedRows(p.slots); }
  std::function<void()> kernel(const TensorMap &output) const {
    return [this, &output] { groupedGemmFp8<C, ActivationOf<C>>(weights, tokens, output, args); };
  }
};

/// `bits`: gets the outputs, if not null.
template <GemmConfig C>
std::string runFp8(const Fp8Problem &p, uint64_t seed, uint32_t blocks, std::vector<uint16_t> *bits = nullptr) {
  static_assert(!givesQuantised(C));
  Fp8Launch<C> product(p);
  const TensorMap output = rowMap(product.args.gemm.output, p.test.n, product.numRows(), kOutputBoxRows);
  const std::string wrong = launchRing<C>(product.device, product.tables, product.args.gemm, fp8SharedBytes(C), blocks,
                                          seed, product.kernel(output));
  const auto *outputs = static_cast<const uint16_t *>(product.args.gemm.output);
  if (bits)
    bits->assign(outputs, outputs + p.expected.size());
  return wrong;
}

/// As runFp8, of gate-up that gives its rows quantised: they must be `expected`, bit for bit.
template <GemmConfig C>
std::string runQuantising(const Fp8Problem &p, const bench::Fp8Rows &expected, uint64_t seed, uint32_t blocks) {
  static_assert(givesQuantised(C));
  Fp8Launch<C> product(p);
  auto *rows = product.device.template output<uint8_t>(expected.elements.size() + 1);
  auto *scales = product.device.template output<float>((p.test.n + kFp8Block - 1) / kFp8Block * p.rows.stride + 1);
  product.args.gemm.output = rows;
  product.args.outputScales = scales;
  const TensorMap output = tensorMap<TensorMap>(
      inBytes(rowTensor(Element::BF16, addressOf(rows), p.test.n / 2, product.numRows(), kOutputBoxRows)));
  const LaunchShape shape{.blocks = blocks,
                          .threads = hopperThreads(C),
                          .sharedBytes = fp8SharedBytes(C),
                          .dynamicShared = unaligned,
                          .unwrittenRows = true};
  if (const auto failure = launch(product.device, shape, seed, product.kernel(output)))
    return failure->message;
  return leavesCounters(product.args.gemm.tileCounters) ? "a tile counter is not left as zero"
                                                        : rowsDifference(expected, rows, scales, p.rows.stride);
}

} // namespace moec::emulation
