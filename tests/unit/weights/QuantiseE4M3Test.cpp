// f32 to e4m3, and matrices of it with a scale for each 128 by 128 elements.
#include "runtime/weights/QuantiseE4M3.h"
#include "runtime/weights/Convert.h"
#include "tests/unit/weights/E4M3Blocks.h"

#include <limits>

using namespace moec;
using namespace moec::test;

namespace {

Blocks quantised(const std::vector<float> &values, int64_t rows, int64_t columns) {
  Blocks blocks = roomFor({"made", {rows, columns}});
  const RowReader readRows = [&](uint64_t first, std::span<float> to) {
    std::copy_n(values.data() + first * blocks.grid.columns, to.size(), to.begin());
    return Status();
  };
  REQUIRE(quantiseE4M3(blocks.grid, readRows, blocks.elements, blocks.scales).ok());
  return blocks;
}

} // namespace

TEST_CASE("f32 narrows to the nearest e4m3, ties to even, 448 at most", "[weights][convert]") {
  for (uint32_t bits = 0; bits < 256; ++bits) {
    const auto code = static_cast<uint8_t>(bits);
    INFO(bits);
    CHECK(f32ToE4M3(e4m3ToF32(code)) == ((code & 0x7f) == 0x7f ? 0x7f : code));
  }
  for (uint8_t code = 0; code < 0x7e; ++code) { // between neighbours, and just beside the middle
    const auto middle = static_cast<float>((e4m3(code) + e4m3(code + 1)) / 2);
    const auto even = static_cast<uint8_t>(code + code % 2);
    INFO(int{code});
    CHECK(f32ToE4M3(middle) == even);
    CHECK(f32ToE4M3(-middle) == (even | 0x80));
    CHECK(f32ToE4M3(std::nextafter(middle, 0.0f)) == code);
    CHECK(f32ToE4M3(std::nextafter(middle, 500.0f)) == code + 1);
  }
  for (const float beyond : {448.1f, 463.9f, 464.0f, 480.0f, 512.0f, 1e30f, std::numeric_limits<float>::max()}) {
    CHECK(f32ToE4M3(beyond) == 0x7e);
    CHECK(f32ToE4M3(-beyond) == 0xfe);
  }
  std::mt19937 random(5);
  for (int i = 0; i < 100'000; ++i) {
    // All bit patterns, and every second one between 2^-12 and 2^9, where the codes are.
    const auto bits = static_cast<uint32_t>(random());
    const auto near = std::ldexp(1.0f + static_cast<float>(bits >> 9) * 0x1p-23f, static_cast<int>(bits % 21) - 12);
    const float value = i % 2 ? near : std::bit_cast<float>(bits);
    if (std::isfinite(value) && f32ToE4M3(value) != nearest(static_cast<double>(value)))
      FAIL(value << " became " << int{f32ToE4M3(value)} << ", not " << int{nearest(static_cast<double>(value))});
  }
}

TEST_CASE("what is no number becomes the NaN of e4m3", "[weights][convert]") {
  for (uint32_t bits : {0x7f800000u, 0xff800000u, 0x7f800001u, 0xff800001u, 0x7fc00000u, 0xffffffffu})
    CHECK(f32ToE4M3(std::bit_cast<float>(bits)) == 0x7f);
}

TEST_CASE("a block's largest element becomes 448 and its scale a 448th of it", "[weights][quantise]") {
  for (const auto &[rows, columns] :
       {std::pair<int64_t, int64_t>{1, 1}, {1, 129}, {128, 128}, {129, 127}, {130, 300}, {257, 3}}) {
    INFO(rows << " by " << columns);
    const std::vector<float> values = drawn(static_cast<size_t>(rows * columns), 3);
    const Blocks blocks = quantised(values, rows, columns);
    CHECK(blocks.grid.numScales() == static_cast<uint64_t>((rows + 127) / 128 * ((columns + 127) / 128)));
    requireQuantised(blocks, values);
  }
}

TEST_CASE("quantising ties to even, in the largest block as in the smallest", "[weights][quantise]") {
  // With 448 as the largest element the scale is 1, and elements are their own quotients.
  std::vector<float> values{448, 17, 19, -17, 0x1p-10f, 0x3p-10f, -0x1p-10f, 0x1p-9f};
  const Blocks blocks = quantised(values, 1, 8);
  CHECK(blocks.scales == std::vector<float>{1});
  CHECK(blocks.elements ==
        Bytes{0x7e, 0x58, 0x5a, 0xd8, 0x00, 0x02, 0x80, 0x01}); // 448, 16, 20, -16, 0, 2^-8, -0, 2^-9
}

TEST_CASE("NaN and infinities are NaN and do not touch the scale; tiny blocks count as 2^-100", "[weights][quantise]") {
  const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> values(3 * 128 * 2, 0.0f); // rows of three blocks
  values[0] = 896;
  values[1] = nan;
  values[2] = -infinity;
  values[384] = -nan;
  values[128] = 0x1p-101f; // the second block: half of what it counts as, and the smallest f32
  values[129] = std::numeric_limits<float>::denorm_min();
  values[256] = infinity; // the third: nothing else than zeros
  const Blocks blocks = quantised(values, 2, 384);
  requireQuantised(blocks, values);
  CHECK(blocks.scales == std::vector<float>{2, 0x1p-100f / 448, 0x1p-100f / 448});
  CHECK(blocks.elements[1] == 0x7f);
  CHECK(blocks.elements[2] == 0x7f);
  CHECK(blocks.elements[384] == 0x7f);
  CHECK(blocks.elements[128] == 0x76); // 224
  CHECK(blocks.elements[129] == 0);
  CHECK(blocks.elements[256] == 0x7f);
  CHECK(blocks.elements[257] == 0);
}

TEST_CASE("what was quantised once does not change again", "[weights][quantise]") {
  constexpr uint64_t rows = 200, columns = 150;
  std::vector<float> once = drawn(rows * columns, 8);
  const Blocks first = quantised(once, rows, columns);
  roundThroughE4M3(once, columns);
  for (uint64_t n = 0; n < once.size(); ++n)
    REQUIRE(once[n] == first.value(n));
  CHECK(quantised(once, rows, columns).elements == first.elements);
}
