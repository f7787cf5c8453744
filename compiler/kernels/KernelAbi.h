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

inline constexpr uint32_t kCudaAbiVersion = 24;

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
  bool dense;          ///< one expert over rows 0 .. numRows-1 in their own order (shared experts); no tables are read
  bool biased = false; ///< each column of the products has a bias, added before all else but a weight
  bool weighted = false; ///< GateUp: each row's products are multiplied by its pair's weight, before all else
  /// Fitted: neighbours on the device that have the same token tiles, each with weights of its own, and fetch the rows
  /// for each other. A launch has a multiple of so many blocks.
  uint32_t clusterBlocks = 1;
  /// e4m3: takes a step of few pairs as rows of two-byte elements, gate-up's each from its token, and quantises them as
  /// it brings them, as quantise would.
  bool quantises = false;
  /// Down of the fitted family and e4m3's, one expert a token: weighs each row and writes it as its token's output, so
  /// that no combine runs (tile/CombinedRows.cuh). The same bits.
  bool combines = false;
};

/// Whether a tile has more token rows than the fewest that fitted tiles and those of e4m3 multiply.
constexpr bool isWide(uint32_t tileTokens) { return tileTokens > 16; }

constexpr uint32_t ceilDivide(uint64_t value, uint64_t by) { return static_cast<uint32_t>((value + by - 1) / by); }

/// Threads of a block.
constexpr uint32_t portableThreads(const GemmConfig &c) { return c.warpsTokens * c.warpsWeights * 32; }
/// (Hopper: those that multiply, and a warpgroup that loads.)
constexpr uint32_t multiplyingThreads(const GemmConfig &c) { return c.warpsTokens * 128; }
constexpr uint32_t hopperThreads(const GemmConfig &c) { return 128 + multiplyingThreads(c); }

/// Output columns of a tile: gate and up rows make one column together.
constexpr uint32_t outputColumns(const GemmConfig &c) {
  return c.role == GemmRole::GateUp ? c.tileWeights / 2 : c.tileWeights;
}

/// Fitted family: rows of a box of the tensor map of the outputs.
inline constexpr uint32_t kOutputBoxRows = 16;
/// Fitted family: whether a product fetches each token row from where its token is.
constexpr bool gathersTokens(const GemmConfig &c) { return c.role == GemmRole::GateUp; }
/// Fitted family: whether the copy engine fetches them, row by row, for all blocks of a cluster. One block alone copies
/// them by cp.async: the engine takes 5 to 8 clocks a row, of the 1,150 that a stage of 192 rows is multiplied in.
constexpr bool fetchesRows(const GemmConfig &c) { return gathersTokens(c) && c.clusterBlocks > 1; }
/// Fitted family: token rows of a box of the tensor map of tokens: one, if they are gathered, else as they lie by slot;
/// tiles of 16 tokens: 16.
inline constexpr uint32_t kWideBoxRows = 32;
constexpr uint32_t tokenBoxRows(const GemmConfig &c) {
  return fetchesRows(c) ? 1 : c.tileTokens < kWideBoxRows ? c.tileTokens : kWideBoxRows;
}
/// Fitted family: groups of eight gate and eight up rows in a box of gate-up's tensor map.
constexpr uint32_t boxGroups(const GemmConfig &c) { return c.tileWeights / 16; }

/// Weight rows of the box of a tensor map.
constexpr uint32_t boxRows(const GemmConfig &c) { return outputColumns(c); }

/// Bytes of one stage: a token tile and a weight tile of two-byte elements.
constexpr uint32_t stageBytes(const GemmConfig &c) { return (c.tileTokens + c.tileWeights) * c.tileK * 2; }

/// Dynamic shared memory of a launch. Swizzled tiles of the Hopper family start at multiples of 1024 bytes, which
/// dynamic shared memory does not promise.
constexpr uint32_t portableSharedBytes(const GemmConfig &c) { return c.stages * stageBytes(c); }
constexpr uint32_t hopperSharedBytes(const GemmConfig &c) { return c.stages * stageBytes(c) + 1024; }

