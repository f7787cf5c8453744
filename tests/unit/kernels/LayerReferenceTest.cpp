// Kernels are verified, on hardware and emulated, against bench::referenceLayer; this is what makes that the dialect's
// meaning too (ir/reference).
#include "ir/reference/Ops.h"
#include "runtime/weights/Convert.h"
#include "tests/unit/Catch.h"
#include "tools/bench/gpu/Fp8Reference.h"
#include "tools/bench/gpu/Reference.h"
#include "tools/bench/gpu/Routing.h"

#include <cmath>

using namespace moec;
using reference::Tensor;

namespace {

double siluGate(double gate, double up) { return gate / (1 + std::exp(-gate)) * up; }

Tensor tensorOf(reference::Shape shape, const std::vector<uint16_t> &elements, bool bf16) {
  Tensor tensor{std::move(shape), {}};
  for (uint16_t bits : elements)
    tensor.values.push_back(bench::elementValue(bits, bf16));
  return tensor;
}

bench::LayerInputs drawLayer(const bench::Shape &shape, bool bf16, std::mt19937_64 &random) {
  const auto [T, H, I, E, K] = shape;
  const auto draw = [&](size_t count, double scale) { return bench::drawElements(count, scale, bf16, random); };
  bench::LayerInputs in{.shape = shape,
                        .bf16 = bf16,
                        .hidden = draw(size_t{T} * H, 1),
                        .gate = draw(size_t{E} * I * H, 1),
                        .up = draw(size_t{E} * I * H, 1),
                        .down = draw(size_t{E} * H * I, 1),
                        .ids = bench::drawIds(T, E, K, 0.7, random),
                        .weights = bench::drawWeights(T, K, random)};
  for (size_t pair = 0; pair < in.ids.size(); pair += 5)
    in.ids[pair] = -1;
  return in;
}

/// Inputs that the reference of the dialect takes.
struct Operands {
  Tensor hidden, gate, up, down, weights;
  reference::IdTensor ids;

  explicit Operands(const bench::LayerInputs &in) {
    const int64_t T = in.shape.tokens, H = in.shape.hidden, I = in.shape.intermediate, E = in.shape.experts,
                  K = in.shape.topK;
    hidden = tensorOf({T, H}, in.hidden, in.bf16);
    gate = tensorOf({E, I, H}, in.gate, in.bf16);
    up = tensorOf({E, I, H}, in.up, in.bf16);
    down = tensorOf({E, H, I}, in.down, in.bf16);
    weights = {{T, K}, {in.weights.begin(), in.weights.end()}};
    ids = {{T, K}, in.ids};
  }
};

/// The two add in different orders; both are float64.
void checkSame(const std::vector<double> &have, const std::vector<double> &want) {
  REQUIRE(have.size() == want.size());
  double largest = 0;
  for (double value : want)
    largest = std::max(largest, std::abs(value));
  REQUIRE(largest > 0);
  for (size_t i = 0; i < want.size(); ++i) {
    CAPTURE(i);
    CHECK(std::abs(have[i] - want[i]) <= 1e-13 * largest);
  }
}

} // namespace

TEST_CASE("the reference of GPU kernels computes what the dialect's does", "[kernels][reference]") {
  std::mt19937_64 random(23);
  const bench::Shape shapes[] = {{1, 8, 3, 2, 1}, {17, 12, 7, 5, 2}, {9, 5, 16, 8, 4}, {40, 6, 4, 3, 3}};
  for (const bench::Shape &shape : shapes)
    for (const auto [bf16, weightOnInput] : {std::pair(true, false), std::pair(false, false), std::pair(true, true)}) {
      CAPTURE(shape.tokens, bf16, weightOnInput);
      bench::LayerInputs in = drawLayer(shape, bf16, random);
      in.weightOnInput = weightOnInput;
      if (shape.tokens == 1)
        in.ids[0] = 1; // not padding alone
      const Operands operands(in);
      const auto expected = reference::groupedFfn(
          operands.hidden, operands.ids, operands.weights, {operands.gate, operands.up, operands.down}, nullptr,
          siluGate, weightOnInput ? reference::WeightOn::Input : reference::WeightOn::Output);
      REQUIRE(expected.ok());
      const bench::ReferenceSlots slots = bench::referenceSlots(in.ids, shape.experts);
      checkSame(bench::referenceLayer(in, slots).output, expected->output.values);
      for (uint32_t e = 0; e < shape.experts; ++e)
        CHECK(slots.expertBegin[e + 1] - slots.expertBegin[e] == expected->counts.values[e]);
    }
}

