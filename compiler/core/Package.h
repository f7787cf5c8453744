// A package: everything that a compile produced, in one file (docs/formats.md). No MLIR needed to read it.
#pragma once

#include "compiler/core/LayerShape.h"
#include "compiler/core/Plan.h"
#include "compiler/core/Status.h"
#include "compiler/core/abi/CpuKernels.h"

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace moec {

inline constexpr uint32_t kPackageVersion = 9;

/// The version of what kernels for a device take (kCpuAbiVersion, kCudaAbiVersion). A package holds that of its
/// kernels; others than this build's are not run.
uint32_t kernelAbiOf(DeviceKind device);

enum class LaunchKind : uint8_t { Router, Route, Dispatch, GateUp, Down, SharedGateUp, SharedDown, Store };
const char *launchName(LaunchKind kind);

/// A compiled function: `symbol` in image `image` of the package.
struct KernelRef {
  uint16_t rows = 0; // tile rows; 0 for a kernel without a tile
  std::string symbol;
  uint32_t image =
      0; // GPU: index into Package::images, one cubin a kernel; CPU: of no meaning, see LayerPackage::image
  uint16_t columns = 0; // GPU: tile columns; 0 for a kernel without a tile
  uint32_t maxTokens =
      0; // GPU, router: of the launch's kernels the first whose `maxTokens` a step does not exceed is used

  bool operator==(const KernelRef &) const = default;
};

/// One step of a layer's launch list, in order.
///
/// On a CPU GEMM launches have one kernel per tile height and their packer, the others none. On a GPU nothing is
/// packed, and `kernels` are, in this order, by kind:
///   Router        the router's product in several tiles, from few tokens to many; routerBlocks(tile) blocks
///   Route         route
///   Dispatch      dispatchOneBlock; dispatchCount, dispatchScan, dispatchPlace (the same in three launches, for many
///                 pairs); dispatchGrid (in one); dispatchCluster (in one, where the target has clusters)
///   GateUp        the grouped GEMM of the config's tile; then quantise, where its elements are e4m3: of its tokens,
///                 and of down's; then its quantising form, where a step takes it (hasQuantisingForm); then, where the
///                 layer has it (hasGateUpFew), gateUpFewFp8, whose dynamic shared memory is the most that a launch
///                 asks for
///   Down          the grouped GEMM of the config's tile; then its quantising form, likewise; then, where the layer has
///                 it (hasDownFew), downFew, of e4m3 downFewFp8, likewise
///   SharedGateUp, SharedDown  dense ones: one expert over all tokens in their order
///   Store         combine, which also adds the shared expert's output (packed, but not launched, where down combines)
/// Their arguments and grids: compiler/kernels/KernelAbi.h; threads and dynamic shared memory: the image's resources.
struct Launch {
  LaunchKind kind = LaunchKind::Route;
  uint32_t k = 0;                 // the GEMM's K
  uint32_t columns = 0;           // the GEMM's output columns (gate-up: intermediate)
  std::vector<KernelRef> kernels; // by descending rows
  KernelRef pack;                 // symbol empty where nothing is packed

  bool operator==(const Launch &) const = default;
};

/// One layer of a package.
struct LayerPackage {
  uint32_t layer = 0;
  LayerShape shape;
  RouterSpec router;
  LayerWeights weights;
  LayerPlan plan;
  Histogram plannedFor;
  std::vector<Launch> launches;
  uint32_t image = 0; // CPU: index into Package::images

  bool operator==(const LayerPackage &) const = default;
};

/// What a GPU kernel takes: for its launch, and as ptxas reported it.
struct KernelResources {
  uint32_t threads = 0;            // of a block
  uint32_t dynamicSharedBytes = 0; // to be given at launch, at least
  uint32_t staticSharedBytes = 0;
  uint32_t registers = 0;  // a thread
  uint32_t localBytes = 0; // stack frame of a thread; no register ever spills into it
  double compileMs = 0;    // what NVRTC once took

  bool operator==(const KernelResources &) const = default;
};

/// A position-independent shared object (CPU) or a cubin with one kernel (GPU), and the key text of what it was made
/// from.
struct Image {
  std::string key; // readable; XXH3-128 of it names the artefact in the cache
  std::vector<uint8_t> bytes;
  std::string name; // GPU: the kernel, for people and as a file's name, "swapped-gateup-bf16-16x128-s6-b2"; else empty
  KernelResources resources; // GPU

  bool operator==(const Image &) const = default;
};

struct Package {
  std::string modelName;
  std::string modelText;  // the model description itself, so that a package can be compiled again
  std::string requestKey; // readable text of what was asked for
  TargetFacts target;
  std::map<std::string, double> compileMs; // milliseconds by stage: "passes", "images" (of which, on
                                           // all threads together, "mlir", "llvm", "link" or "nvrtc"), "total"
  uint32_t kernelsBuilt = 0;               // kernels that this compile built; the rest came from the cache
  std::vector<LayerPackage> layers;
  std::vector<Image> images;

  /// The file's bytes: "MOECPKG\n", version, lengths, manifest as JSON, model text, request key, images, XXH3-128 of
  /// all before it. Names are UTF-8; a byte that is not becomes U+FFFD.
  std::vector<uint8_t> serialise() const;
  /// Errors: CacheCorrupt (checksum, truncated, wrong magic), InvalidArgument (another version of the format or of what
  /// kernels take), each saying which.
  static Result<Package> parse(std::span<const uint8_t> bytes);
};

} // namespace moec
