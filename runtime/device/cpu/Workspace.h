// The buffers of one step: sized once for the largest step, so that the step path never allocates.
#pragma once

#include "compiler/core/LayerShape.h"
#include "compiler/core/TargetFacts.h"
#include "runtime/memory/Region.h"

#include <span>
#include <vector>

namespace moec {

/// Rows that any buffer has beyond its own, for the overhang of a last tile.
inline constexpr uint32_t kOverhangRows = 16;

/// Panels that a kernel is handed at a time where several tiles share them (fewer where they would not fit a core's
/// cache): as many as the shortest tiles compute side by side.
inline constexpr uint32_t kPanelsPerCall = 4;

/// f32 elements between two accumulator rows: whole panels, and an odd number of cache lines.
uint32_t accumulatorStride(uint32_t hidden, uint32_t lanes);
/// f32 elements between two rows of router logits.
uint32_t logitStride(uint32_t experts, uint32_t lanes);

/// One thread's own memory for packing panels and for scoring.
struct ThreadScratch {
  std::byte *panel = nullptr; // one packed panel of the largest GEMM
  std::byte *rows = nullptr;  // as much, for packPanel
  float *scores = nullptr;    // [3, E rounded up to 16]
};

/// A range of one expert's gate-up panels.
struct WorkItem {
  uint32_t expert = 0;
  uint32_t panelBegin = 0, panelEnd = 0;
};

/// What buffers must hold: the largest of everything, over the layers that share them.
struct WorkspaceNeeds {
  uint32_t maxTokens = 0;
  uint32_t threads = 1;
  uint32_t lanes = 8;
  uint64_t rows = 0;  // pairs of a step plus an overhang per expert
  uint64_t pairs = 0; // tokens times topK
  uint32_t experts = 0;
  uint64_t stagedBytes = 0, gatheredBytes = 0, middleBytes = 0, sharedMiddleBytes = 0;
  uint64_t logits = 0, accumulators = 0; // f32 elements
  uint64_t panelBytes = 0;
  bool inputWeights = false; // some layer has its weights on the experts' input

  static WorkspaceNeeds of(std::span<const LayerShape> shapes, uint32_t maxTokens, uint32_t threads,
                           const TargetFacts &facts);
};

/// One step's buffers. The layers of a step use them one after another.
///
/// An expert's rows lie together, in token order, from `begin[e]` on. Regions are placed one after another by the
/// counts of the step itself, whatever the slots: on a CPU a fixed place would only cost cache. All buffers start
/// as zeros and later hold what earlier layers left, which is finite unless a caller's hidden state was not; what an
/// overhanging row computes from it goes to the dummy accumulator row, which nobody reads.
struct Workspace {
  static Result<Workspace> make(const WorkspaceNeeds &needs);

  std::byte *staged = nullptr;    // [maxTokens + overhang, aStride(H)] hidden states in the compute dtype
  float *logits = nullptr;        // [maxTokens + overhang, logitStride]
  int32_t *ids = nullptr;         // [maxTokens, K]
  float *weights = nullptr;       // [maxTokens, K]
  uint32_t *pairs = nullptr;      // [E]
  uint32_t *begin = nullptr;      // [E + 1] first row of each expert's region
  uint32_t *fill = nullptr;       // [E] next free row while rows are listed
  uint8_t *spilled = nullptr;     // [E] 1: computed by generation 0's kernels
  int32_t *rowToken = nullptr;    // [rows] accumulator row of each row; the dummy row where it overhangs
  float *rowWeight = nullptr;     // [rows] what an expert's output is multiplied by
  float *inputWeight = nullptr;   // [rows] what its input is, or null: no layer has weights there
  int32_t *sharedToken = nullptr; // [maxTokens + overhang] the same for the shared expert
  float *sharedWeight = nullptr;
  std::byte *gathered = nullptr;     // [rows, aStride(H)]
  std::byte *middle = nullptr;       // [rows, aStride(I)] activated gate-up
  std::byte *sharedMiddle = nullptr; // [maxTokens + overhang, aStride(Is)]
  float *accumulators = nullptr;     // [maxTokens + 1, accumulatorStride]; row T of a step of T tokens is the dummy
  WorkItem *items = nullptr;         // [maxItems]
  uint32_t maxItems = 0;
  ThreadScratch scratch; // of the step's own thread
  Region memory;
};

/// Scratch of each worker of a pool: a worker runs one item at a time, so that all steps share these.
struct WorkerScratch {
  static Result<WorkerScratch> make(const WorkspaceNeeds &needs, uint32_t workers);
  std::vector<ThreadScratch> ofWorker; // index 0 is thread 1 of the pool
  Region memory;
};

} // namespace moec
