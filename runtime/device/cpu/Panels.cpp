#include "runtime/device/cpu/Panels.h"

#include <algorithm>

namespace moec {
namespace {

/// Hands the next group of panels out to the tiles of this one for prefetching, to each as much as
/// it has rows: its time goes by its rows, so memory is asked at an even rate.
class PrefetchShares {
public:
  PrefetchShares(const GemmKernels &gemm, uint32_t rows) : gemm(gemm) {
    gemm.cover.forEachTile(rows, [&](uint32_t, uint32_t, uint32_t height) { totalRows += rowsOf(height); });
  }

  /// A group of `panels` panels begins, `next` follows.
  void begin(uint32_t panels, NextPanels next) {
    steps = panels * ((gemm.panelSize - gemm.biasBytes()) / gemm.stepBytes);
    bytes = next.panels * gemm.panelSize;
    data = next.data;
    doneRows = 0;
  }

  struct Share {
    const std::byte *from;
    int64_t stepBytes;
  };
  /// What a tile of `height` rows over the panels at `b` prefetches.
  Share take(uint32_t height, const std::byte *b) {
    const uint64_t tileRows = data ? rowsOf(height) : 0;
    if (tileRows == 0)
      return {b, 0};
    Share share{data + bytes * doneRows / totalRows, 0};
    doneRows += tileRows;
    const uint64_t perStep = (bytes * tileRows + totalRows * steps - 1) / (totalRows * steps);
    share.stepBytes = static_cast<int64_t>(std::min<uint64_t>(perStep, gemm.stepBytes));
    return share;
  }

private:
  static uint64_t rowsOf(uint32_t height) { return height >= kCpuPrefetchRows ? height : 0; }

  const GemmKernels &gemm;
  uint64_t totalRows = 0, doneRows = 0;
  uint64_t steps = 0; // of all panels of the group
  uint64_t bytes = 0;
  const std::byte *data = nullptr;
};

} // namespace

const std::byte *PanelSource::panels(uint32_t first, uint32_t count, const ThreadScratch &scratch) const {
  if (packed)
    return packed + first * gemm.panelSize;
  for (uint32_t index = 0; index < count; ++index)
    packPanel(gemm, stored, compute, first + index, scratch.rows, scratch.panel + index * gemm.panelSize);
  return scratch.panel;
}

void runPanels(const PanelSource &source, const TileOperands &to, uint32_t rows, uint32_t begin, uint32_t end,
               NextPanels after, const ThreadScratch &scratch) {
  const GemmKernels &gemm = source.gemm;
  PrefetchShares shares(gemm, rows);
  auto run = [&](const std::byte *b, uint32_t panel, uint32_t panels) {
    gemm.cover.forEachTile(rows, [&](uint32_t tile, uint32_t row, uint32_t height) {
      std::byte *c = to.c + panel * to.cPanelBytes + (to.rowToken ? 0 : row * to.cRowBytes);
      const PrefetchShares::Share next = shares.take(height, b);
      gemm.tiles[tile](to.a + uint64_t{row} * gemm.aStrideBytes, b, c, to.rowToken ? to.rowToken + row : nullptr,
                       to.rowWeight ? to.rowWeight + row : nullptr, static_cast<int64_t>(to.cRowBytes), panels,
                       next.from, next.stepBytes);
    });
  };
  // With one tile each panel is read once: one call streams them all.
  if (source.packed && gemm.cover.isOneTile(rows))
    return run(source.panels(begin, end - begin, scratch), begin, end - begin);
  // A few panels at a time stay in the core's cache for all tiles. Where computing takes longer than reading, the tiles
  // fetch the next few meanwhile; where it does not, the core's own prefetchers do better and want its fill buffers.
  const bool fetch = source.packed && rows >= gemm.fetchFromRows;
  const uint32_t group = fetch ? gemm.panelsPerFetch : gemm.panelsPerCall;
  for (uint32_t panel = begin; panel < end; panel += group) {
    const uint32_t count = std::min(group, end - panel);
    const std::byte *b = source.panels(panel, count, scratch);
    const uint32_t left = end - panel - count;
    if (left > 0)
      shares.begin(count, {fetch ? b + count * gemm.panelSize : nullptr, std::min(group, left)});
    else
      shares.begin(count, {fetch ? after.data : nullptr, std::min(gemm.panelsPerFetch, after.panels)});
    run(b, panel, count);
  }
}

} // namespace moec
