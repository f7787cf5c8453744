// The device buffers of one step: sized once for the largest step, so that the step path never allocates.
#pragma once

#include "compiler/core/CudaLaunch.h"
#include "compiler/core/LayerShape.h"
#include "runtime/device/cuda/Memory.h"

#include <span>
#include <vector>

namespace moec {

/// What the maps of a layer's rows depend on.
struct CudaRowSizes {
  uint32_t hidden = 0, intermediate = 0; // rounded up (CudaLaunch.h)
  uint32_t tokenRows = 0;                // of a token: K, and one more where a shared expert joins the routed ones
  DType dtype = DType::BF16;
  bool e4m3 = false; // the products' tokens are quantised

  static CudaRowSizes of(const LayerShape &shape);
  bool operator==(const CudaRowSizes &) const = default;
};

/// A workspace's rows between the products as fitted kernels and those of e4m3 read and write them, for layers of the
/// same sizes. R: T * rowsPerToken() (JoinedShared.h).
struct CudaRowMaps {
  CudaRowSizes sizes;
  CUtensorMap activated{};     // [R, I] in boxes of kOutputBoxRows: gate-up's output, and down's tokens in narrow tiles
  CUtensorMap wideActivated{}; // the same in boxes of kWideBoxRows: down's tokens in wide tiles
  CUtensorMap expertOutput{};  // [R, H] in boxes of kOutputBoxRows: down's output

  // e4m3 alone. Quantised rows lie where the outputs will be, or by themselves; boxes as above.
  CUtensorMap quantisedTokens{}, wideQuantisedTokens{};       // [R, H]: gate-up's tokens
  CUtensorMap quantisedActivated{}, wideQuantisedActivated{}; // [R, I]: down's, and gate-up's output (narrow)

  /// Of the tokens that a product copies by slot, for its config.
  const CUtensorMap &tokens(GemmFamily family, const GemmConfig &product) const {
    const bool narrow = tokenBoxRows(product) == kOutputBoxRows;
    if (product.role == GemmRole::GateUp) // of e4m3: others gather theirs
      return narrow ? quantisedTokens : wideQuantisedTokens;
    if (family == GemmFamily::Fp8)
      return narrow ? quantisedActivated : wideQuantisedActivated;
    return narrow ? activated : wideActivated;
  }
};

/// What buffers must hold: the largest of everything, over the layers that share them.
struct CudaWorkspaceNeeds {
  uint64_t tokens = 0, pairs = 0, rows = 0;     // rows of the grouped products: pairs, and a joined shared expert's
  uint64_t experts = 0;                         // of the grouped products
  uint64_t logits = 0;                          // f32 elements
  uint64_t tiles = 0;                           // token tiles, at most
  uint64_t blockCounts = 0;                     // int32 elements
  uint64_t activatedBytes = 0, outputBytes = 0; // of the experts
  uint64_t quantisedBytes = 0;                  // e4m3 of what is activated
  uint64_t tokenScaleBlocks = 0, activatedScaleBlocks = 0; // scales of the longest quantised row
  uint64_t sharedActivatedBytes = 0, sharedOutputBytes = 0;
  uint64_t paddedBytes = 0;         // of hidden states whose H had to be rounded up; 0 where no layer's had
  std::vector<CudaRowSizes> mapped; // each once; none where the GPU has no tensor maps

  static CudaWorkspaceNeeds of(std::span<const LayerShape> shapes, uint32_t maxTokens, bool tensorMaps);
};

/// f32 elements between two rows of logits: one for each expert, and the shared expert's gate behind them.
uint32_t cudaLogitStride(const LayerShape &shape);

/// Device addresses. H, I and Is are rounded up (CudaLaunch.h). R: rows of the grouped products, T * rowsPerToken(); X:
/// their experts (JoinedShared.h). The layers of a step use them one after another.
struct CudaWorkspace {
  /// `stream` clears what has to start as zeros; not waited for.
  static Result<CudaWorkspace> make(const CudaDriver &driver, const DeviceMemory &memory,
                                    const CudaWorkspaceNeeds &needs, CUstream stream);

  float *logits = nullptr;           // [T, logitStride]
  int32_t *ids = nullptr;            // [T, K]
  float *weights = nullptr;          // [T, K]
  int32_t *counts = nullptr;         // [X]
  uint32_t *progress = nullptr;      // GateUpProgress::counts
  int32_t *expertBegin = nullptr;    // [X + 1]
  TileHead *tileHead = nullptr;      // [1]
  TokenTile *tiles = nullptr;        // [tiles]
  int32_t *slotPair = nullptr;       // [R]
  int32_t *slotOfPair = nullptr;     // [T * K]
  int32_t *blockCounts = nullptr;    // [blocks, E]
  std::byte *activated = nullptr;    // [R, I]
  std::byte *expertOutput = nullptr; // [R, H]; until down writes it: gate-up's rows, where they are quantised
  uint8_t *quantised = nullptr;      // e4m3 [R, I]: down's rows, where they are quantised
  float *tokenScales = nullptr;      // of gate-up's quantised rows: [ceil(H / 128), scaleStride]
  float *activatedScales = nullptr;  // of down's: [ceil(I / 128), scaleStride]
  uint32_t scaleStride = 0;
  std::byte *sharedActivated = nullptr; // [T, Is]
  std::byte *sharedOutput = nullptr;    // [T, H]
  std::byte *hidden = nullptr;          // [T, H], where H is rounded up: added columns stay zero
  std::byte *output = nullptr;          // [T, H], likewise
  // Zeros, and zeros again after each launch: counters of tiles [kTileCounters] of gate-up, then of down (fitted,
  // e4m3), dispatchGrid's barrier [2].
  uint32_t *tileCounters = nullptr, *gridBarrier = nullptr;
  std::vector<CudaRowMaps> rowMaps;
  DeviceBuffer memory;

  /// The maps for a layer; null where there are none.
  const CudaRowMaps *mapsOf(const LayerShape &shape) const;
};

} // namespace moec
