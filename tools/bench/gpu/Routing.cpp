#include "tools/bench/gpu/Routing.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

namespace moec::bench {
namespace {

uint16_t roundToBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16); // to nearest even; finite values only
}

uint16_t toElement(float value, bool bf16) {
  return bf16 ? roundToBf16(value) : std::bit_cast<uint16_t>(static_cast<_Float16>(value));
}

} // namespace

std::vector<int32_t> drawIds(uint32_t tokens, uint32_t experts, uint32_t topK, double skew, std::mt19937_64 &random) {
  std::vector<double> logOdds(experts);
  for (uint32_t rank = 0; rank < experts; ++rank)
    logOdds[rank] = -skew * std::log(rank + 1.0);
  std::shuffle(logOdds.begin(), logOdds.end(), random);
  std::uniform_real_distribution<double> uniform(1e-12, 1.0);
  std::vector<int32_t> ids(static_cast<size_t>(tokens) * topK), order(experts);
  std::vector<double> key(experts);
  for (uint32_t token = 0; token < tokens; ++token) {
    // The K largest of log odds plus Gumbel noise are a draw without replacement.
    for (uint32_t e = 0; e < experts; ++e)
      key[e] = logOdds[e] - std::log(-std::log(uniform(random)));
    std::iota(order.begin(), order.end(), 0);
    std::partial_sort(order.begin(), order.begin() + topK, order.end(), [&](int a, int b) { return key[a] > key[b]; });
    std::copy_n(order.begin(), topK, ids.begin() + static_cast<size_t>(token) * topK);
  }
  return ids;
}

std::vector<float> drawWeights(uint32_t tokens, uint32_t topK, std::mt19937_64 &random) {
  std::uniform_real_distribution<float> uniform(0.1f, 1.0f);
  std::vector<float> weights(static_cast<size_t>(tokens) * topK);
  for (size_t first = 0; first < weights.size(); first += topK) {
    float sum = 0;
    for (uint32_t k = 0; k < topK; ++k)
      sum += weights[first + k] = uniform(random);
    for (uint32_t k = 0; k < topK; ++k)
      weights[first + k] /= sum;
  }
  return weights;
}

std::vector<uint16_t> drawElements(size_t count, double scale, bool bf16, std::mt19937_64 &random) {
  std::normal_distribution<float> normal(0, static_cast<float>(scale));
  std::vector<uint16_t> elements(count);
  for (uint16_t &element : elements)
    element = toElement(normal(random), bf16);
  return elements;
}

std::vector<uint16_t> splitIntoPlanes(const std::vector<float> &values, uint32_t planes, bool bf16) {
  std::vector<float> rest = values;
  std::vector<uint16_t> elements;
  for (uint32_t plane = 0; plane < planes; ++plane)
    for (float &value : rest) {
      elements.push_back(toElement(value, bf16));
      value -= elementValue(elements.back(), bf16);
    }
  return elements;
}

float elementValue(uint16_t bits, bool bf16) {
  return bf16 ? std::bit_cast<float>(static_cast<uint32_t>(bits) << 16)
              : static_cast<float>(std::bit_cast<_Float16>(bits));
}

} // namespace moec::bench
