// What a MoE layer is, in numbers: the part of a model description that plans and kernels depend on.
#pragma once

#include "compiler/core/Status.h"

#include <cstdint>
#include <string>
#include <vector>

namespace moec {

enum class DType : uint8_t { F32, BF16, F16 };

/// Bytes of one element.
constexpr uint32_t byteSize(DType dtype) { return dtype == DType::F32 ? 4 : 2; }
const char *dtypeName(DType dtype); // "f32", "bf16", "f16"
Result<DType> parseDType(const std::string &name);

enum class Scoring : uint8_t { None, Softmax, Sigmoid };

/// How the router's logits become expert ids and weights.
///
/// scores = before(logits); ids = top-k of scores + correction bias, within the picked groups;
/// weights = after(scores[ids]); optionally renormalised (w / (sum w + epsilon)) and scaled.
struct RouterSpec {
  Scoring before = Scoring::Softmax; // over all experts, before top-k
  Scoring after = Scoring::None;     // over the chosen K only
  bool correctionBias = false;       // a per-expert bias that steers the selection, not the weights
  bool routerBias = false;           // a per-expert bias on the logits
  uint32_t groups = 1;               // experts are split into so many equal groups
  uint32_t groupsPicked = 1;         // only experts of the best groups can be chosen
  uint32_t groupTop = 1;             // a group's score is the sum of its so many best experts' (biased) scores
  bool renormalise = false;
  double epsilon = 0.0; // added to the sum that renormalises
  double scale = 1.0;

  bool operator==(const RouterSpec &) const = default;
};

/// How a checkpoint stores a weight's numbers. Either way they are what a target computes with; where it multiplies
/// e4m3 itself, tokens are quantised alike (compiler/kernels/Fp8Abi.h).
enum class WeightFormat : uint8_t {
  Plain,    ///< in the weight's dtype
  BlockE4M3 ///< e4m3, with an f32 scale for each 128 by 128 elements (rows by columns; the last ones smaller)
};

/// "plain", "block_e4m3".
const char *weightFormatName(WeightFormat format);
/// Error: InvalidArgument, a name that is neither.
Result<WeightFormat> parseWeightFormat(const std::string &name);

/// The dimensions of one MoE layer. H hidden, I intermediate, E experts, K experts per token.
struct LayerShape {
  uint32_t hidden = 0;
  uint32_t intermediate = 0;
  uint32_t experts = 0;
  uint32_t topK = 0;
  DType dtype = DType::BF16;       // of hidden states, expert weights and output
  uint32_t sharedIntermediate = 0; // 0: no shared expert
  bool sharedGate = false;         // the shared expert's output is scaled by sigmoid(hidden . w)
  bool sharedAlike = false;   // the shared expert's activation, and the format of its weights, are the routed ones'
  bool expertBias = false;    // gate, up and down of the routed experts have a bias each
  bool weightOnInput = false; // a pair's weight multiplies what its expert takes in, not what it gives
  WeightFormat expertFormat = WeightFormat::Plain; // of the routed experts' gate, up and down

  bool operator==(const LayerShape &) const = default;
};

/// Where a weight lives in the checkpoint. `{e}` in a name stands for the expert's number, and the tensor's
/// first dimension is then the experts; `runtime/weights` also accepts the fused layout of the same tensors.
struct WeightRef {
  std::string name; // empty: the layer has no such weight
  std::vector<int64_t> shape;
  DType dtype = DType::BF16;
  WeightFormat format = WeightFormat::Plain;

  bool operator==(const WeightRef &) const = default;
};

/// All weights of one layer; a name is empty where the layer has none.
struct LayerWeights {
  WeightRef router;         // [E, H]
  WeightRef routerBias;     // [E]
  WeightRef correctionBias; // [E]
  WeightRef gate;           // [E, I, H]
  WeightRef up;             // [E, I, H]
  WeightRef down;           // [E, H, I]
  WeightRef gateBias;       // [E, I]
  WeightRef upBias;         // [E, I]
  WeightRef downBias;       // [E, H]
  WeightRef sharedGate;     // [Is, H]
  WeightRef sharedUp;       // [Is, H]
  WeightRef sharedDown;     // [H, Is]
  WeightRef sharedRouter;   // [1, H]

  bool operator==(const LayerWeights &) const = default;
};

} // namespace moec
