// What host code and the CUDA kernels agree on: configs (template arguments) and arguments. Compiled by NVRTC and by
// the host's compiler, so it uses nothing but fixed-width integers. A change here is a new `kCudaAbiVersion`.
#pragma once

#if defined(__CUDACC_RTC__)
// NVRTC brings no <stdint.h>; the names live in our namespace so that they clash with nobody's.
namespace moec {
using int8_t = signed char;
using uint8_t = unsigned char;
using uint16_t = unsigned short;
using int32_t = int;
using uint32_t = unsigned int;
using int64_t = long long;
using uint64_t = unsigned long long;
} // namespace moec
#else
#include <stdint.h>
#endif

namespace moec {

inline constexpr uint32_t kCudaAbiVersion = 1;

/// What tokens, weights and outputs are made of. Sums are f32.
enum class Element : uint8_t { BF16 = 0, F16 = 1 };

/// Which of the layer's two products a GEMM computes.
enum class GemmRole : uint8_t {
  GateUp = 0, ///< tokens are gathered, the weight tile is half gate and half up, the activation joins them
  Down = 1,   ///< rows are the slots themselves
};

/// Scoring of a router (compiler/core/LayerShape.h, `Scoring`).
enum class RouteScoring : uint8_t { None = 0, Softmax = 1, Sigmoid = 2 };

/// Compile-time choices of a grouped GEMM. One tile multiplies `tileTokens` rows by `tileWeights` weight rows
/// (gate-up: half of them gate, half up), `tileK` elements of the sum at a time, `stages` tiles in flight.
struct GemmConfig {
  Element element;
  GemmRole role;
  uint32_t tileTokens;
  uint32_t tileWeights;
  uint32_t tileK;
  uint32_t stages;
  uint32_t warpsTokens;  ///< portable family: warps along the tokens; Hopper family: math warpgroups
  uint32_t warpsWeights; ///< portable family: warps along the weights; Hopper family: unused, 1
  bool swapAB;           ///< Hopper family: weights on the 64-row side of wgmma, tokens on the other
  uint32_t blocksPerSm;  ///< blocks that must fit on one multiprocessor together
};

/// Threads of a block.
constexpr uint32_t portableThreads(const GemmConfig &c) { return c.warpsTokens * c.warpsWeights * 32; }
constexpr uint32_t hopperThreads(const GemmConfig &c) { return (1 + c.warpsTokens) * 128; }

/// Weight rows of the box of a tensor map.
constexpr uint32_t boxRows(const GemmConfig &c) {
  return c.role == GemmRole::GateUp ? c.tileWeights / 2 : c.tileWeights;
}

/// Bytes of one stage: a token tile and a weight tile of two-byte elements.
constexpr uint32_t stageBytes(const GemmConfig &c) { return (c.tileTokens + c.tileWeights) * c.tileK * 2; }

/// Dynamic shared memory of a launch. Swizzled tiles of the Hopper family start at multiples of 1024 bytes, which
/// dynamic shared memory does not promise.
constexpr uint32_t portableSharedBytes(const GemmConfig &c) { return c.stages * stageBytes(c); }
constexpr uint32_t hopperSharedBytes(const GemmConfig &c) { return c.stages * stageBytes(c) + 1024; }

/// Arguments of a grouped GEMM, made by dispatch (dispatch.cuh) and by whoever owns the weights.
struct GroupedGemmArgs {
  const void *tokens;          ///< GateUp: [T, k]; Down: [numSlots, k]; row-major
  const void *weights;         ///< gate or down; [E, n, k], rows of one expert contiguous (Hopper: tensor map instead)
  const void *upWeights;       ///< GateUp: up, laid out as `weights`
  void *output;                ///< [numSlots, n]
  const int32_t *slotPair;     ///< [numSlots] pair (token * topK + k) of each slot
  const int32_t *expertBegin;  ///< [E + 1] first slot of each expert
  const int32_t *expertOrder;  ///< [E] experts in the order in which they run; null: 0 .. E-1
  const int32_t *tileBegin;    ///< [E + 1] first token tile of the expert at each place of that order
  const int32_t *tilePlace;    ///< [tileBegin[E]] place of each token tile's expert
  int64_t expertStride;        ///< elements from one expert's weights to the next (2 * I * H where gate and up are fused)
  uint32_t k;                  ///< length of the sum; a multiple of 8
  uint32_t n;                  ///< columns of the output; a multiple of 8
  uint32_t topK;
  uint32_t numExperts;
};

/// Compile-time choices of routing.
struct RouteConfig {
  uint32_t experts;
  uint32_t topK; ///< at most 32
  RouteScoring before;
  RouteScoring after;
  bool correctionBias;
  bool renormalise;
  uint32_t groups;
  uint32_t groupsPicked;
  uint32_t groupTop; ///< so many of a group's best are summed for the group's score
  uint32_t threads;
};

struct RouteArgs {
  const float *logits;         ///< [T, E]
  const float *correctionBias; ///< [E], or null
  int32_t *ids;                ///< [T, K], best first; -1 where fewer than K experts can be chosen
  float *weights;              ///< [T, K]; 0 where the id is -1
  uint32_t *numNonFinite;      ///< NaN and Inf logits seen are added here; may be null
  uint32_t numTokens;
  float epsilon;
  float scale;
};

/// Compile-time choices of dispatch.
struct DispatchConfig {
  uint32_t experts;
  uint32_t threads;       ///< a multiple of 32
  uint32_t pairsPerBlock; ///< of the count and place kernels
};

struct DispatchArgs {
  const int32_t *ids;         ///< [numPairs]; anything outside 0 .. E-1 is padding
  const int32_t *expertOrder; ///< [E], or null
  int32_t *counts;            ///< [E] pairs of each expert
  int32_t *expertBegin;       ///< [E + 1]
  int32_t *tileBegin;         ///< [E + 1]
  int32_t *tilePlace;         ///< [numPairs / tileTokens + E] at most
  int32_t *slotPair;          ///< [numPairs]
  int32_t *slotOfPair;        ///< [numPairs]; -1 for padding
  int32_t *blockCounts;       ///< [numBlocks, E] scratch of the three-kernel form
  uint32_t numPairs;
  uint32_t numBlocks; ///< ceil(numPairs / pairsPerBlock)
  uint32_t tileTokens;
};

/// Compile-time choices of combine.
struct CombineConfig {
  Element element;
  uint32_t topK;
  uint32_t threads;
};

struct CombineArgs {
  const void *expertOutput;  ///< [numSlots, hidden]
  const int32_t *slotOfPair; ///< [T * K]
  const float *weights;      ///< [T * K]
  void *output;              ///< [T, hidden]
  uint32_t numTokens;
  uint32_t hidden; ///< a multiple of 8
};

} // namespace moec
