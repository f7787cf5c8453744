// What a measured layer reads: the models' shapes, routings, hidden states and experts' weights. A
// pure function of shape, tokens and skew, so that other layers (tools/bench/rivals) can be
// measured on the very same values: writeInputs() hands them over.
#pragma once

#include "compiler/core/Status.h"
#include "tools/bench/gpu/Reference.h"

#include <fstream>
#include <string>
#include <vector>

namespace moec::bench {

struct ModelShape {
  const char *name;
  uint32_t hidden, intermediate, experts, topK;
};

/// The shapes named, or all that are measured where `names` is empty; "tiny" is there by its name
/// only. Errors: InvalidArgument (no shape has this name).
Result<std::vector<ModelShape>> modelShapes(const std::vector<std::string> &names);

/// Different routings in turn, so that a replay reads more weights than the cache holds.
uint32_t numRoutings(uint32_t tokens);

/// All routings of one problem, one after the other.
struct Routings {
  std::vector<int32_t> ids;   // [numRoutings, T, K]
  std::vector<float> weights; // [numRoutings, T, K]
  double expertsHit = 0;      // mean over the routings
};
Routings drawRoutings(const ModelShape &model, uint32_t tokens, double skew);

/// Which of a layer's large tensors: hidden [numRoutings, T, H], gateUp [E, 2I, H] (an expert's
/// gate, then its up), down [E, H, I].
enum class InputTensor : uint8_t { Hidden, GateUp, Down };

/// Element i of a tensor, counted from its start, is element i % inputPeriod of its block. A prime,
/// so that rows of no width and experts of no size begin at the same place of the block again.
constexpr size_t inputPeriod = (size_t{1} << 22) - 3;

/// A tensor's block as bf16 bits: normal, with deviation 1 (hidden) or 0.02.
std::vector<uint16_t> inputBlock(InputTensor tensor);

/// Writes the blocks into `folder`: hidden.bf16, gate-up.bf16 and down.bf16.
Status writeBlocks(const std::string &folder);

/// Writes a problem's routings into `folder`: SHAPE-T-SKEW.i32 and .f32.
Status writeRoutings(const std::string &folder, const ModelShape &model, uint32_t tokens, double skew,
                     const Routings &routings);

/// Errors: Failure (`path` cannot be written).
template <class Value> Status writeValues(const std::string &path, const std::vector<Value> &values) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char *>(values.data()),
             static_cast<std::streamsize>(values.size() * sizeof(Value)));
  file.close();
  return file ? Status() : makeError(Code::Failure, "cannot write {}", path);
}

/// Where a problem's files are, but for what they end in.
std::string problemPath(const std::string &folder, const ModelShape &model, uint32_t tokens, double skew);

/// What the layer makes of a problem's first routing, in float64 on the host: [T, H]. For small
/// shapes.
std::vector<double> referenceOutput(const ModelShape &model, uint32_t tokens, const Routings &routings);

/// Writes all of the above and, with `reference`, SHAPE-T-SKEW.f64; with `e4m3` what Fp8Inputs.h says in place of
/// blocks and output. Needs no GPU.
Status writeInputs(const std::string &folder, const std::vector<std::string> &shapes,
                   const std::vector<uint32_t> &tokens, const std::vector<double> &skews, bool reference, bool e4m3);

} // namespace moec::bench
