#include "tools/bench/gpu/Fp8Inputs.h"

#include "runtime/weights/RandomNormal.h"
#include "tools/bench/gpu/Driver.h"
#include "tools/bench/gpu/Routing.h"

#include <algorithm>
#include <cmath>

namespace moec::bench {
namespace {

// Streams of their own beside Inputs.cpp's.
constexpr uint64_t codeStream = 16, scaleStream = 32;

std::vector<float> normal(uint64_t stream, InputTensor tensor, float deviation, size_t count) {
  std::vector<float> values(count);
  fillNormal({.low = stream + static_cast<uint64_t>(tensor)}, 0, deviation, values);
  return values;
}

/// Matrices [rows, columns] of a tensor: number `first`, then each `step`-th.
Fp8Weights matrices(InputTensor tensor, uint32_t count, uint32_t first, uint32_t step, uint32_t rows,
                    uint32_t columns) {
  const std::vector<uint8_t> codes = inputCodes(tensor);
  const std::vector<float> scales = inputScales(tensor);
  Fp8Weights all{.rows = rows, .columns = columns, .elements = {}, .scales = {}};
  const size_t elements = size_t{rows} * columns, blocks = size_t{all.rowBlocks()} * all.columnBlocks();
  for (size_t i = 0, matrix = first; i < count; ++i, matrix += step) {
    for (size_t at = matrix * elements; at < (matrix + 1) * elements; ++at)
      all.elements.push_back(codes[at % codes.size()]);
    for (size_t at = matrix * blocks; at < (matrix + 1) * blocks; ++at)
      all.scales.push_back(scales[at % scales.size()]);
  }
  return all;
}

} // namespace

std::vector<uint8_t> inputCodes(InputTensor tensor) {
  const std::vector<float> values = normal(codeStream, tensor, 100, inputPeriod); // 413 at most
  std::vector<uint8_t> codes(values.size());
  std::transform(values.begin(), values.end(), codes.begin(), toFp8);
  return codes;
}

std::vector<float> inputScales(InputTensor tensor) {
  std::vector<float> scales = normal(scaleStream, tensor, 0.5f, inputScalePeriod);
  for (float &scale : scales)
    scale = 0.02f / 100 * std::exp2(std::clamp(scale, -1.0f, 1.0f));
  return scales;
}

Status writeFp8Blocks(const std::string &folder) {
  MOEC_TRY(writeValues(folder + "/hidden.bf16", inputBlock(InputTensor::Hidden)));
  MOEC_TRY(writeValues(folder + "/gate-up.e4m3", inputCodes(InputTensor::GateUp)));
  MOEC_TRY(writeValues(folder + "/gate-up.scales", inputScales(InputTensor::GateUp)));
  MOEC_TRY(writeValues(folder + "/down.e4m3", inputCodes(InputTensor::Down)));
  return writeValues(folder + "/down.scales", inputScales(InputTensor::Down));
}

Fp8Output referenceFp8Output(const ModelShape &model, uint32_t tokens, const Routings &routings) {
  const auto [name, H, I, E, K] = model;
  std::vector<uint16_t> hidden(size_t{tokens} * H);
  const std::vector<uint16_t> block = inputBlock(InputTensor::Hidden);
  for (size_t i = 0; i < hidden.size(); ++i)
    hidden[i] = block[i % block.size()];
  const std::ptrdiff_t pairs = std::ptrdiff_t{tokens} * K;
  const std::vector<int32_t> ids(routings.ids.begin(), routings.ids.begin() + pairs);
  const std::vector<float> weights(routings.weights.begin(), routings.weights.begin() + pairs);
  const ReferenceSlots slots = referenceSlots(ids, E);
  Fp8Output result{.tokens = quantiseRows(hidden, H, true), .output = {}};
  const std::vector<double> activated =
      referenceFp8Activated(gatherRows(result.tokens, slots.slotPair, K), matrices(InputTensor::GateUp, E, 0, 2, I, H),
                            matrices(InputTensor::GateUp, E, 1, 2, I, H), slots.expertBegin);
  const std::vector<uint16_t> rounded = splitIntoPlanes({activated.begin(), activated.end()}, 1, true);
  result.output = referenceFp8Combined(quantiseRows(rounded, I, true), matrices(InputTensor::Down, E, 0, 1, H, I),
                                       slots, weights, K);
  return result;
}

Status writeFp8Reference(const std::string &folder, const ModelShape &model, uint32_t tokens, double skew,
                         const Routings &routings) {
  const Fp8Output made = referenceFp8Output(model, tokens, routings);
  const std::string path = problemPath(folder, model, tokens, skew);
  MOEC_TRY(writeValues(path + ".f64", made.output));
  MOEC_TRY(writeValues(path + ".codes", made.tokens.elements));
  return writeValues(path + ".scales", made.tokens.scales);
}

} // namespace moec::bench
