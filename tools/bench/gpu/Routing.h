// Routings to test and measure with, and the inputs that go with them. Made on the host, from a seed.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace moec::bench {

/// Ids [T, K], each token's distinct, with expert e's odds proportional to 1 / (rank of e + 1)^skew; 0 is uniform. The
/// ranks are shuffled.
std::vector<int32_t> drawIds(uint32_t tokens, uint32_t experts, uint32_t topK, double skew, std::mt19937_64 &random);

/// Weights [T, K], positive, each token's sum 1.
std::vector<float> drawWeights(uint32_t tokens, uint32_t topK, std::mt19937_64 &random);

/// Normal values with deviation `scale`, rounded to bf16 or f16, as bits.
std::vector<uint16_t> drawElements(size_t count, double scale, bool bf16, std::mt19937_64 &random);

/// Values as a sum of `planes` elements each, largest first: [planes, values.size()]. Three bf16 hold any f32 of normal
/// size.
std::vector<uint16_t> splitIntoPlanes(const std::vector<float> &values, uint32_t planes, bool bf16);

/// The value of an element's bits.
float elementValue(uint16_t bits, bool bf16);

} // namespace moec::bench
