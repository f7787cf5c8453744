// Shadows compiler/kernels/ptx/CachePolicy.cuh. There are no caches here.
#pragma once

#include "compiler/kernels/KernelAbi.h"

namespace moec::ptx {

struct CachePolicy {};
inline CachePolicy keepLong() { return {}; }

} // namespace moec::ptx
