// What the ops of the `moe` dialect mean: each one evaluated plainly, in float64, on plain arrays.
//
// These functions define "right" for every device, pass and kernel. They round nowhere in between,
// take sums in index order, and favour a short definition over speed. Inputs are doubles that the
// real dtype holds exactly.
//
// Sizes: T tokens, E experts, K experts a token, H hidden, I intermediate, S rows of the fullest
// expert.
//
// Logits that are not finite count as minus infinity, which marks an expert as *masked*: it is
// chosen last, and it weighs nothing. `score`, `normalize` and `scale` keep the mark; `route`,
// `dispatch`, `combine` and `groupedFfn` read it as a weight of 0. Where a token has only masked experts,
// `topK` chooses experts 0 to K-1 and gives each the weight 1/K.
//
// All functions are pure and thread-safe. Errors: InvalidArgument, naming the tensor whose shape or
// the entry whose id is wrong, or the number that is out of range.
#pragma once

#include "ir/reference/Tensor.h"

#include <functional>
#include <optional>

namespace moec::reference {

enum class Scoring { Softmax, Sigmoid };
enum class Drop { Position, Score };

/// One entry of the intermediate activations, from its gate and its up projection.
using Activation = std::function<double(double gate, double up)>;

/// Group-limited choice of experts; the defaults are no groups.
struct TopKSpec {
  int64_t k = 1;
  int64_t groups = 1;       // equal groups of experts, in order
  int64_t groupsPicked = 1; // only experts of so many best groups can be chosen
  int64_t groupTop = 1;     // a group's score is the sum of its so many best
};

struct Chosen {
  IdTensor ids;   // [T, K] best first
  Tensor weights; // [T, K]
};

/// `logits[t, e] = sum_h hidden[t, h] * weight[e, h] + bias[e]`.
/// hidden [T, H], weight [E, H], bias [E] or null. Returns [T, E].
Result<Tensor> router(const Tensor &hidden, const Tensor &weight, const Tensor *bias);

/// Softmax over each row, or the sigmoid of each entry. logits [T, N]. Returns [T, N].
Result<Tensor> score(Scoring kind, const Tensor &logits);

/// The K experts of each token with the highest `scores + correction`, best first, ties to the
/// lower expert; weights are the scores alone. Groups are picked by score too, ties to the lower
/// group. scores [T, E], correction [E] or null.
Result<Chosen> topK(const Tensor &scores, const Tensor *correction, const TopKSpec &spec);

/// Each row divided by (its sum + epsilon); a row whose sum + epsilon is 0 becomes 1/N each.
/// weights [T, N].
Result<Tensor> normalize(const Tensor &weights, double epsilon);

/// Each entry times `factor`. weights [T, N].
Result<Tensor> scale(const Tensor &weights, double factor);

/// Pairs per expert; ids of -1 are padding. ids [T, K]. Returns [E].
Result<IdTensor> countPairs(const IdTensor &ids, int64_t experts);

struct DispatchSpec {
  int64_t experts = 0;
  std::optional<int64_t> capacity; // pairs that an expert computes at most; none: dropless
  Drop drop = Drop::Position;      // Score drops the lowest weights, the later of equals
  bool weightOnInput = false;      // a row is its token times the pair's weight
};

struct Dispatched {
  Tensor buffer; // [E, S, H]; rows past an expert's pairs are 0
  IdTensor slot; // [T, K] row in the expert's part of the buffer; -1 for padding and dropped pairs
};

/// Copies tokens into the buffers of their experts, in token order. tokens [T, H], ids [T, K];
/// weights [T, K] are needed for Drop::Score with a capacity and on the input, else may be null.
Result<Dispatched> dispatch(const Tensor &tokens, const IdTensor &ids, const Tensor *weights, const DispatchSpec &spec);

/// Weights of feed-forward networks: [E, I, H], [E, I, H], [E, H, I], or without E for a shared
/// one. Biases: [E, I], [E, I], [E, H], likewise; null is zero.
struct FfnWeights {
  const Tensor &gate, &up, &down;
  const Tensor *gateBias = nullptr, *upBias = nullptr, *downBias = nullptr;
  /// What becomes of a row before it is multiplied, x and what is activated alike: how a target that quantises them is
  /// modelled. Null: nothing.
  const std::function<void(std::span<double> row)> *roundRow = nullptr;
};

/// `down[e] activation(gate[e] x + gateBias[e], up[e] x + upBias[e]) + downBias[e]` for each row x
/// of expert e. buffer [E, S, H]. Returns [E, S, H].
Result<Tensor> expertFfn(const Tensor &buffer, const FfnWeights &weights, const Activation &activation);

/// The same network for all tokens, times `sigmoid(hidden[t] . router)` where there is a router.
/// hidden [T, H], router [1, H] or null. Returns [T, H].
Result<Tensor> sharedFfn(const Tensor &hidden, const FfnWeights &weights, const Tensor *router,
                         const Activation &activation);

/// `output[t] = init[t] + sum_k weights[t, k] * expertOutput[ids[t, k], slot[t, k]]` over pairs
/// with a slot. expertOutput [E, S, H]; ids, slot, weights [T, K], weights null: 1 each; init
/// [T, H] or null. Returns [T, H].
Result<Tensor> combine(const Tensor &expertOutput, const IdTensor &ids, const IdTensor &slot, const Tensor *weights,
                       const Tensor *init);

/// What `route` does between logits and weights.
struct RouteSpec {
  TopKSpec topK;
  std::optional<Scoring> before, after; // over all experts; over the chosen
  std::optional<double> epsilon;        // present: normalize
  double scale = 1;
};

/// `router`, `score`, `topK`, `score`, `normalize`, `scale` in this order. Operands as of `router`
/// and `topK`.
Result<Chosen> route(const Tensor &hidden, const Tensor &weight, const Tensor *bias, const Tensor *correction,
                     const RouteSpec &spec);

/// `route` after the router: from logits [T, E].
Result<Chosen> routeLogits(const Tensor &logits, const Tensor *correction, const RouteSpec &spec);

struct GroupedResult {
  Tensor output;   // [T, H]
  IdTensor counts; // [E] pairs
};

/// Which side of an expert its pairs' weights are on.
enum class WeightOn { Output, Input };

/// `output[t] = init[t] + sum_k weights[t, k] * ffn[ids[t, k]](hidden[t])`, padding left out;
/// WeightOn::Input: `ffn[ids[t, k]](weights[t, k] * hidden[t])`. Operands as of `dispatch`,
/// `expertFfn` and `combine`.
Result<GroupedResult> groupedFfn(const Tensor &hidden, const IdTensor &ids, const Tensor &weights,
                                 const FfnWeights &ffn, const Tensor *init, const Activation &activation,
                                 WeightOn weightOn = WeightOn::Output);

} // namespace moec::reference
