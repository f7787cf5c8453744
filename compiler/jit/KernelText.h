// From configs to the few lines of CUDA that NVRTC is given. Only numbers, enums and names that we make get in.
#pragma once

#include "compiler/core/Status.h"
#include "compiler/kernels/DownFewAbi.h"
#include "compiler/kernels/Fp8Abi.h"
#include "compiler/kernels/GateUpFewAbi.h"
#include "compiler/kernels/KernelAbi.h"

#include <string>
#include <vector>

namespace moec {

/// Which kernels of compiler/kernels a unit uses.
enum class KernelFile : uint8_t {
  RouterLogits,
  RouterLogitsSm90,
  Route,
  Dispatch,
  DispatchGrid,
  DispatchCluster,
  DispatchSlots,
  Combine,
  GroupedGemmPortable,
  GroupedGemmSm90,
  GroupedGemmFitted,
  Quantise,
  GroupedGemmFp8,
  DownFew,
  DownFewFp8,
  GateUpFewFp8
};

/// An activation made by code generation: `struct NAME { static __device__ float apply(float gate, float up); };`
struct Functor {
  std::string name; // identifier; lives in namespace moec
  std::string body; // statements of `apply`
};

/// One translation unit: what is included, the functors, and the kernels to instantiate.
struct KernelUnit {
  std::vector<KernelFile> files;
  std::vector<Functor> functors;
  std::vector<std::string> kernels; // instantiations, as the functions below spell them
};

/// The text of an instantiation: what NVRTC builds, what a cache key contains and what a trace shows.
std::string routerLogitsKernel(const RouterGemmConfig &config);
std::string routeKernel(const RouteConfig &config);
/// step: "OneBlock", "Cluster", "Grid", "Slots"; "Count", "Scan", "Place"
std::string dispatchKernel(const char *step, const DispatchConfig &config);
std::string combineKernel(const CombineConfig &config);
std::string gemmPortableKernel(const GemmConfig &config, const std::string &activation);
std::string gemmSm90Kernel(const GemmConfig &config, const std::string &activation);
std::string gemmFittedKernel(const GemmConfig &config, const std::string &activation);
std::string quantiseKernel(const QuantiseConfig &config);
std::string downFewKernel(const DownFewConfig &config);
std::string downFewFp8Kernel(const DownFewConfig &config);
std::string gateUpFewFp8Kernel(const GateUpFewConfig &config, const std::string &activation);
std::string gemmFp8Kernel(const GemmConfig &config, const std::string &activation);

/// The unit's source.
///
/// Errors: InvalidArgument if a functor's name is no identifier, or a body or an instantiation has text beyond
/// plain expressions (a directive, a string, a comment, an escape, `asm`): NVRTC would read files for it.
Result<std::string> unitSource(const KernelUnit &unit);

} // namespace moec
