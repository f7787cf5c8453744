#include "runtime/device/cpu/Bf16DotRate.h"

#include <algorithm>
#include <chrono>

#if defined(__x86_64__)
#include <immintrin.h>

// Rolled, the sums would live in memory, and its latency would be what is timed.
#if defined(__clang__)
#define MOEC_UNROLL _Pragma("unroll")
#else
#define MOEC_UNROLL _Pragma("GCC unroll 16")
#endif

namespace moec {
namespace {

constexpr int kSums = 16; // enough chains to hide the latency of either instruction
constexpr int kRounds = 2000;

double nowNs() {
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The empty asm keeps each sum in a register and the loop in place.
__attribute__((target("avx512f,avx512bf16"), noinline)) void dotRounds() {
  __m512 sums[kSums];
  for (__m512 &sum : sums)
    sum = _mm512_setzero_ps();
  __m512bh ones = (__m512bh)_mm512_set1_epi32(0x3f803f80);
  for (int round = 0; round < kRounds; ++round)
    MOEC_UNROLL
  for (__m512 &sum : sums) {
    sum = _mm512_dpbf16_ps(sum, ones, ones);
    asm volatile("" : "+v"(sum));
  }
}

__attribute__((target("avx512f"), noinline)) void multiplyAddRounds() {
  __m512 sums[kSums];
  for (__m512 &sum : sums)
    sum = _mm512_setzero_ps();
  __m512 ones = _mm512_set1_ps(1.0f);
  for (int round = 0; round < kRounds; ++round)
    MOEC_UNROLL
  for (__m512 &sum : sums) {
    sum = _mm512_fmadd_ps(ones, ones, sum);
    asm volatile("" : "+v"(sum));
  }
}

template <typename F> double tookNs(F run) {
  const double start = nowNs();
  run();
  return nowNs() - start;
}

} // namespace

bool bf16DotIsFaster() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx512bf16"))
    return false;
  // One dot product does the work of two multiply-adds; widening costs some 8 % on top.
  // Both in turns, so that a clock that changes, or another process's burst, meets both.
  double dotNs = 1e18, multiplyAddNs = 1e18;
  for (int repeat = 0; repeat < 25; ++repeat) {
    dotNs = std::min(dotNs, tookNs(dotRounds));
    multiplyAddNs = std::min(multiplyAddNs, tookNs(multiplyAddRounds));
  }
  return dotNs < 2.16 * multiplyAddNs;
}

} // namespace moec
#else
namespace moec {
bool bf16DotIsFaster() { return false; }
} // namespace moec
#endif