TEST_CASE("the reference of e4m3 kernels computes what the dialect's does of rows in e4m3",
          "[kernels][reference][fp8]") {
  std::mt19937_64 random(31);
  constexpr uint32_t T = 9, H = 272, I = 144, E = 4, K = 2; // two and three blocks of scales
  const bench::LayerInputs in = drawLayer({T, H, I, E, K}, true, random);
  const bench::Fp8Weights gate = bench::drawFp8Weights(E, I, H, 0.1, random),
                          up = bench::drawFp8Weights(E, I, H, 0.1, random),
                          down = bench::drawFp8Weights(E, H, I, 0.1, random);
  const auto tensor = [](const bench::Fp8Weights &weights) {
    Tensor all{{E, weights.rows, weights.columns}, {}};
    for (uint32_t expert = 0; expert < E; ++expert)
      for (uint32_t row = 0; row < weights.rows; ++row)
        for (uint32_t column = 0; column < weights.columns; ++column)
          all.values.push_back(weights.at(expert, row, column));
    return all;
  };
  const auto bf16 = [](std::span<const double> values) {
    std::vector<uint16_t> rounded;
    for (double value : values)
      rounded.push_back(f32ToBf16(static_cast<float>(value)));
    return rounded;
  };
  const Tensor gateTensor = tensor(gate), upTensor = tensor(up), downTensor = tensor(down);
  const std::function<void(std::span<double>)> quantise = [&](std::span<double> row) {
    const bench::Fp8Rows rows = bench::quantiseRows(bf16(row), static_cast<uint32_t>(row.size()), true);
    for (uint32_t column = 0; column < row.size(); ++column)
      row[column] = rows.at(0, column);
  };
  const Operands operands(in);
  const auto expected = reference::groupedFfn(
      operands.hidden, operands.ids, operands.weights,
      {.gate = gateTensor, .up = upTensor, .down = downTensor, .roundRow = &quantise}, nullptr, siluGate);
  REQUIRE(expected.ok());

  const bench::ReferenceSlots slots = bench::referenceSlots(in.ids, E);
  const bench::Fp8Rows rows = bench::gatherRows(bench::quantiseRows(in.hidden, H, true), slots.slotPair, K);
  const std::vector<double> activated = bench::referenceFp8Activated(rows, gate, up, slots.expertBegin);
  const bench::Fp8Rows quantised = bench::quantiseRows(bf16(activated), I, true);
  checkSame(bench::referenceFp8Combined(quantised, down, slots, in.weights, K), expected->output.values);
}

TEST_CASE("the reference of GPU kernels adds a shared expert as the dialect's does", "[kernels][reference]") {
  std::mt19937_64 random(29);
  const bench::LayerInputs in = drawLayer({7, 10, 6, 4, 2}, true, random);
  const int64_t T = 7, H = 10, I = 9; // the shared expert's own I
  const auto gate = bench::drawElements(90, 1, true, random), up = bench::drawElements(90, 1, true, random),
             down = bench::drawElements(90, 1, true, random), router = bench::drawElements(10, 1, true, random);
  const Tensor hidden = tensorOf({T, H}, in.hidden, true), gateTensor = tensorOf({I, H}, gate, true),
               upTensor = tensorOf({I, H}, up, true), downTensor = tensorOf({H, I}, down, true),
               routerTensor = tensorOf({1, H}, router, true);
  const auto expected = reference::sharedFfn(hidden, {gateTensor, upTensor, downTensor}, &routerTensor, siluGate);
  REQUIRE(expected.ok());
  std::vector<double> sigmoid = bench::referenceLogits(in, routerTensor.values), output(70, 0.0);
  for (double &value : sigmoid)
    value = 1 / (1 + std::exp(-value));
  bench::addReferenceShared(in, gate, up, down, sigmoid, output);
  checkSame(output, expected->values);
}
