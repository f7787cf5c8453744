// How both sides of routerLogitsSm90's product come. Rows are copied by cp.async: hidden states are the caller's, for
// which no tensor map is made on the step path, and the last row may be another tensor's.
#pragma once

#include "compiler/kernels/ptx/CpAsync.cuh"
#include "compiler/kernels/ptx/Registers.cuh"
#include "compiler/kernels/router/Ring.cuh"

namespace moec {

/// One warpgroup; sixteen threads copy a row of a stage, 8 bytes each. They put a chunk's elements in the order in
/// which the instructions of the other tiles add them (multiplyRouterRows): first the first halves of its four 16
/// bytes, then the second halves. So a logit has the same bits whatever the number of tokens.
template <RouterGemmConfig C> struct RouterGatherer {
  static constexpr uint32_t partsPerRow = 2 * tile::piecesPerRow;
  static constexpr uint32_t rowStep = 128 / partsPerRow; // a multiple of eight: all rows are swizzled alike
  static_assert(rowStep % 8 == 0 && C.tileTokens % rowStep == 0 && C.tileExperts % rowStep == 0);

  const RouterGemmArgs &args;
  RouterRing<C> ring;
  const uint32_t part, firstRow; // of a row four elements, and the first row

  __device__ RouterGatherer(const RouterGemmArgs &args, const RouterRing<C> &ring)
      : args(args), ring(ring), part(threadIdx.x % partsPerRow), firstRow(threadIdx.x / partsPerRow) {}

  /// Where this thread's part goes in a row: bytes of the chunk, of the half that it is of a 16 bytes, of that.
  __device__ uint32_t partPlace() const {
    const uint32_t inRow = part / 8 * (kRouterChunk * 2) + part % 2 * kRouterChunk + part % 8 / 2 * 8;
    return tile::swizzled(firstRow, inRow / 16) + inRow % 16;
  }

  __device__ void gatherTile(const tile::RouterPlace<C> &place) {
    for (uint32_t index = 0; index < kRouterWarps; ++index) {
      const tile::RouterShare share(args.hiddenSize, index);
      const uint32_t end = share.end * kRouterChunk < args.hiddenSize ? share.end * kRouterChunk : args.hiddenSize;
      for (uint32_t plane = 0; plane < args.planes; ++plane)
        for (uint32_t chunk = share.begin; chunk < share.end; chunk += RouterRing<C>::chunksOfStage)
          gatherStage(place, plane, chunk * kRouterChunk + part * 4, end);
    }
  }

  /// Elements from `end` on, and rows past the last, are zeros.
  __device__ void gatherStage(const tile::RouterPlace<C> &place, uint32_t plane, uint32_t element, uint32_t end) {
    const bool inSum = element < end;
    const uint32_t offset = inSum ? element * 2 : 0;
    const uint32_t column = place.firstColumn + firstRow, token = place.firstToken + firstRow;
    // (without an extra row nothing is read, but an address there must be)
    const uint64_t extra =
        args.extraRow ? reinterpret_cast<uint64_t>(args.extraRow) + place.rowOffset(plane) + offset : tokensBegin();
    ring.waitEmpty();
    copyRows<C.tileTokens>(ring.tokens(), reinterpret_cast<uint64_t>(args.hidden) + place.rowOffset(token) + offset,
                           inSum ? left(args.numTokens, token) : 0, tokensBegin(), 0);
    copyRows<C.tileExperts>(
        ring.weights(),
        reinterpret_cast<uint64_t>(args.weight) + place.rowOffset(uint64_t{plane} * args.numExperts + column) + offset,
        inSum ? left(args.numExperts, column) : 0, extra, inSum ? left(place.numColumns, column) : 0);
    ptx::cpAsyncArrive(ring.full());
    ring.next();
  }

  __device__ uint64_t tokensBegin() const { return reinterpret_cast<uint64_t>(args.hidden); }

  /// Of rows from this thread's first one on.
  static __device__ uint32_t left(uint32_t rows, uint32_t first) { return first < rows ? rows - first : 0; }

  /// Copies this thread's part of each `rowStep`-th row: of the first `rows` from `from` on, of those between them and
  /// `rowsWithExtra` from `extra`.
  template <uint32_t Rows>
  __device__ void copyRows(uint32_t to, uint64_t from, uint32_t rows, uint64_t extra, uint32_t rowsWithExtra) const {
    const uint32_t step = rowStep * args.hiddenSize * 2;
    to += partPlace();
#pragma unroll
    for (uint32_t i = 0; i < Rows; i += rowStep) {
      const bool inRows = i < rows;
      ptx::cpAsync8(to + i * tile::rowBytes, reinterpret_cast<const void *>(inRows ? from : extra),
                    inRows || i < rowsWithExtra);
      from += step;
      ptx::keepInRegister(from); // else all of them are kept from stage to stage, for which there are no registers
    }
  }

  /// No thread ends before its copies.
  static __device__ void finish() {
    ptx::cpAsyncCommit();
    ptx::cpAsyncWait<0>();
  }
};

} // namespace moec
