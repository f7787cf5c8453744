#include "runtime/weights/RandomNormal.h"

#include <xxhash.h>

#include <cmath>

namespace moec {
namespace {

constexpr int segmentBits = 12, fractionBits = 19, unitBits = 20;
constexpr size_t numSegments = size_t(1) << segmentBits;
static_assert(1 + segmentBits + fractionBits == 32);

// The table is computed with nothing but + - * / and sqrt, which IEEE 754 defines to the bit; a libm's exp or erf
// differs from machine to machine. A test pins the result.

/// exp(-y) for 0 <= y < 16.
double expMinus(double y) {
  double x = -y / 256, term = 1, sum = 1;
  for (int n = 1; n <= 12; ++n)
    sum += term = term * x / n;
  for (int i = 0; i < 8; ++i) // to the power of 256
    sum *= sum;
  return sum;
}

double density(double x) { return 0.3989422804014326779 * expMinus(x * x / 2); }

/// P(|Z| < x) for a normal Z: 2 density(x) (x + x^3/3 + x^5/(3*5) + ...).
double probabilityBelow(double x) {
  double term = x, sum = x;
  for (int n = 3; term > sum * 1e-18; n += 2)
    sum += term = term * x * x / n;
  return 2 * density(x) * sum;
}

/// The x with P(|Z| < x) = p, by Newton's method from a point below it. The function is concave there, so the steps
/// never overshoot.
double quantileFrom(double start, double p) {
  double x = start;
  for (int i = 0; i < 12; ++i)
    x += (p - probabilityBelow(x)) / (2 * density(x));
  return x;
}

std::array<int32_t, numSegments + 1> makeQuantiles() {
  constexpr double unit = 1 << unitBits;
  std::array<int32_t, numSegments + 1> table = {};
  double x = 0, secondMoment = 0; // of the segments so far, times 3 * numSegments
  for (size_t i = 1; i < numSegments; ++i) {
    double next = quantileFrom(x, static_cast<double>(i) / numSegments);
    secondMoment += x * x + x * next + next * next; // of a uniform distribution over [x, next]
    x = next;
    table[i] = static_cast<int32_t>(x * unit + 0.5);
  }
  // The last point y solves secondMoment + x^2 + x y + y^2 = 3 * numSegments.
  double rest = 3.0 * numSegments - secondMoment - x * x;
  double last = (-x + std::sqrt(x * x + 4 * rest)) / 2;
  table[numSegments] = static_cast<int32_t>(last * unit + 0.5);
  return table;
}

/// A segment's lower end and its width, side by side for one load.
struct Segment {
  int32_t base;
  int32_t width;
};

const std::array<Segment, numSegments> &segments() {
  static const auto table = [] {
    std::array<Segment, numSegments> result;
    const auto &points = normalQuantiles();
    for (size_t i = 0; i < numSegments; ++i)
      result[i] = {points[i], points[i + 1] - points[i]};
    return result;
  }();
  return table;
}

uint64_t mix(RandomKey key, uint64_t counter) {
  uint64_t z = counter * 0x9e3779b97f4a7c15 + key.low;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9 ^ key.high;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

/// 32 random bits to a normal value in units of 2^-20.
inline int32_t normal(const Segment *table, uint32_t bits) {
  const Segment &segment = table[(bits >> fractionBits) & (numSegments - 1)];
  int64_t fraction = bits & ((1u << fractionBits) - 1);
  int32_t magnitude = segment.base + static_cast<int32_t>((segment.width * fraction) >> fractionBits);
  int32_t sign = static_cast<int32_t>(bits) >> 31; // 0 or -1
  return (magnitude ^ sign) - sign;
}

} // namespace

RandomKey randomKey(uint64_t seed, std::string_view name) {
  XXH128_hash_t hash = XXH3_128bits_withSeed(name.data(), name.size(), seed);
  return {hash.low64, hash.high64};
}

const std::array<int32_t, numSegments + 1> &normalQuantiles() {
  static const auto table = makeQuantiles();
  return table;
}

void fillNormal(RandomKey key, uint64_t first, float std, std::span<float> to) {
  const Segment *table = segments().data();
  // Magnitudes stay below 2^23, so that they are exact as floats and the product is rounded once.
  const float scale = std * (1.0f / (1 << unitBits));
  size_t i = 0;
  if (first % 2 == 1 && !to.empty())
    to[i++] = static_cast<float>(normal(table, static_cast<uint32_t>(mix(key, first / 2) >> 32))) * scale;
  uint64_t counter = (first + 1) / 2;
  for (; i + 2 <= to.size(); i += 2) {
    uint64_t bits = mix(key, counter++);
    to[i] = static_cast<float>(normal(table, static_cast<uint32_t>(bits))) * scale;
    to[i + 1] = static_cast<float>(normal(table, static_cast<uint32_t>(bits >> 32))) * scale;
  }
  if (i < to.size())
    to[i] = static_cast<float>(normal(table, static_cast<uint32_t>(mix(key, counter)))) * scale;
}

} // namespace moec
