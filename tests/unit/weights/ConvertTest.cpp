#include "runtime/weights/Convert.h"
#include "tests/unit/Catch.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

using namespace moec;

namespace {

/// What the IEEE definition of a 16-bit float with so many exponent bits says, in double arithmetic. NaN for NaNs.
double valueOf(uint16_t bits, int exponentBits) {
  int mantissaBits = 15 - exponentBits, top = (1 << exponentBits) - 1, bias = top / 2;
  int exponent = (bits & 0x7fff) >> mantissaBits;
  double fraction = bits & ((1 << mantissaBits) - 1);
  double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == top)
    return fraction != 0 ? std::nan("") : sign * std::numeric_limits<double>::infinity();
  if (exponent == 0)
    return sign * std::ldexp(fraction, 1 - bias - mantissaBits);
  return sign * std::ldexp(fraction + (1 << mantissaBits), exponent - bias - mantissaBits);
}

/// The 16-bit float nearest to `value`, ties to even, found by bisection over the positive ones: independent of how
/// Convert.h rounds. Infinity counts as the next power of two, as IEEE 754 says.
uint16_t nearest(float value, int exponentBits) {
  int mantissaBits = 15 - exponentBits;
  uint16_t infinity = static_cast<uint16_t>(((1 << exponentBits) - 1) << mantissaBits);
  uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  double magnitude = std::fabs(static_cast<double>(value));
  auto at = [&](uint32_t bits) {
    return bits == infinity ? std::ldexp(1.0, 1 << (exponentBits - 1)) : valueOf(bits, exponentBits);
  };
  uint32_t low = 0, high = infinity; // at(low) <= magnitude
  if (magnitude >= at(high))
    return sign | infinity;
  while (high - low > 1) {
    uint32_t middle = (low + high) / 2;
    (at(middle) <= magnitude ? low : high) = middle;
  }
  double below = magnitude - at(low), above = at(high) - magnitude;
  bool up = above < below || (above == below && low % 2 == 1);
  return static_cast<uint16_t>(sign | (up ? high : low));
}

/// Bit patterns of f32: random ones, and all neighbours of values where the rounding of either type changes.
std::vector<float> interestingFloats() {
  std::vector<float> values;
  std::mt19937 random(7);
  for (int i = 0; i < 200'000; ++i)
    values.push_back(std::bit_cast<float>(static_cast<uint32_t>(random())));
  for (uint32_t exponent = 0; exponent < 255; ++exponent)
    for (uint32_t mantissa : {0u, 1u, 0xfffu, 0x1000u, 0x1001u, 0x2fffu, 0x3000u, 0x3001u, 0x7fffu, 0x8000u, 0x8001u,
                              0x17fffu, 0x18000u, 0x18001u, 0x7fefffu, 0x7ff000u, 0x7f8000u, 0x7fffffu})
      values.push_back(std::bit_cast<float>(exponent << 23 | mantissa));
  for (int step = 0; step < 2048; ++step) // f16's subnormals, the ties between them, and their neighbours
    for (double nudge : {-1e-12, 0.0, 1e-12})
      values.push_back(static_cast<float>(std::ldexp(step, -25) + nudge));
  for (float value : {65503.f, 65504.f, 65519.99f, 65520.f, 65535.f, 65536.f, 3.4e38f})
    values.push_back(-value);
  return values;
}

} // namespace

TEST_CASE("every f16 widens to the f32 of the same value", "[weights]") {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    float wide = f16ToF32(static_cast<uint16_t>(bits));
    double expected = valueOf(static_cast<uint16_t>(bits), 5);
    bool same = std::isnan(expected) ? std::isnan(wide) : wide == expected;
    if (!same || std::signbit(wide) != ((bits & 0x8000) != 0))
      FAIL("f16 bits " << bits << " became " << wide << ", not " << expected);
  }
  SUCCEED();
}