/// Tiles mix where experts with several tiles have so many rows for each expert with one (mixRowsOf()). With fewer a
/// step reads weights all along, which gains nothing, and in one order for both kinds tokens that tiles share leave the
/// second-level cache meanwhile; with blocks for each kind (tile/WorkKinds.cuh) wide tiles pay from few rows on.
/// Measured on an H100, which multiplies some 270 rows of bf16 while it reads their expert's weights
/// (docs/performance-log.md).
inline constexpr uint32_t kMixRows = 128, kMixRowsE4M3 = 80, kMixRowsWide = 16, kMixRowsWideE4M3 = 24;

/// The tiles of a step, and whether those of experts with several mix with those of experts with one
/// (tile/WorkKinds.cuh, tile/Schedule.cuh).
struct alignas(16) TileHead {
  uint32_t tokenTiles;   ///< of all experts
  uint32_t severalTiles; ///< of experts with several, which then come first; 0: tiles run in the order of the table
  uint32_t fraction;     ///< severalTiles / tokenTiles, in 2^-32 (of who has no queues: WorkOrder)
  uint32_t unused;       ///< 0: so that it is read in one access

  bool operator==(const TileHead &) const = default;
};

/// A token tile of an expert: what a tile's work is found from, in one access. An expert's entries, one for each
/// `tileTokens` rows or a part of them, are alike and follow each other.
struct alignas(16) TokenTile {
  uint32_t expert;
  uint32_t firstTile;          ///< the expert's
  uint32_t firstSlot, endSlot; ///< of its rows

  bool operator==(const TokenTile &) const = default;
};

/// Tiles of either kind (tile/WorkKinds.cuh) are drawn from a counter of their own.
inline constexpr uint32_t kTileCounters = 2;

/// A step of so few pairs needs no dispatch: who would read what it writes finds that by itself (tile/FewPairs.cuh).
inline constexpr uint32_t kFewPairs = 32;
/// Nor does a step with so few rows, those of a joined expert included, whose products both have narrow tiles: four
/// warps of each block find its tables together (tile/BlockPairs.cuh). bf16's wide tiles leave no room for those.
inline constexpr uint32_t kBlockRows = 512;
/// In e4m3 products quantise the rows of so few tokens themselves: every tile of weights does it anew (gateUpFewFp8 and
/// downFewFp8: every block), which costs less than a launch as long as there are few of them.
inline constexpr uint32_t kFewTokens = 4;
/// Stages that such a product needs: warps take turns at them, anew with each tile, so two turns of one lie up to five
/// stages apart; farther than the ring is long, and "empty two rounds ago" would look like "empty".
inline constexpr uint32_t kQuantisingWarps = 3, kQuantisingStages = 2 * kQuantisingWarps - 1;

/// Shared memory that a product of the fitted family or of e4m3 has besides the dynamic: two barriers a stage, two
/// tiles with two barriers each, and the tables of few pairs.
inline constexpr uint32_t kFewTableBytes = 576, kBlockTableBytes = 10496;
constexpr uint32_t fittedStaticBytes(const GemmConfig &c) {
  return 16 * c.stages + 64 + (isWide(c.tileTokens) ? kFewTableBytes : kBlockTableBytes);
}

/// The pairs of such a step. Slots and tiles are those that dispatch gives, experts in the order of their numbers.
struct FewPairs {
  const int32_t *ids; ///< [numTokens, topK], anything outside 0 .. numExperts-1 is padding; null: dispatch ran
  uint32_t numTokens;
  uint32_t topK;       ///< of the layer
  uint32_t numExperts; ///< routed ones, kMostFewExperts at most
  uint32_t joined;     ///< 1: every token goes to one more expert besides (DispatchConfig::joined); else 0
  int32_t *slotOfPair; ///< GateUp, more than kFewPairs: [numTokens, topK] where it leaves each pair's slot (-1:
                       ///< padding) for combine, which does not find so many
};
inline constexpr uint32_t kMostFewExperts = 512;

