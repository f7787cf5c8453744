// Shadows compiler/kernels/ptx/Load.cuh.
#pragma once

#include "compiler/kernels/KernelAbi.h"

namespace moec::ptx {

inline uint4 load16(const void *global, bool valid) {
  return valid ? *static_cast<const uint4 *>(global) : make_uint4(0, 0, 0, 0);
}

} // namespace moec::ptx
