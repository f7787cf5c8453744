// The functions that CPU code generation exports and the runtime calls. C-representable and versioned: a
// change here is a new `kCpuAbiVersion`, which is part of every artefact key.
#pragma once

#include <cstdint>

namespace moec {

inline constexpr uint32_t kCpuAbiVersion = 4;

/// Tiles of fewer rows ignore `next`: they read weights about as fast as memory gives them, and asking for more of them
/// holds those reads up.
inline constexpr uint32_t kCpuPrefetchRows = 4;

/// One tile of R rows (fixed per kernel) against `panels` consecutive packed panels.
///
/// a        [R, paddedStride(K)] rows in the config's row dtype; elements past K up to an even K are zero
/// b        `panels` panels, each [ceil(K/2) pairs][2*lanes columns][2] in bf16, [K][2*lanes] in f32; of a biased
/// kernel then
///          [2*lanes] f32 that are added to the columns' sums, before all else but a row's weight
/// c        gate-up: [R, cStrideBytes] in the row dtype, lanes columns per panel (activated);
///          router: [R, cStrideBytes] f32, 2*lanes columns per panel;
///          down: base of the f32 accumulators [T, cStrideBytes], 2*lanes columns per panel
/// rowToken [R] down only: the accumulator row that each row adds to
/// rowWeight[R] down: what the row is multiplied by before it is added; a weighted gate-up: what its sums are
/// multiplied by
///          before anything else, as if the row had been multiplied and not rounded
/// next     where the weights start that later calls read: while the tile computes, it prefetches them into the core's
///          second-level cache. A cursor starts there and moves on by `nextStepBytes` with every K step of every panel
///          (a pair of K in bf16); at each, as many bytes as the step reads of `b` are asked for. No address faults,
///          but one that is not mapped costs a page walk each time: without a next, `b`.
/// nextStepBytes at most what a step reads of `b`, or lines are left out; 0 where there is no next
///
/// Sums over K in ascending order in one f32 accumulator per element, whatever R is.
using CpuTileFn = void (*)(const void *a, const void *b, void *c, const int32_t *rowToken, const float *rowWeight,
                           int64_t cStrideBytes, int64_t panels, const void *next, int64_t nextStepBytes);

/// Packs `lanes` rows of each of two operands ([lanes, K] each, rows `rowBytes` apart, in the compute dtype) into one
/// panel. For a plain operand `second` is `first` advanced by `lanes` rows.
using CpuPackFn = void (*)(const void *first, const void *second, int64_t rowBytes, void *panel);

/// What a kernel computes after its K loop.
enum class CpuRole : uint8_t { GateUp = 0, Down = 1, Router = 2 };

} // namespace moec