/// Whether a lane has a pair. Else four warps find them, in narrow tiles alone.
constexpr bool isFew(const FewPairs &pairs) { return pairs.numTokens * pairs.topK <= kFewPairs; }
constexpr bool mayFindBlockPairs(const GemmConfig &c) { return !isWide(c.tileTokens) && !c.dense; }

/// What gate-up has written, so that a block of down waits for the rows of its tile and not for all of gate-up
/// (tile/Progress.cuh). Each warp that stores adds one to a token tile's count for each tile of weights that meets it,
/// when its part is written, and one to the first count after its last tile.
struct GateUpProgress {
  uint32_t *counts; ///< [numProgressCounts()]: of warps that have ended, then at progressCount(); zeros before gate-up.
                    ///< Null: down waits for the whole of gate-up
  uint32_t all;     ///< Down: the first count once all is written: of gate-up's grid
  uint32_t ofTile;  ///< Down: a token tile's count once its rows are written
};

/// Where the count of an expert's token tile is that begins with a slot. Slots follow the experts' numbers, and of an
/// expert's tiles all have half of tileTokens rows or more if there are several (tile/WorkFinder.cuh), so no two have
/// the same.
constexpr uint32_t progressCount(uint32_t tileTokens, uint32_t expert, uint32_t firstSlot) {
  return 1 + expert + firstSlot / (tileTokens / 2);
}
/// `rows`: of all experts.
constexpr uint32_t numProgressCounts(uint32_t tileTokens, uint32_t experts, uint64_t rows) {
  return 1 + experts + static_cast<uint32_t>(rows / (tileTokens / 2));
}

/// Where dispatch leaves each step's pairs per expert for the host: a ring of samples in pinned memory. Nobody waits
/// for anybody. Each word carries its sample's number above a count, so a reader that finds one number in all words of
/// a sample has the whole of it, in whatever order they arrived; a number missed was overwritten before it was read.
struct CountsRing {
  uint64_t *words;    ///< pinned [numSamples, E + 1], zero at first; null: no samples. Word E counts pairs with padding
  uint32_t *sequence; ///< device memory, 0 at first; sample n (from 1) lies at n % numSamples
  uint32_t numSamples;
};
constexpr uint64_t countWord(uint32_t sequence, uint32_t count) { return uint64_t{sequence} << 32 | count; }
constexpr uint32_t countOf(uint64_t word) { return static_cast<uint32_t>(word); }
constexpr uint32_t sequenceOf(uint64_t word) { return static_cast<uint32_t>(word >> 32); }

/// Arguments of a grouped GEMM, made by dispatch (dispatch.cuh) and by whoever owns the weights. Slots in pointers to
/// int32 are rows of (Down) `tokens` and, but where it combines, of `output`. A dense config reads `numRows` and none
/// of the tables; nor does a step of few pairs, which fitted and e4m3 products take.
struct GroupedGemmArgs {
  const void *tokens;       ///< GateUp: [T, k]; Down: [numSlots, k]; row-major
  const void *weights;      ///< gate or down; [E, n, k], rows of one expert contiguous (Hopper: tensor map instead)
  const void *upWeights;    ///< GateUp: up, laid out as `weights`
  void *output;             ///< [numSlots, n]; dense, combines: [numRows, n]
  const int32_t *slotPair;  ///< [numSlots] pair (token * topK + k) of each slot
  const TileHead *tileHead; ///< [1]
  const TokenTile *tiles;   ///< [tileHead->tokenTiles] experts in the order in which they run
  int64_t expertStride;     ///< elements from one expert's weights to the next (2 * I * H where gate and up are fused)
  uint32_t k;               ///< length of the sum; a multiple of 8
  uint32_t n;               ///< columns of the output; a multiple of 8
  uint32_t topK;
  uint32_t numExperts;      ///< that there are weights of; dense: 1. Of maps, tests and configs that combine
  uint32_t numRows;         ///< T; of maps, and of configs that are dense or combine
  uint32_t *tileCounters;   ///< Fitted, e4m3: [kTileCounters] zeros; left as zeros. Of one launch at a time
  const float *bias;        ///< biased: gate's or down's, [E, n]
  const float *upBias;      ///< biased, GateUp: up's, [E, n]
  const float *pairWeights; ///< weighted: [T * topK]; combines: likewise, or null: rows count fully
  FewPairs few;             ///< Fitted, e4m3
  GateUpProgress progress;  ///< Fitted, wide tiles: where dispatch ran and down is the launch just behind gate-up
  const int32_t *ids;       ///< combines: [T], whose tokens without an expert get zeros
  CountsRing ring;          ///< Down, few: where it combines, and of more than kFewPairs; as CombineArgs'
};