TEST_CASE("every bf16 widens to the f32 of the same value", "[weights]") {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    float wide = bf16ToF32(static_cast<uint16_t>(bits));
    double expected = valueOf(static_cast<uint16_t>(bits), 8);
    if (std::isnan(expected) ? !std::isnan(wide) : wide != expected)
      FAIL("bf16 bits " << bits << " became " << wide << ", not " << expected);
  }
  SUCCEED();
}

TEST_CASE("f32 narrows to the nearest value, ties to even, subnormals and overflow included", "[weights]") {
  for (float value : interestingFloats()) {
    if (std::isnan(value))
      continue;
    if (f32ToF16(value) != nearest(value, 5))
      FAIL(value << " became f16 bits " << f32ToF16(value) << ", not " << nearest(value, 5));
    if (f32ToBf16(value) != nearest(value, 8))
      FAIL(value << " became bf16 bits " << f32ToBf16(value) << ", not " << nearest(value, 8));
  }
  SUCCEED();
}

TEST_CASE("a NaN stays a NaN when it narrows, and keeps its sign", "[weights]") {
  // The smallest payload is all in the bits that are cut: it must not become infinity.
  for (uint32_t bits : {0x7f800001u, 0xff800001u, 0x7fc00000u, 0xffffffffu, 0x7f801fffu}) {
    uint16_t half = f32ToF16(std::bit_cast<float>(bits)), brain = f32ToBf16(std::bit_cast<float>(bits));
    CHECK(std::isnan(valueOf(half, 5)));
    CHECK(std::isnan(valueOf(brain, 8)));
    CHECK((half & 0x8000u) == (bits >> 16 & 0x8000u));
    CHECK((brain & 0x8000u) == (bits >> 16 & 0x8000u));
  }
}

TEST_CASE("every 16-bit value survives the way to f32 and back", "[weights]") {
  for (uint32_t i = 0; i < 0x10000; ++i) {
    auto bits = static_cast<uint16_t>(i);
    if (!std::isnan(f16ToF32(bits)) && f32ToF16(f16ToF32(bits)) != bits)
      FAIL("f16 bits " << i);
    if (!std::isnan(bf16ToF32(bits)) && f32ToBf16(bf16ToF32(bits)) != bits)
      FAIL("bf16 bits " << i);
  }
  SUCCEED();
}

TEST_CASE("convert agrees with the scalar functions for each pair, length and alignment", "[weights]") {
  auto scalar = [](uint32_t bits, DType from, DType to) -> uint32_t {
    float wide = from == DType::F32    ? std::bit_cast<float>(bits)
                 : from == DType::BF16 ? bf16ToF32(static_cast<uint16_t>(bits))
                                       : f16ToF32(static_cast<uint16_t>(bits));
    return to == DType::F32 ? std::bit_cast<uint32_t>(wide) : to == DType::BF16 ? f32ToBf16(wide) : f32ToF16(wide);
  };
  const DType all[] = {DType::F32, DType::BF16, DType::F16};
  std::mt19937 random(3);
  for (DType from : all)
    for (DType to : all)
      for (size_t count : {0, 1, 7, 16, 67})
        for (size_t shift : {0, 1}) { // bytes: nothing needs to be aligned
          std::vector<std::byte> source(shift + count * byteSize(from)), result(shift + count * byteSize(to) + 1);
          for (std::byte &byte : source)
            byte = static_cast<std::byte>(random());
          result.back() = std::byte(0x5a);
          convert(source.data() + shift, from, result.data() + shift, to, count);
          for (size_t i = 0; i < count; ++i) {
            uint32_t in = 0, out = 0;
            std::memcpy(&in, source.data() + shift + i * byteSize(from), byteSize(from));
            std::memcpy(&out, result.data() + shift + i * byteSize(to), byteSize(to));
            REQUIRE(out == (from == to ? in : scalar(in, from, to)));
          }
          CHECK(result.back() == std::byte(0x5a));
        }
}
