#include "tools/bench/gpu/Fp8Reference.h"

#include "compiler/kernels/Fp8Abi.h"
#include "tools/bench/gpu/Routing.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace moec::bench {
namespace {

/// Magnitudes of the bits 0 .. 126, which ascend.
const std::array<float, 127> &magnitudes() {
  static const std::array<float, 127> all = [] {
    std::array<float, 127> values{};
    for (int bits = 0; bits < 127; ++bits)
      values[bits] = bits < 8 ? std::ldexp(float(bits), -9) : std::ldexp(1.0f + float(bits % 8) / 8, bits / 8 - 7);
    return values;
  }();
  return all;
}

float finiteOrNan(float value) { return std::isfinite(value) ? value : std::numeric_limits<float>::quiet_NaN(); }

} // namespace

float fp8Value(uint8_t bits) {
  if ((bits & 127) == 127)
    return std::numeric_limits<float>::quiet_NaN();
  return bits & 128 ? -magnitudes()[bits & 127] : magnitudes()[bits & 127];
}

uint8_t toFp8(float value) {
  if (std::isnan(value))
    return 0x7f;
  const auto &all = magnitudes();
  const float magnitude = std::abs(value);
  size_t above = static_cast<size_t>(std::lower_bound(all.begin(), all.end(), magnitude) - all.begin());
  above = std::min(above, all.size() - 1);
  size_t nearest = above;
  if (above > 0) {
    const double down = double{magnitude} - all[above - 1], up = double{all[above]} - magnitude;
    if (down < up || (down == up && above % 2 == 1))
      nearest = above - 1;
  }
  return static_cast<uint8_t>(nearest | (std::signbit(value) ? 128 : 0));
}

Fp8Rows quantiseRows(const std::vector<uint16_t> &rows, uint32_t columns, bool bf16) {
  const size_t count = rows.size() / columns;
  Fp8Rows quantised{.columns = columns, .stride = (count + 3) / 4 * 4, .elements = {}, .scales = {}};
  quantised.elements.resize(rows.size());
  quantised.scales.assign((columns + 127) / 128 * quantised.stride, 0);
  for (size_t row = 0; row < count; ++row)
    for (uint32_t first = 0; first < columns; first += kFp8Block) {
      const uint32_t last = std::min(columns, first + kFp8Block);
      float most = kFp8Least;
      for (uint32_t c = first; c < last; ++c)
        if (const float value = std::abs(elementValue(rows[row * columns + c], bf16)); std::isfinite(value))
          most = std::max(most, value);
      const float factor = kFp8Most / most;
      for (uint32_t c = first; c < last; ++c)
        quantised.elements[row * columns + c] =
            toFp8(finiteOrNan(elementValue(rows[row * columns + c], bf16)) * factor);
      quantised.scales[first / kFp8Block * quantised.stride + row] = most / kFp8Most;
    }
  return quantised;
}

Fp8Rows gatherRows(const Fp8Rows &rows, const std::vector<int32_t> &slotPair, uint32_t topK) {
  Fp8Rows gathered{.columns = rows.columns, .stride = (slotPair.size() + 3) / 4 * 4, .elements = {}, .scales = {}};
  const uint32_t blocks = (rows.columns + 127) / 128;
  gathered.scales.assign(blocks * gathered.stride, 0);
  for (size_t slot = 0; slot < slotPair.size(); ++slot) {
    const size_t row = static_cast<size_t>(slotPair[slot]) / topK;
    gathered.elements.insert(gathered.elements.end(),
                             rows.elements.begin() + static_cast<std::ptrdiff_t>(row * rows.columns),
                             rows.elements.begin() + static_cast<std::ptrdiff_t>((row + 1) * rows.columns));
    for (uint32_t block = 0; block < blocks; ++block)
      gathered.scales[block * gathered.stride + slot] = rows.scales[block * rows.stride + row];
  }
  return gathered;
}

Fp8Weights drawFp8Weights(uint32_t matrices, uint32_t rows, uint32_t columns, double scale, std::mt19937_64 &random) {
  Fp8Weights weights{.rows = rows, .columns = columns, .elements = {}, .scales = {}};
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<float> spread(0.5f, 2.0f);
  weights.elements.resize(size_t{matrices} * rows * columns);
  for (uint8_t &element : weights.elements)
    element = toFp8(normal(random) * 100); // 448 is 4.5 deviations
  weights.scales.resize(size_t{matrices} * weights.rowBlocks() * weights.columnBlocks());
  for (float &one : weights.scales)
    one = static_cast<float>(scale / 100) * spread(random);
  return weights;
}

std::vector<double> referenceFp8Product(const Fp8Rows &rows, const Fp8Weights &weights,
                                        const std::vector<int32_t> &expertBegin) {
  const size_t numSlots = rows.elements.size() / std::max(1u, rows.columns);
  std::vector<double> sums(numSlots * weights.rows), row(rows.columns), matrix(size_t{weights.rows} * weights.columns);
  for (size_t expert = 0; expert + 1 < expertBegin.size(); ++expert) {
    if (expertBegin[expert] == expertBegin[expert + 1])
      continue;
    for (uint32_t n = 0; n < weights.rows; ++n)
      for (uint32_t k = 0; k < weights.columns; ++k)
        matrix[size_t{n} * weights.columns + k] = weights.at(expert, n, k);
    for (auto slot = static_cast<size_t>(expertBegin[expert]); slot < static_cast<size_t>(expertBegin[expert + 1]);
         ++slot) {
      for (uint32_t k = 0; k < rows.columns; ++k)
        row[k] = rows.at(slot, k);
      for (uint32_t n = 0; n < weights.rows; ++n) {
        double sum = 0;
        for (uint32_t k = 0; k < rows.columns; ++k)
          sum += row[k] * matrix[size_t{n} * weights.columns + k];
        sums[slot * weights.rows + n] = sum;
      }
    }
  }
  return sums;
}

std::vector<double> referenceFp8Activated(const Fp8Rows &rows, const Fp8Weights &gate, const Fp8Weights &up,
                                          const std::vector<int32_t> &expertBegin) {
  std::vector<double> activated = referenceFp8Product(rows, gate, expertBegin);
  const std::vector<double> ups = referenceFp8Product(rows, up, expertBegin);
  for (size_t i = 0; i < ups.size(); ++i)
    activated[i] = activated[i] / (1 + std::exp(-activated[i])) * ups[i];
  return activated;
}

std::vector<double> referenceFp8Combined(const Fp8Rows &activated, const Fp8Weights &down, const ReferenceSlots &slots,
                                         const std::vector<float> &pairWeights, uint32_t topK) {
  const std::vector<double> rows = referenceFp8Product(activated, down, slots.expertBegin);
  const size_t H = down.rows;
  std::vector<double> output(pairWeights.size() / topK * H, 0);
  for (size_t pair = 0; pair < pairWeights.size(); ++pair)
    if (const int32_t slot = slots.slotOfPair[pair]; slot >= 0)
      for (size_t h = 0; h < H; ++h)
        output[pair / topK * H + h] += double{pairWeights[pair]} * rows[static_cast<size_t>(slot) * H + h];
  return output;
}

} // namespace moec::bench
