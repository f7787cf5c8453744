// wgmma.mma_async (sm_90a): 64 x N x 16 (e4m3: 32), both operands in shared memory, sums in registers.
//
// The fragment of a warpgroup's thread: warp w holds rows 16w .. 16w+15; lane 4g+t holds, for each block j of eight
// columns, sum[4j + {0, 1}] = (row g, columns 2t, 2t+1) and sum[4j + {2, 3}] = (row g+8, the same columns).
// PTX ISA, "Register Fragments and Shared Memory Matrix Layouts", wgmma .m64nNk16, figure for D.
#pragma once

#include "compiler/kernels/KernelAbi.h"
#include "compiler/kernels/ptx/Descriptor.cuh"

namespace moec::ptx {

/// Orders this warpgroup's earlier register accesses before the next wgmma.
inline __device__ void wgmmaFence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

inline __device__ void wgmmaCommit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

template <uint32_t Pending> __device__ void wgmmaWait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
}

/// sum[64 x N] (+)= a[64 x 16] * b[N x 16]^T; `accumulate` false overwrites the sum. The first N / 2 of `sum` take
/// part.
template <Element E, uint32_t N> struct Wgmma;

/// As Wgmma, of e4m3: sum[64 x N] (+)= a[64 x 32] * b[N x 32]^T. A chain of these keeps some 14 bits of its sums only.
template <uint32_t N> struct WgmmaE4M3;

// The registers of `sum` from index i on, as asm operands, and their names in the text. X(n) covers 8n of them.
#define MOEC_SUM4(i) "+f"(sum[i]), "+f"(sum[i + 1]), "+f"(sum[i + 2]), "+f"(sum[i + 3])
#define MOEC_SUM8(i) MOEC_SUM4(i), MOEC_SUM4(i + 4)
#define MOEC_SUM16(i) MOEC_SUM8(i), MOEC_SUM8(i + 8)
#define MOEC_SUM32(i) MOEC_SUM16(i), MOEC_SUM16(i + 16)
#define MOEC_SUM64(i) MOEC_SUM32(i), MOEC_SUM32(i + 32)

// clang-format off
#define MOEC_SUMS4 MOEC_SUM4(0)
#define MOEC_SUMS8 MOEC_SUM8(0)
#define MOEC_SUMS16 MOEC_SUM16(0)
#define MOEC_SUMS24 MOEC_SUM16(0), MOEC_SUM8(16)
#define MOEC_SUMS32 MOEC_SUM32(0)
#define MOEC_SUMS40 MOEC_SUM32(0), MOEC_SUM8(32)
#define MOEC_SUMS48 MOEC_SUM32(0), MOEC_SUM16(32)
#define MOEC_SUMS56 MOEC_SUM32(0), MOEC_SUM16(32), MOEC_SUM8(48)
#define MOEC_SUMS64 MOEC_SUM64(0)
#define MOEC_SUMS72 MOEC_SUM64(0), MOEC_SUM8(64)
#define MOEC_SUMS80 MOEC_SUM64(0), MOEC_SUM16(64)
#define MOEC_SUMS88 MOEC_SUM64(0), MOEC_SUM16(64), MOEC_SUM8(80)
#define MOEC_SUMS96 MOEC_SUM64(0), MOEC_SUM32(64)
#define MOEC_SUMS104 MOEC_SUM64(0), MOEC_SUM32(64), MOEC_SUM8(96)
#define MOEC_SUMS112 MOEC_SUM64(0), MOEC_SUM32(64), MOEC_SUM16(96)
#define MOEC_SUMS120 MOEC_SUM64(0), MOEC_SUM32(64), MOEC_SUM16(96), MOEC_SUM8(112)
#define MOEC_SUMS128 MOEC_SUM64(0), MOEC_SUM64(64)
#define MOEC_NAMES4 "%0, %1, %2, %3"
#define MOEC_NAMES8 MOEC_NAMES4 ", %4, %5, %6, %7"
#define MOEC_NAMES16 MOEC_NAMES8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define MOEC_NAMES24 MOEC_NAMES16 ", %16, %17, %18, %19, %20, %21, %22, %23"
#define MOEC_NAMES32 MOEC_NAMES24 ", %24, %25, %26, %27, %28, %29, %30, %31"
#define MOEC_NAMES40 MOEC_NAMES32 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define MOEC_NAMES48 MOEC_NAMES40 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define MOEC_NAMES56 MOEC_NAMES48 ", %48, %49, %50, %51, %52, %53, %54, %55"
#define MOEC_NAMES64 MOEC_NAMES56 ", %56, %57, %58, %59, %60, %61, %62, %63"
#define MOEC_NAMES72 MOEC_NAMES64 ", %64, %65, %66, %67, %68, %69, %70, %71"
#define MOEC_NAMES80 MOEC_NAMES72 ", %72, %73, %74, %75, %76, %77, %78, %79"
#define MOEC_NAMES88 MOEC_NAMES80 ", %80, %81, %82, %83, %84, %85, %86, %87"
#define MOEC_NAMES96 MOEC_NAMES88 ", %88, %89, %90, %91, %92, %93, %94, %95"
#define MOEC_NAMES104 MOEC_NAMES96 ", %96, %97, %98, %99, %100, %101, %102, %103"
#define MOEC_NAMES112 MOEC_NAMES104 ", %104, %105, %106, %107, %108, %109, %110, %111"
#define MOEC_NAMES120 MOEC_NAMES112 ", %112, %113, %114, %115, %116, %117, %118, %119"
#define MOEC_NAMES128 MOEC_NAMES120 ", %120, %121, %122, %123, %124, %125, %126, %127"
// clang-format on

