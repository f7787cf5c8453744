// What tests expect of e4m3 with the scales of 128 by 128 elements, worked out in double.
#pragma once

#include "tests/unit/weights/RawFile.h"

#include <algorithm>
#include <random>

namespace moec::test {

/// What `readBlockE4M3` gives. Every byte of it must be written: they start as what no test expects.
struct Blocks {
  BlockGrid grid;
  Bytes elements;
  std::vector<float> scales;

  float scaleOf(uint64_t element) const {
    return scales[element / grid.columns / 128 * grid.blockColumns() + element % grid.columns / 128];
  }
  float value(uint64_t element) const { return static_cast<float>(e4m3(elements[element])) * scaleOf(element); }
};

inline Blocks roomFor(const WeightRef &ref) {
  Result<BlockGrid> grid = blockGrid(ref);
  REQUIRE(grid);
  return {*grid, Bytes(grid->rows * grid->columns, 0xff), std::vector<float>(grid->numScales(), -1.0f)};
}

/// The e4m3 nearest to `value`, ties to even codes, by looking at all of them; 448 is nearest to all beyond it.
inline uint8_t nearest(double value) {
  uint8_t best = 0;
  for (uint8_t code = 1; code < 0x7f; ++code) {
    const double now = std::abs(e4m3(code) - std::abs(value)), before = std::abs(e4m3(best) - std::abs(value));
    if (now < before || (now == before && code % 2 == 0))
      best = code;
  }
  return best | (std::signbit(value) ? 0x80 : 0);
}

/// `blocks` are `values` quantised by the rule, in double but for the two f32 divisions that it names.
inline void requireQuantised(const Blocks &blocks, std::span<const float> values) {
  std::vector<float> most(blocks.scales.size(), 0x1p-100f);
  const auto blockOf = [&](uint64_t n) {
    return n / blocks.grid.columns / 128 * blocks.grid.blockColumns() + n % blocks.grid.columns / 128;
  };
  for (uint64_t n = 0; n < values.size(); ++n)
    if (std::isfinite(values[n]))
      most[blockOf(n)] = std::max(most[blockOf(n)], std::abs(values[n]));
  for (size_t block = 0; block < most.size(); ++block)
    REQUIRE(blocks.scales[block] == most[block] / 448.0f);
  for (uint64_t n = 0; n < values.size(); ++n)
    if (std::isfinite(values[n]))
      REQUIRE(blocks.elements[n] == nearest(static_cast<double>(values[n] / blocks.scaleOf(n))));
    else
      REQUIRE(blocks.elements[n] == 0x7f);
}

/// Normal numbers, rows of very different sizes, some zeros.
inline std::vector<float> drawn(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (size_t n = 0; n < count; ++n)
    values[n] = n % 11 == 0 ? 0.0f : std::ldexp(normal(random), static_cast<int>(n / 97 % 9) - 6);
  return values;
}

} // namespace moec::test
