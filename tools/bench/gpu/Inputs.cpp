#include "tools/bench/gpu/Inputs.h"

#include "runtime/weights/RandomNormal.h"
#include "tools/bench/gpu/Driver.h"
#include "tools/bench/gpu/Fp8Inputs.h"
#include "tools/bench/gpu/Routing.h"

#include <algorithm>
#include <iterator>
#include <set>

namespace moec::bench {
namespace {

constexpr ModelShape models[] = {
    {"olmoe", 2048, 1024, 64, 8},      {"qwen3-30b", 2048, 768, 128, 8},   {"mixtral", 4096, 14336, 8, 2},
    {"dsv3-slice", 7168, 2048, 32, 1}, {"qwen3-235b", 4096, 1536, 128, 8}, {"glm-4.5-air", 4096, 1408, 128, 8},
    {"dsv3", 7168, 2048, 256, 8},      {"tiny", 256, 128, 96, 2}, // for tests: more weights than a block holds
};
constexpr size_t numMeasured = 4; // unless others are asked for

std::vector<uint16_t> firstElements(InputTensor tensor, size_t count) {
  const std::vector<uint16_t> block = inputBlock(tensor);
  std::vector<uint16_t> elements(count);
  for (size_t i = 0; i < count; ++i)
    elements[i] = block[i % inputPeriod];
  return elements;
}

} // namespace

Result<std::vector<ModelShape>> modelShapes(const std::vector<std::string> &names) {
  if (names.empty())
    return std::vector<ModelShape>(models, models + numMeasured);
  std::vector<ModelShape> shapes;
  for (const std::string &name : names) {
    const auto *found =
        std::find_if(std::begin(models), std::end(models), [&](const ModelShape &m) { return m.name == name; });
    if (found == std::end(models))
      return makeError(Code::InvalidArgument, "no shape '{}'", name);
    shapes.push_back(*found);
  }
  return shapes;
}

uint32_t numRoutings(uint32_t tokens) { return tokens <= 64 ? 8 : tokens <= 1024 ? 4 : 1; }

Routings drawRoutings(const ModelShape &model, uint32_t tokens, double skew) {
  std::mt19937_64 random(tokens * 131 + model.experts);
  Routings routings;
  const uint32_t count = numRoutings(tokens);
  for (uint32_t i = 0; i < count; ++i) {
    const std::vector<int32_t> ids = drawIds(tokens, model.experts, model.topK, skew, random);
    const std::vector<float> weights = drawWeights(tokens, model.topK, random);
    routings.expertsHit += static_cast<double>(std::set<int32_t>(ids.begin(), ids.end()).size()) / count;
    routings.ids.insert(routings.ids.end(), ids.begin(), ids.end());
    routings.weights.insert(routings.weights.end(), weights.begin(), weights.end());
  }
  return routings;
}

std::vector<uint16_t> inputBlock(InputTensor tensor) {
  std::vector<float> values(inputPeriod);
  fillNormal({.low = static_cast<uint64_t>(tensor) + 1}, 0, tensor == InputTensor::Hidden ? 1.0f : 0.02f, values);
  return splitIntoPlanes(values, 1, true);
}

Status writeBlocks(const std::string &folder) {
  MOEC_TRY(writeValues(folder + "/hidden.bf16", inputBlock(InputTensor::Hidden)));
  MOEC_TRY(writeValues(folder + "/gate-up.bf16", inputBlock(InputTensor::GateUp)));
  return writeValues(folder + "/down.bf16", inputBlock(InputTensor::Down));
}

std::string problemPath(const std::string &folder, const ModelShape &model, uint32_t tokens, double skew) {
  return fmt::format("{}/{}-{}-{:.1f}", folder, model.name, tokens, skew);
}

Status writeRoutings(const std::string &folder, const ModelShape &model, uint32_t tokens, double skew,
                     const Routings &routings) {
  const std::string path = problemPath(folder, model, tokens, skew);
  MOEC_TRY(writeValues(path + ".i32", routings.ids));
  return writeValues(path + ".f32", routings.weights);
}

std::vector<double> referenceOutput(const ModelShape &model, uint32_t tokens, const Routings &routings) {
  const auto [name, H, I, E, K] = model;
  LayerInputs inputs;
  inputs.shape = {tokens, H, I, E, K};
  inputs.bf16 = true;
  inputs.hidden = firstElements(InputTensor::Hidden, size_t{tokens} * H);
  inputs.down = firstElements(InputTensor::Down, size_t{E} * H * I);
  const std::vector<uint16_t> gateUp = firstElements(InputTensor::GateUp, size_t{E} * 2 * I * H);
  for (size_t expert = 0, half = size_t{I} * H; expert < E; ++expert) {
    const auto gate = gateUp.begin() + static_cast<std::ptrdiff_t>(expert * 2 * half),
               up = gate + static_cast<std::ptrdiff_t>(half);
    inputs.gate.insert(inputs.gate.end(), gate, up);
    inputs.up.insert(inputs.up.end(), up, up + static_cast<std::ptrdiff_t>(half));
  }
  const std::ptrdiff_t pairs = std::ptrdiff_t{tokens} * K;
  inputs.ids.assign(routings.ids.begin(), routings.ids.begin() + pairs);
  inputs.weights.assign(routings.weights.begin(), routings.weights.begin() + pairs);
  return referenceLayer(inputs, referenceSlots(inputs.ids, E)).output;
}

Status writeInputs(const std::string &folder, const std::vector<std::string> &shapes,
                   const std::vector<uint32_t> &tokens, const std::vector<double> &skews, bool reference, bool e4m3) {
  Result<std::vector<ModelShape>> found = modelShapes(shapes);
  MOEC_TRY(found.status());
  MOEC_TRY(e4m3 ? writeFp8Blocks(folder) : writeBlocks(folder));
  for (const ModelShape &model : *found)
    for (uint32_t count : tokens)
      for (double skew : skews) {
        const Routings routings = drawRoutings(model, count, skew);
        MOEC_TRY(writeRoutings(folder, model, count, skew, routings));
        if (reference && e4m3)
          MOEC_TRY(writeFp8Reference(folder, model, count, skew, routings));
        else if (reference)
          MOEC_TRY(
              writeValues(problemPath(folder, model, count, skew) + ".f64", referenceOutput(model, count, routings)));
      }
  return {};
}

} // namespace moec::bench
