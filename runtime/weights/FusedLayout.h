// Where one expert's matrix lies inside a tensor that holds all experts.
//
// Checkpoints on the hub mostly have one tensor per expert and role. transformers >= 5 keeps, and
// can save, two tensors per layer: `gate_up_proj` with the gate and up matrices of all experts, and
// `down_proj`. In memory they come in three arrangements (H hidden, I intermediate, E experts):
//
//   straight     [E, 2I, H] and [E, H, I]; I gate rows, then I up rows      Mixtral, Qwen3, OLMoE,
//   DeepSeek transposed   [E, H, 2I] and [E, I, H]; I gate columns, then I up        Llama 4,
//   Qwen3-VL interleaved  as transposed, gate and up columns alternate (gate first)  gpt-oss
//
// Shapes tell straight from transposed, but for a square: gpt-oss has H = I, so that its
// `down_proj` fits both. The other tensor of the pair then decides; 2I = H and H = I cannot both
// hold. Without that tensor, straight is taken. Transposed and interleaved have the same shapes;
// interleaved is taken if the pair comes with a `gate_up_proj_bias`, which of these families
// gpt-oss alone has.
#pragma once

#include "compiler/core/Status.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace moec {

enum class ExpertRole : uint8_t { Gate, Up, Down };

/// The fused tensors that can stand in for a per-expert name.
struct FusedName {
  std::vector<std::string> prefixes; // to be tried in this order, e.g. "model.layers.3.mlp.experts"
  ExpertRole role;

  /// The tensors of one pair, below a prefix.
  static std::string gateUp(const std::string &prefix) { return prefix + ".gate_up_proj"; }
  static std::string gateUpBias(const std::string &prefix) { return prefix + ".gate_up_proj_bias"; }
  static std::string down(const std::string &prefix) { return prefix + ".down_proj"; }
  static std::string downBias(const std::string &prefix) { return prefix + ".down_proj_bias"; }
  /// What gpt-oss has instead of the pair, where it is quantised to four bits; `role` picks the
  /// tensor.
  static std::string blocks(const std::string &prefix, ExpertRole role) {
    return (role == ExpertRole::Down ? down(prefix) : gateUp(prefix)) + "_blocks";
  }
  static std::string scales(const std::string &prefix, ExpertRole role) {
    return (role == ExpertRole::Down ? down(prefix) : gateUp(prefix)) + "_scales";
  }
};

/// Recognises `P.experts.{e}.{gate,up,down}_proj.weight` and Mixtral's
/// `P.experts.{e}.{w1,w3,w2}.weight` (gate, up, down); nothing for other names. Where P ends with
/// `block_sparse_moe`, the name from before transformers 5, the same path with `mlp` is tried
/// first.
std::optional<FusedName> fusedNameOf(std::string_view perExpertName);

/// The same for the biases of these: `P.experts.{e}.{gate,up,down}_proj.bias`.
std::optional<FusedName> fusedBiasNameOf(std::string_view perExpertName);

/// The name that transformers >= 5 has for a tensor of a `block_sparse_moe`; nothing for other
/// names.
std::optional<std::string> renamedBlock(std::string_view name);

/// A matrix inside a tensor, in elements: element (r, c) is at offset + r * rowStride + c *
/// colStride.
struct MatrixLayout {
  uint64_t offset = 0;
  uint64_t rows = 0;
  uint64_t cols = 0;
  uint64_t rowStride = 0;
  uint64_t colStride = 1;

  /// Row-major without gaps, starting at `offset`.
  bool contiguous() const { return colStride == 1 && rowStride == cols; }
  static MatrixLayout plain(uint64_t offset, uint64_t rows, uint64_t cols) { return {offset, rows, cols, cols, 1}; }
};

/// The dimensions of a layer's experts.
struct ExpertDims {
  int64_t experts = 0;
  int64_t hidden = 0;
  int64_t intermediate = 0;
};

/// The pair of fused tensors, as found.
struct FusedPair {
  std::optional<std::span<const int64_t>> gateUp; // shapes
  std::optional<std::span<const int64_t>> down;
  bool gateUpBias = false; // whether a `gate_up_proj_bias` comes with them
};

/// The layout of one expert's matrix ([I, H] for gate and up, [H, I] for down) in the pair's tensor
/// for `role`, which must be there. Errors: InvalidModel (its shape fits no arrangement; says
/// expected and found).
Result<MatrixLayout> fusedLayout(const FusedPair &pair, ExpertRole role, const ExpertDims &dims, uint32_t expert);

/// The layout of one expert's matrix in MXFP4 as gpt-oss publishes it, elements counted as if none
/// were packed: rows are output features, [E, 2I, H] with gate's and up's alternating and [E, H,
/// I].
MatrixLayout mxfp4Layout(ExpertRole role, const ExpertDims &dims, uint32_t expert);

/// The layout of one expert's bias, as a column of `length` rows, in the fused biases' tensor for
/// `role`: [E, 2I] with gate and up alternating, as gpt-oss has them, or [E, H]. Errors:
/// InvalidModel (another shape; says expected and found).
Result<MatrixLayout> fusedBiasLayout(std::span<const int64_t> shape, ExpertRole role, int64_t experts, int64_t length,
                                     uint32_t expert);

} // namespace moec
