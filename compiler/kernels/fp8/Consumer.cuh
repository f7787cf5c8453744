// What multiplying warpgroups of groupedGemmFp8 share.
#pragma once

#include "compiler/kernels/fp8/Loader.cuh"
#include "compiler/kernels/tile/Consumer.cuh"

namespace moec {

template <GemmConfig C> using Fp8Consumer = tile::Consumer<C, Fp8Ring<C>, Fp8Queue<C>>;

} // namespace moec