// One instruction: N, its number of sums (N / 2), and the numbers of the three operands after them.
#define MOEC_WGMMA(ELEMENT, TYPE, N, SUMS, A, B, P)                                                                    \
  template <> struct Wgmma<Element::ELEMENT, N> {                                                                      \
    template <uint32_t Sums> static __device__ void run(float (&sum)[Sums], uint64_t a, uint64_t b, bool accumulate) { \
      static_assert(Sums >= SUMS);                                                                                     \
      asm volatile("{ .reg .pred p; setp.ne.b32 p, %" #P ", 0; "                                                       \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." #TYPE "." #TYPE " {" MOEC_NAMES##SUMS             \
                   "}, %" #A ", %" #B ", p, 1, 1, 0, 0; }"                                                             \
                   : MOEC_SUMS##SUMS                                                                                   \
                   : "l"(a), "l"(b), "r"(static_cast<uint32_t>(accumulate)));                                          \
    }                                                                                                                  \
  };
#define MOEC_WGMMA_E4M3(N, SUMS, A, B, P)                                                                              \
  template <> struct WgmmaE4M3<N> {                                                                                    \
    template <uint32_t Sums> static __device__ void run(float (&sum)[Sums], uint64_t a, uint64_t b, bool accumulate) { \
      static_assert(Sums >= SUMS);                                                                                     \
      asm volatile("{ .reg .pred p; setp.ne.b32 p, %" #P ", 0; "                                                       \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k32.f32.e4m3.e4m3 {" MOEC_NAMES##SUMS "}, %" #A ", %" #B    \
                                                                                                 ", p, 1, 1; }"        \
                   : MOEC_SUMS##SUMS                                                                                   \
                   : "l"(a), "l"(b), "r"(static_cast<uint32_t>(accumulate)));                                          \
    }                                                                                                                  \
  };
#define MOEC_WGMMA_ALL(N, SUMS, A, B, P)                                                                               \
  MOEC_WGMMA(BF16, bf16, N, SUMS, A, B, P)                                                                             \
  MOEC_WGMMA(F16, f16, N, SUMS, A, B, P)                                                                               \
  MOEC_WGMMA_E4M3(N, SUMS, A, B, P)

MOEC_WGMMA_ALL(8, 4, 4, 5, 6)
MOEC_WGMMA_ALL(16, 8, 8, 9, 10)
MOEC_WGMMA_ALL(32, 16, 16, 17, 18)
MOEC_WGMMA_ALL(48, 24, 24, 25, 26)
MOEC_WGMMA_ALL(64, 32, 32, 33, 34)
MOEC_WGMMA_ALL(80, 40, 40, 41, 42)
MOEC_WGMMA_ALL(96, 48, 48, 49, 50)
MOEC_WGMMA_ALL(112, 56, 56, 57, 58)
MOEC_WGMMA_ALL(128, 64, 64, 65, 66)
MOEC_WGMMA_ALL(144, 72, 72, 73, 74)
MOEC_WGMMA_ALL(160, 80, 80, 81, 82)
MOEC_WGMMA_ALL(176, 88, 88, 89, 90)
MOEC_WGMMA_ALL(192, 96, 96, 97, 98)
MOEC_WGMMA_ALL(208, 104, 104, 105, 106)
MOEC_WGMMA_ALL(224, 112, 112, 113, 114)
MOEC_WGMMA_ALL(240, 120, 120, 121, 122)
MOEC_WGMMA_ALL(256, 128, 128, 129, 130)

#undef MOEC_SUM4
#undef MOEC_SUM8
#undef MOEC_SUM16
#undef MOEC_SUM32
#undef MOEC_SUM64
#undef MOEC_SUMS4
#undef MOEC_NAMES4
#undef MOEC_SUMS8
#undef MOEC_NAMES8
#undef MOEC_SUMS16
#undef MOEC_NAMES16
#undef MOEC_SUMS24
#undef MOEC_NAMES24
#undef MOEC_SUMS32
#undef MOEC_NAMES32
#undef MOEC_SUMS40
#undef MOEC_NAMES40
#undef MOEC_SUMS48
#undef MOEC_NAMES48
#undef MOEC_SUMS56
#undef MOEC_NAMES56
#undef MOEC_SUMS64
#undef MOEC_NAMES64
#undef MOEC_SUMS72
#undef MOEC_NAMES72
#undef MOEC_SUMS80
#undef MOEC_NAMES80
#undef MOEC_SUMS88
#undef MOEC_NAMES88
#undef MOEC_SUMS96
#undef MOEC_NAMES96
#undef MOEC_SUMS104
#undef MOEC_NAMES104
#undef MOEC_SUMS112
#undef MOEC_NAMES112
#undef MOEC_SUMS120
#undef MOEC_NAMES120
#undef MOEC_SUMS128
#undef MOEC_NAMES128
#undef MOEC_WGMMA
#undef MOEC_WGMMA_E4M3
#undef MOEC_WGMMA_ALL

} // namespace moec::ptx