/// Compile-time choices of the router's product. A block computes `tileTokens` by `tileExperts` logits. All configs add
/// in the same order, so a logit has the same bits in each of them.
struct RouterGemmConfig {
  Element element;
  uint32_t tileTokens;  ///< 8, or a multiple of 16; wgmma: 64 or 128
  uint32_t tileExperts; ///< a multiple of 8, or fewer; wgmma: 64 or 128
  bool wgmma = false;   ///< routerLogitsSm90, else routerLogits
};

/// Whether both sides of the product pass through shared memory on their way to mma.sync (tile/StagedRouter.cuh).
constexpr bool isStaged(const RouterGemmConfig &c) { return !c.wgmma && c.tileTokens >= 128; }

/// Shares of the sum, each added up by itself: of small tiles a warp has one.
inline constexpr uint32_t kRouterWarps = 8;
/// Elements of the sum that shares are made of, and how many such pieces staged tiles have under way, which all sm_80
/// have room for.
inline constexpr uint32_t kRouterChunk = 32, kRouterStages = 6;

/// wgmma: multiplying warpgroups of a block, each with 64 experts.
constexpr uint32_t routerGroups(const RouterGemmConfig &c) { return c.tileExperts / 64; }
/// Bytes of one stage, and stages of a tile. Those of wgmma have rows of 128 bytes and take up to 208 KB.
constexpr uint32_t routerStageBytes(const RouterGemmConfig &c) {
  return (c.tileTokens + c.tileExperts) * (c.wgmma ? 2 : 1) * kRouterChunk * 2;
}
constexpr uint32_t routerStages(const RouterGemmConfig &c) {
  const uint32_t room = 208 * 1024 / routerStageBytes(c);
  return !c.wgmma ? kRouterStages : room < 8 ? room : 8;
}
/// Dynamic shared memory; swizzled rows start at multiples of 1024 bytes, which it does not promise.
constexpr uint32_t routerSharedBytes(const RouterGemmConfig &c) {
  return c.wgmma       ? routerStages(c) * routerStageBytes(c) + 1024
         : isStaged(c) ? routerStages(c) * routerStageBytes(c)
                       : 0;
}

constexpr uint32_t routerThreads(const RouterGemmConfig &c) {
  return c.wgmma ? (1 + routerGroups(c)) * 128 : kRouterWarps * 32;
}
/// Blocks that compute all logits in one turn; any other grid is right too.
constexpr uint32_t routerBlocks(const RouterGemmConfig &c, uint32_t numTokens, uint32_t numRows) {
  return ceilDivide(numTokens, c.tileTokens) * ceilDivide(numRows, c.tileExperts);
}

