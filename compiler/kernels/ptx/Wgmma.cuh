// wgmma.mma_async (sm_90a): 64 x N x 16, both operands in shared memory, sums in registers.
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

/// sum[64 x N] (+)= a[64 x 16] * b[N x 16]^T; `accumulate` false overwrites the sum.
template <Element E, uint32_t N> struct Wgmma;

// The registers of `sum` from index i on, as asm operands.
#define MOEC_SUM4(i) "+f"(sum[i]), "+f"(sum[i + 1]), "+f"(sum[i + 2]), "+f"(sum[i + 3])
#define MOEC_SUM8(i) MOEC_SUM4(i), MOEC_SUM4(i + 4)
#define MOEC_SUM16(i) MOEC_SUM8(i), MOEC_SUM8(i + 8)
#define MOEC_SUM32(i) MOEC_SUM16(i), MOEC_SUM16(i + 16)
#define MOEC_SUM64(i) MOEC_SUM32(i), MOEC_SUM32(i + 32)
#define MOEC_SUM128(i) MOEC_SUM64(i), MOEC_SUM64(i + 64)

// One instruction: N, its number of sums (N / 2), their names in the text, and the three operands after them.
#define MOEC_WGMMA(ELEMENT, TYPE, N, SUMS, NAMES, A, B, P)                                                             \
  template <> struct Wgmma<Element::ELEMENT, N> {                                                                      \
    static __device__ void run(float (&sum)[SUMS], uint64_t a, uint64_t b, uint32_t accumulate) {                      \
      asm volatile("{ .reg .pred p; setp.ne.b32 p, %" #P ", 0; "                                                       \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." #TYPE "." #TYPE " {" NAMES "}, %" #A ", %" #B     \
                   ", p, 1, 1, 0, 0; }"                                                                                \
                   : MOEC_SUM##SUMS(0)                                                                                 \
                   : "l"(a), "l"(b), "r"(accumulate));                                                                 \
    }                                                                                                                  \
  };
#define MOEC_WGMMA_BOTH(N, SUMS, NAMES, A, B, P)                                                                       \
  MOEC_WGMMA(BF16, bf16, N, SUMS, NAMES, A, B, P)                                                                      \
  MOEC_WGMMA(F16, f16, N, SUMS, NAMES, A, B, P)

// clang-format off
#define MOEC_NAMES4 \
  "%0, %1, %2, %3"
#define MOEC_NAMES8 MOEC_NAMES4 \
  ", %4, %5, %6, %7"
#define MOEC_NAMES16 MOEC_NAMES8 \
  ", %8, %9, %10, %11, %12, %13, %14, %15"
#define MOEC_NAMES32 MOEC_NAMES16 \
  ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define MOEC_NAMES64 MOEC_NAMES32 \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47" \
  ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define MOEC_NAMES128 MOEC_NAMES64 \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79" \
  ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95" \
  ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111" \
  ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
// clang-format on

MOEC_WGMMA_BOTH(8, 4, MOEC_NAMES4, 4, 5, 6)
MOEC_WGMMA_BOTH(16, 8, MOEC_NAMES8, 8, 9, 10)
MOEC_WGMMA_BOTH(32, 16, MOEC_NAMES16, 16, 17, 18)
MOEC_WGMMA_BOTH(64, 32, MOEC_NAMES32, 32, 33, 34)
MOEC_WGMMA_BOTH(128, 64, MOEC_NAMES64, 64, 65, 66)
MOEC_WGMMA_BOTH(256, 128, MOEC_NAMES128, 128, 129, 130)

#undef MOEC_SUM4
#undef MOEC_NAMES4
#undef MOEC_SUM8
#undef MOEC_NAMES8
#undef MOEC_SUM16
#undef MOEC_NAMES16
#undef MOEC_SUM32
#undef MOEC_NAMES32
#undef MOEC_SUM64
#undef MOEC_NAMES64
#undef MOEC_SUM128
#undef MOEC_NAMES128
#undef MOEC_WGMMA
#undef MOEC_WGMMA_BOTH

} // namespace moec::ptx
