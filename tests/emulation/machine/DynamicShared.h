// The arrays that kernels name with `extern __shared__`. A kernel that uses another name gets a line here.
#pragma once

#include <cstdint>

namespace moec {

inline constexpr uint32_t kDynamicSharedBytes = 227 * 1024; // of one block on sm_90

extern thread_local uint8_t stages[kDynamicSharedBytes];    // groupedGemmPortable.cuh
extern thread_local uint8_t unaligned[kDynamicSharedBytes]; // groupedGemmSm90.cuh

} // namespace moec