/// logits[t, e] = hidden[t] . weight[e] + bias[e].
struct RouterGemmArgs {
  const void *hidden;   ///< [T, hiddenSize]
  const void *weight;   ///< [planes, E, hiddenSize]; the weight is the sum of its planes
  const void *extraRow; ///< [planes, hiddenSize] or null: one more row, column E of the logits (a shared expert's gate)
  const float *bias;    ///< [E] or null; the extra row has none
  float *logits;        ///< [T, logitStride]
  uint32_t numTokens;
  uint32_t numExperts; ///< E, any number
  uint32_t hiddenSize; ///< a multiple of 8
  uint32_t planes;     ///< 1; an f32 weight is split exactly into 3 bf16 planes (each the rounded rest of those before)
  uint32_t logitStride;
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

/// A logit that is not finite counts as minus infinity: its expert is chosen last and weighs nothing. A token without
/// any finite logit goes to experts 0 .. K-1, alike (runtime/device/cpu/Route.h: the same on a CPU).
struct RouteArgs {
  const float *logits;         ///< [T, logitStride]
  const float *correctionBias; ///< [E], or null
  int32_t *ids;                ///< [T, K], best first; ties go to the lower expert
  float *weights;              ///< [T, K]
  uint32_t *numNonFinite;      ///< NaN and Inf logits seen are added here; may be null
  uint32_t numTokens;
  uint32_t logitStride;
  float epsilon;
  float scale;
};

constexpr uint32_t routeBlocks(const RouteConfig &c, uint32_t numTokens) {
  return ceilDivide(numTokens, c.threads / 32);
}

/// Compile-time choices of dispatch.
struct DispatchConfig {
  uint32_t experts;
  uint32_t threads;       ///< a multiple of 32
  uint32_t pairsPerBlock; ///< of the count and place kernels
  bool joined = false;    ///< every token goes to one more expert besides (not with static slots)
};

/// Experts in the tables that dispatch makes. A joined expert is number 0 and has slots 0 .. T-1, slot t for token t;
/// routed expert e is number e + 1, and its slots follow.
constexpr uint32_t tableExperts(const DispatchConfig &c) { return c.experts + (c.joined ? 1 : 0); }

/// Up to so many pairs one block (dispatchOneBlock) is quicker than many that are no cluster.
inline constexpr uint32_t kOneBlockPairs = 4096;

/// Blocks of dispatchCluster, which are one cluster, and how many pairs each of their threads takes at most.
inline constexpr uint32_t kDispatchClusterBlocks = 8, kDispatchClusterTurns = 4;
constexpr uint32_t dispatchClusterPairs(const DispatchConfig &c) {
  return kDispatchClusterBlocks * c.threads * kDispatchClusterTurns;
}

/// X: tableExperts(); R: rows, numPairs and, where an expert is joined, numTokens.
struct DispatchArgs {
  const int32_t *ids;           ///< [numPairs]; anything outside 0 .. E-1 is padding
  const int32_t *pairOf;        ///< [numPairs] pair of each id (a spill list), or null: id i is pair i's. Not read by
                                ///< dispatchCluster
  const int32_t *pairsOnDevice; ///< dispatchOneBlock: numPairs itself, or null
  const int32_t *plannedOrder;  ///< [X] order of experts, where tiles do not mix; null: 0 .. X-1
  int32_t *counts;              ///< [X] rows of each expert
  int32_t *expertBegin;         ///< [X + 1]
  uint32_t *progress;           ///< [numProgress], cleared (GateUpProgress::counts)
  TileHead *tileHead;           ///< [1]
  TokenTile *tiles;             ///< [R / tileTokens + X] at most
  int32_t *slotPair;            ///< [R]; of a joined expert's slots the token's first pair
  int32_t *slotOfPair;          ///< of every pair; -1 for padding
  int32_t *blockCounts;         ///< [numBlocks, E] scratch of dispatchGrid and of the three-kernel form
  uint32_t *gridBarrier;        ///< dispatchGrid: [2] zeros; left as zeros
  CountsRing ring;
  uint32_t numPairs;  ///< dispatchCluster: dispatchClusterPairs() at most
  uint32_t numBlocks; ///< dispatchGridBlocks(); three-kernel form: ceil(numPairs / pairsPerBlock)
  int32_t slotOffset; ///< added to what goes into slotOfPair
  uint32_t tileTokens;
  uint32_t mixRows;     ///< mixRowsOf(); tests mix fewer rows
  uint32_t numProgress; ///< numProgressCounts() where down goes by gate-up's progress, else 0
  uint32_t numTokens;   ///< joined: T; each has `topK` pairs that follow each other
  uint32_t topK;        ///< joined
};

/// Blocks of dispatchGrid. They wait for each other, so all must run at once: at most one a multiprocessor.
inline constexpr uint32_t kDispatchGridMost = 64;
constexpr uint32_t dispatchGridBlocks(uint32_t numPairs, uint32_t multiprocessors) {
  const uint32_t most = multiprocessors < kDispatchGridMost ? multiprocessors : kDispatchGridMost;
  const uint32_t wanted = ceilDivide(numPairs, 1024);
  return wanted < 1 ? 1 : wanted < most ? wanted : most;
}

/// Static slots: expert e has rows slotBegin[e] .. slotBegin[e + 1] - 1; pairs that do not fit go to the spill list,
/// which dispatchOneBlock then places behind the slots (ids = spillIds, pairOf = spillPairs, pairsOnDevice =
/// spillCount, slotOffset = slotBegin[E]) for a second pair of GEMMs.
struct DispatchSlotsArgs {
  const int32_t *ids;          ///< [numPairs]; anything outside 0 .. E-1 is padding
  const int32_t *slotBegin;    ///< [E + 1]
  const int32_t *plannedOrder; ///< [E] order of experts, where tiles do not mix; null: 0 .. E-1
  int32_t *counts;             ///< [E] pairs of each expert, spilled ones included
  TileHead *tileHead;          ///< [1]
  TokenTile *tiles;            ///< [slotBegin[E] / tileTokens + E] at most
  int32_t *slotPair;           ///< [slotBegin[E]]
  int32_t *slotOfPair;         ///< [numPairs]; -1 for padding and, until the spill list is placed, for spilled pairs
  int32_t *spillPairs;         ///< [numPairs], of which spillCount are written
  int32_t *spillIds;           ///< as spillPairs
  int32_t *spillCount;         ///< [1]
  int32_t *cursors;            ///< [E + 2] zeros; left as zeros
  CountsRing ring;
  uint32_t numPairs;
  uint32_t tileTokens;
  uint32_t mixRows; ///< as DispatchArgs'
};

/// Blocks of dispatchSlots that take one turn: four pairs a thread.
constexpr uint32_t dispatchSlotsBlocks(const DispatchConfig &c, uint32_t numPairs) {
  const uint32_t blocks = ceilDivide(numPairs, c.threads * 4);
  return blocks > 0 ? blocks : 1;
}

/// Compile-time choices of combine.
struct CombineConfig {
  Element element;
  uint32_t topK;
  uint32_t threads;
  bool weighted = true; ///< else expert outputs count fully, and weights are not read
};

/// output[t] = sigmoid(sharedGate[t]) * shared[t] + sum over k of weights[t, k] * expertOutput[slotOfPair[t, k]], added
/// in this order (k ascending) in f32, rounded once.
struct CombineArgs {
  const void *expertOutput;  ///< [numSlots, hidden]
  const int32_t *slotOfPair; ///< [T * K]
  const float *weights;      ///< weighted: [T * K]
  const void *shared;        ///< [T, hidden] or null
  const float *sharedGate;   ///< logits, one every `gateStride` floats, or null: the shared output counts fully
  void *output;              ///< [T, hidden]
  uint32_t numTokens;
  uint32_t hidden; ///< a multiple of 8
  uint32_t gateStride;
  FewPairs few;    ///< where slotOfPair is not read
  CountsRing ring; ///< few: as DispatchArgs', since dispatch did not run
};

/// Blocks of combine that take one turn. One more leaves the counts (CombineArgs::ring) while these work.
constexpr uint32_t combineBlocks(const CombineConfig &c, uint32_t numTokens, uint32_t hidden) {
  const uint32_t blocks = ceilDivide(uint64_t{numTokens} * (hidden / 8), c.threads);
  return blocks > 0 ? blocks : 1;
}

} // namespace moec
