// A GEMM over packed panels: which tiles run on which panels in which order, and what is fetched
// meanwhile.
#pragma once

#include "runtime/device/cpu/LayerKernels.h"
#include "runtime/device/cpu/Pack.h"
#include "runtime/device/cpu/Workspace.h"

namespace moec {

/// Where one expert's weights come from, panel by panel.
struct PanelSource {
  const GemmKernels &gemm;
  const std::byte *packed = nullptr; // null: pack on the fly
  StoredOperand stored;
  DType compute;

  /// `count` panels in a row, from `first` on; at most kPanelsPerCall where they are packed on the
  /// fly.
  const std::byte *panels(uint32_t first, uint32_t count, const ThreadScratch &scratch) const;
};

/// Where a GEMM reads and writes: `a` and `c` of its first row, in bytes; rows of `c` are only
/// advanced where each row has its own (gate-up, router), not where rows are added to the tokens'
/// (down). Rows have weights where the kernel multiplies by them.
struct TileOperands {
  const std::byte *a = nullptr;
  std::byte *c = nullptr;
  uint64_t cRowBytes = 0;   // between rows of c
  uint64_t cPanelBytes = 0; // between panels of c
  const int32_t *rowToken = nullptr;
  const float *rowWeight = nullptr;
};

/// Packed panels that the same thread likely reads next; they are fetched early.
struct NextPanels {
  const std::byte *data = nullptr; // null: nobody knows
  uint32_t panels = 0;
};

/// Computes panels [begin, end) of `rows` rows. `after`: of the same GEMM's shape, what follows
/// panel `end`.
void runPanels(const PanelSource &source, const TileOperands &to, uint32_t rows, uint32_t begin, uint32_t end,
               NextPanels after, const ThreadScratch &scratch);

} // namespace moec
