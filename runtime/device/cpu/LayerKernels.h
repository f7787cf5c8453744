// One layer's compiled functions, bound and checked: what the executor calls.
#pragma once

#include "compiler/core/Calibration.h"
#include "compiler/core/Package.h"
#include "runtime/device/Device.h"
#include "runtime/device/cpu/CoverTable.h"
#include "runtime/device/cpu/Image.h"

#include <optional>
#include <vector>

namespace moec {

/// The kernels of one GEMM launch.
struct GemmKernels {
  uint32_t k = 0;            // of the GEMM
  uint32_t columns = 0;      // of output; gate-up: of the intermediate
  uint32_t panelColumns = 0; // output columns of one panel
  uint32_t panels = 0;
  bool biased = false;        // panels end with their columns' biases
  uint64_t panelSize = 0;     // bytes of one packed panel
  uint32_t stepBytes = 0;     // that a K step reads of a panel
  uint32_t panelsPerCall = 1; // that several tiles share while they are in the core's cache
  // Packed weights, from this many rows on: computing takes longer than reading the weights, so tiles fetch the next
  // panels.
  uint32_t fetchFromRows = 0;
  uint32_t panelsPerFetch = 1;                                  // that they share then; as many come in meanwhile
  uint32_t aStrideBytes = 0;                                    // between rows of `a`
  uint64_t biasBytes() const { return biased ? stepBytes : 0; } // of a panel: an f32 a column, as a step has
  std::vector<CpuTileFn> tiles;                                 // by descending rows, as `cover` indexes them
  CpuPackFn pack = nullptr;
  CoverTable cover;
};

/// Immutable; shared by all generations that run this config.
struct LayerKernels final : LoadedKernels {
  CpuConfig config;
  uint32_t lanes = 0;
  std::vector<LaunchKind> launches; // in the order in which they run
  std::optional<GemmKernels> router, sharedGateUp, sharedDown;
  GemmKernels gateUp, down;
  std::shared_ptr<const KernelImage> image; // keeps the functions loaded
};

/// Resolves a package layer's symbols and checks that its launch list is one that the executor can run: every launch
/// once, each after what it reads (router, route, dispatch, gate-up, down, store; shared down between dispatch and
/// down), K and columns those of the shape, tile heights of gate-up and down those of the config.
///
/// Errors: InvalidModel naming the launch and what is wrong with it; NotFound naming a missing symbol.
Result<std::shared_ptr<const LayerKernels>> bindKernels(const LayerPackage &layer, const TargetFacts &facts,
                                                        const Calibration &calibration,
                                                        std::shared_ptr<const KernelImage> image);

} // namespace moec
