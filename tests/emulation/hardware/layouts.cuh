// Shows where instructions put elements: each kernel writes what the lanes hold. Run on a GPU by
// `moec-bench-gpu dump-layouts` and by the emulator, which must give the same words (LayoutsTest.cpp).
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/Barrier.cuh"
#include "compiler/kernels/ptx/CpAsync.cuh"
#include "compiler/kernels/ptx/Element.cuh"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/ptx/Mma.cuh"
#include "compiler/kernels/ptx/SharedMatrix.cuh"
#include "compiler/kernels/ptx/Tma.cuh"
#include "compiler/kernels/ptx/Wgmma.cuh"

namespace moec {
namespace layouts {

/// Small whole numbers that repeat late: sums of their products are exact in f32, and differ when an element is
/// elsewhere.
inline __device__ float number(uint32_t i) { return static_cast<float>((i * 2654435761u >> 13) % 17) - 8; }

template <Element E> __device__ uint32_t pairOfNumbers(uint32_t i) {
  return ptx::Convert<E>::pack(number(i * 2), number(i * 2 + 1));
}

inline constexpr uint32_t wgmmaRows = 64 + 256; // of A, and of B at most

// Elements of which number i has the bits i, as tensors of several forms, read in boxes of 16 rows (interleaved: 32):
// [tmaExperts, tmaRows, tmaK]; [tmaExperts * tmaRows, tmaK]; and gate and up rows interleaved by eight, tmaPairRows
// each, up tmaRows rows behind gate.
inline constexpr uint32_t tmaK = 72, tmaRows = 20, tmaExperts = 2, tmaPairRows = 16;
enum class Boxes : uint32_t { Experts, Rows, Interleaved };
constexpr uint32_t boxRows(Boxes boxes) { return boxes == Boxes::Interleaved ? 32 : 16; }

} // namespace layouts

/// out [32 x 4]. Matrix i, row r has elements 64i + 8r + column.
__global__ void layoutLdmatrix(uint32_t *out) {
  ptx::waitForPrevious();
  __shared__ __align__(16) uint32_t rows[32][4];
  for (uint32_t i = 0; i < 4; ++i)
    rows[threadIdx.x][i] = (threadIdx.x * 8 + i * 2) | (threadIdx.x * 8 + i * 2 + 1) << 16;
  __syncthreads();
  uint32_t matrix[4];
  ptx::ldmatrix4(matrix, ptx::sharedAddress(rows[threadIdx.x]));
  for (uint32_t i = 0; i < 4; ++i)
    out[threadIdx.x * 4 + i] = matrix[i];
}

/// out [32]. The matrix's elements are 2 * lane and 2 * lane + 1.
__global__ void layoutMovmatrix(uint32_t *out) {
  ptx::waitForPrevious();
  out[threadIdx.x] = ptx::transpose8x8((threadIdx.x * 2) | (threadIdx.x * 2 + 1) << 16);
}

/// out [32 x 4]: the rows that lane i's addresses got. Register j of a lane holds the bits 8 * lane + 2j and one more.
template <uint32_t Matrices> __global__ void layoutStmatrix(uint32_t *out) {
  ptx::waitForPrevious();
  __shared__ __align__(16) uint32_t rows[32][4];
  uint32_t matrix[4];
  for (uint32_t i = 0; i < 4; ++i) {
    rows[threadIdx.x][i] = 0;
    matrix[i] = (threadIdx.x * 8 + i * 2) | (threadIdx.x * 8 + i * 2 + 1) << 16;
  }
  __syncthreads();
  const uint32_t address = ptx::sharedAddress(rows[threadIdx.x]);
  if constexpr (Matrices == 4)
    ptx::storeTransposed4(address, matrix[0], matrix[1], matrix[2], matrix[3]);
  else
    ptx::storeTransposed2(address, matrix[0], matrix[1]);
  __syncthreads();
  for (uint32_t i = 0; i < 4; ++i)
    out[threadIdx.x * 4 + i] = rows[threadIdx.x][i];
}

/// out [32 x 4], whole numbers. Which element of A, B and C each register holds decides every sum.
template <Element E> __global__ void layoutMma(int32_t *out) {
  ptx::waitForPrevious();
  const uint32_t lane = threadIdx.x;
  uint32_t a[4];
  float sum[4];
  for (uint32_t i = 0; i < 4; ++i) {
    a[i] = layouts::pairOfNumbers<E>(lane * 4 + i);
    sum[i] = layouts::number(1000 + lane * 4 + i);
  }
  ptx::Mma<E>::run(sum, a, layouts::pairOfNumbers<E>(500 + lane * 2), layouts::pairOfNumbers<E>(501 + lane * 2));
  for (uint32_t i = 0; i < 4; ++i)
    out[lane * 4 + i] = static_cast<int32_t>(sum[i]);
}

/// out [128 x N / 2], whole numbers: A [64 x 64] times B [N x 64], both swizzled by 128 bytes and described as the
/// kernels do, in steps of 16. Shared memory holds number(i) at two-byte element i, so descriptors, swizzle and the
/// fragment of D decide every sum.
template <Element E, uint32_t N> __global__ void layoutWgmma(int32_t *out) {
  ptx::waitForPrevious();
  extern __shared__ uint8_t unaligned[];
  uint8_t *tiles = unaligned + (1024 - ptx::sharedAddress(unaligned) % 1024) % 1024;
  for (uint32_t i = threadIdx.x; i < layouts::wgmmaRows * 32; i += 128)
    reinterpret_cast<uint32_t *>(tiles)[i] = layouts::pairOfNumbers<E>(i);
  ptx::fenceProxyAsync();
  __syncthreads();
  const uint64_t a = ptx::swizzledTile(ptx::sharedAddress(tiles));
  const uint64_t b = ptx::swizzledTile(ptx::sharedAddress(tiles) + 64 * 128);
  float sum[N / 2];
  for (uint32_t i = 0; i < N / 2; ++i)
    sum[i] = layouts::number(threadIdx.x + i);
  ptx::wgmmaFence();
#pragma unroll
  for (uint32_t k = 0; k < 64; k += 16)
    ptx::Wgmma<E, N>::run(sum, ptx::advance(a, k), ptx::advance(b, k), 1);
  ptx::wgmmaCommit();
  ptx::wgmmaWait<0>();
#pragma unroll
  for (uint32_t i = 0; i < N / 2; ++i)
    out[threadIdx.x * (N / 2) + i] = static_cast<int32_t>(sum[i]);
}

/// out [2 x boxRows x 32]: shared memory as TMA wrote it, two elements a word; a box within the tensor, and one that
/// sticks out in k and rows.
template <layouts::Boxes B> __global__ void layoutTma(const __grid_constant__ TensorMap map, uint32_t *out) {
  using layouts::Boxes;
  ptx::waitForPrevious();
  extern __shared__ uint8_t unaligned[];
  __shared__ uint64_t barrier;
  const uint32_t address = ptx::sharedAddress(unaligned), aligned = (address + 1023) / 1024 * 1024;
  const uint32_t *words = reinterpret_cast<const uint32_t *>(unaligned + (aligned - address));
  const uint32_t full = ptx::sharedAddress(&barrier);
  constexpr uint32_t boxBytes = layouts::boxRows(B) * 128;
  if (threadIdx.x == 0) {
    ptx::barrierInit(full, 1);
    ptx::fenceBarrierInit();
    ptx::barrierArriveExpect(full, 2 * boxBytes);
    if constexpr (B == Boxes::Experts) {
      ptx::tmaLoad3d(aligned, &map, 0, 2, 0, full);
      ptx::tmaLoad3d(aligned + boxBytes, &map, 64, 8, 1, full);
    } else if constexpr (B == Boxes::Rows) {
      ptx::tmaLoad2d(aligned, &map, 0, 2, full);
      ptx::tmaLoad2d(aligned + boxBytes, &map, 64, 32, full);
    } else {
      ptx::tmaLoadInterleaved(aligned, &map, 0, 0, 0, full);
      ptx::tmaLoadInterleaved(aligned + boxBytes, &map, 64, 1, 0, full);
    }
  }
  __syncthreads();
  ptx::barrierWait(full, 0);
  for (uint32_t i = threadIdx.x; i < 2 * boxBytes / 4; i += 128)
    out[i] = words[i];
}

/// out [tmaRows x tmaK / 2]: a matrix that two boxes of `map` [tmaRows, tmaK] went to, one of which sticks out; the
/// rest stays. Shared memory holds the bits i at two-byte element i.
__global__ void layoutTmaStore(const __grid_constant__ TensorMap map, uint32_t *) {
  ptx::waitForPrevious();
  extern __shared__ uint8_t unaligned[];
  const uint32_t address = ptx::sharedAddress(unaligned), aligned = (address + 1023) / 1024 * 1024;
  uint32_t *words = reinterpret_cast<uint32_t *>(unaligned + (aligned - address));
  constexpr uint32_t boxBytes = 16 * 128;
  for (uint32_t i = threadIdx.x; i < 2 * boxBytes / 4; i += 128)
    words[i] = (i * 2) | (i * 2 + 1) << 16;
  ptx::fenceProxyAsync();
  __syncthreads();
  if (threadIdx.x == 0) {
    ptx::tmaStore2d(&map, 0, 2, aligned);
    ptx::tmaStore2d(&map, 64, 8, aligned + boxBytes);
    ptx::bulkCommit();
    ptx::bulkWait();
  }
}

} // namespace moec
