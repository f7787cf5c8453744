// Kernels: how they are loaded and launched, and what they leave behind.
#include "tests/unit/cuda/FakeDriver.h"

#include "compiler/core/CudaLaunch.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace moec::test {
namespace {

void leaveCounts(const CountsRing &ring, const int32_t *ids, uint32_t numPairs, uint32_t experts) {
  if (!ring.words)
    return;
  const uint32_t sample = ++*ring.sequence;
  uint64_t *words = ring.words + uint64_t{sample % ring.numSamples} * (experts + 1);
  std::vector<uint32_t> counts(experts);
  for (uint32_t i = 0; i < numPairs; ++i)
    if (ids[i] >= 0 && static_cast<uint32_t>(ids[i]) < experts)
      ++counts[static_cast<uint32_t>(ids[i])];
  for (uint32_t e = 0; e <= experts; ++e)
    std::atomic_ref(words[e]).store(countWord(sample, e < experts ? counts[e] : numPairs), std::memory_order_release);
}

void dispatch(const DispatchArgs &args, uint32_t experts) {
  *args.tileHead = {}; // no rows: nothing multiplies here
  leaveCounts(args.ring, args.ids, args.numPairs, experts);
}

void combine(const CombineArgs &args, int value) {
  std::memset(args.output, value, size_t{args.numTokens} * args.hidden * 2);
  if (args.few.ids)
    leaveCounts(args.ring, args.few.ids, args.few.numTokens * args.few.topK, args.few.numExperts);
}

/// Down: as combine where it combines; of more pairs than that finds it leaves the counts in any case.
void down(const GroupedGemmArgs &args) {
  if (args.ids)
    std::memset(args.output, 0, size_t{args.numRows} * args.n * 2);
  if (args.few.ids && (args.ids || !isFew(args.few)))
    leaveCounts(args.ring, args.few.ids, args.few.numTokens * args.few.topK, args.few.numExperts);
}

/// Kernels are named "what" or "what:number"; a dispatch's number is that of its experts.
std::function<void()> workOf(const FakeKernel &kernel, void **parameters) {
  const std::string what = kernel.symbol.substr(0, kernel.symbol.find(':'));
  if (what == "dispatchOneBlock" || what == "dispatchScan" || what == "dispatchGrid" || what == "dispatchCluster") {
    const DispatchArgs args = *static_cast<const DispatchArgs *>(parameters[0]);
    fake().launched(args);
    const auto experts = static_cast<uint32_t>(std::atoi(kernel.symbol.c_str() + what.size() + 1));
    return [args, experts] { dispatch(args, experts); };
  }
  if (what == "route") {
    const RouteArgs args = *static_cast<const RouteArgs *>(parameters[0]);
    return [args] {
      for (uint32_t t = 0; t < args.numTokens; ++t) // everybody to experts 0 and 1: the tests' topK is 2
        args.ids[2 * t] = 0, args.ids[2 * t + 1] = 1, args.weights[2 * t] = args.weights[2 * t + 1] = 0.5f;
    };
  }
  if (what == "combine" || what == "wrongCombine") {
    const CombineArgs args = *static_cast<const CombineArgs *>(parameters[0]);
    return [args, value = what == "combine" ? 0 : 0x3f] { combine(args, value); };
  }
  if (fake().recordProducts && (what == "gate-up" || what == "down")) {
    // Tensor maps come first: of weights (two), or of weights, tokens and outputs. Arguments of e4m3 begin with the
    // others'.
    const auto isOf = [&](const char *family) { return kernel.symbol.find(family) != std::string::npos; };
    const size_t maps = isOf(":portable") ? 0 : isOf(":fitted") || isOf(":fp8") ? 3 : 2;
    fake().products[what] = *static_cast<const GroupedGemmArgs *>(parameters[maps]);
  }
  if (what == "downFew" || what == "downFewFp8") // whose arguments begin with the other's
    return [args = *static_cast<const DownFewArgs *>(parameters[1])] {
      std::memset(args.output, 0, size_t{args.few.numTokens} * args.n * 2);
      leaveCounts(args.ring, args.few.ids, args.few.numTokens * args.few.topK, args.few.numExperts);
    };
  if (what == "down" && (kernel.symbol.find(":fitted-") != std::string::npos ||
                         kernel.symbol.find(":fp8") != std::string::npos)) // whose arguments begin with the others'
    if (const auto args = *static_cast<const GroupedGemmArgs *>(parameters[3]); args.ids || args.few.ids)
      return [args] { down(args); };
  return [] {};
}

void keepDownFew(const FakeKernel &kernel, const CUlaunchConfig &config, void **parameters) {
  FakeCuda::DownFew &kept = fake().lastDownFew.emplace();
  kept.symbol = kernel.symbol;
  std::memcpy(static_cast<void *>(&kept.weights), parameters[0], sizeof(FakeTensorMap));
  kept.args = *static_cast<const DownFewArgs *>(parameters[1]);
  if (kernel.symbol == "downFewFp8")
    kept.scaled = *static_cast<const DownFewFp8Args *>(parameters[1]);
  kept.blocks = config.gridDimX;
  kept.sharedBytes = config.sharedMemBytes;
}

void keepGateUpFew(const FakeKernel &kernel, const CUlaunchConfig &config, void **parameters) {
  FakeCuda::GateUpFew &kept = fake().lastGateUpFew.emplace();
  std::memcpy(static_cast<void *>(&kept.weights), parameters[0], sizeof(FakeTensorMap));
  kept.args = *static_cast<const GateUpFewFp8Args *>(parameters[1]);
  kept.blocks = config.gridDimX;
  kept.sharedBytes = config.sharedMemBytes;
  kept.prefersShared = kernel.prefersShared;
}

/// Products of the fitted family and of e4m3 ("gate-up:fitted-...", "down:fp8-..."), and quantise: their parameters are
/// kept, for tests to look at.
void keepFitted(const FakeKernel &kernel, const CUlaunchConfig &config, void **parameters) {
  const bool fitted = kernel.symbol.find(":fitted-") != std::string::npos,
             fp8 = kernel.symbol.find(":fp8") != std::string::npos;
  FakeFitted product;
  product.symbol = kernel.symbol;
  product.stream = streamOf(config.hStream);
  product.sharedBytes = config.sharedMemBytes;
  if (kernel.symbol == "quantise") {
    product.quantise = *static_cast<const QuantiseArgs *>(parameters[0]);
    return fake().launched(std::move(product));
  }
  if (kernel.symbol == "downFew" || kernel.symbol == "downFewFp8")
    keepDownFew(kernel, config, parameters);
  if (kernel.symbol == "gateUpFewFp8")
    keepGateUpFew(kernel, config, parameters);
  if (!fitted && !fp8)
    return;
  FakeTensorMap *const maps[] = {&product.weights, &product.tokens, &product.output};
  for (int i = 0; i < 3; ++i)
    std::memcpy(maps[i], parameters[i], sizeof(FakeTensorMap));
  if (fp8)
    product.scaled = *static_cast<const Fp8GemmArgs *>(parameters[3]);
  product.args = fp8 ? product.scaled.gemm : *static_cast<const GroupedGemmArgs *>(parameters[3]);
  fake().launched(std::move(product));
}

CUresult fakeLibraryLoadData(CUlibrary *library, const void *code, CUjit_option *, void **, unsigned, CUlibraryOption *,
                             void **, unsigned) {
  CALLED("cuLibraryLoadData");
  if (std::memcmp(code, "cubin", 5) != 0)
    return CUDA_ERROR_INVALID_IMAGE;
  auto *made = new FakeLibrary;
  fake().made(made);
  *library = reinterpret_cast<CUlibrary>(made);
  return CUDA_SUCCESS;
}
CUresult fakeLibraryUnload(CUlibrary library) {
  fake().called("cuLibraryUnload", true);
  fake().freed(library);
  delete reinterpret_cast<FakeLibrary *>(library);
  return CUDA_SUCCESS;
}
CUresult fakeLibraryGetKernel(CUkernel *kernel, CUlibrary library, const char *name) {
  CALLED("cuLibraryGetKernel");
  auto &kernels = reinterpret_cast<FakeLibrary *>(library)->kernels;
  const auto found = std::find_if(kernels.begin(), kernels.end(), [&](const auto &one) { return one->symbol == name; });
  FakeKernel *own = found == kernels.end() ? nullptr : found->get();
  if (!own)
    own = kernels.emplace_back(std::make_unique<FakeKernel>(FakeKernel{.symbol = name})).get();
  *kernel = reinterpret_cast<CUkernel>(own);
  return CUDA_SUCCESS;
}
CUresult fakeKernelGetFunction(CUfunction *function, CUkernel kernel) {
  CALLED("cuKernelGetFunction");
  *function = reinterpret_cast<CUfunction>(kernel);
  return CUDA_SUCCESS;
}
CUresult fakeFuncLoad(CUfunction) {
  CALLED("cuFuncLoad");
  return CUDA_SUCCESS;
}
CUresult fakeFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) {
  CALLED("cuFuncSetAttribute");
  FakeKernel &kernel = *reinterpret_cast<FakeKernel *>(function);
  if (attribute == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT) {
    kernel.prefersShared = value == CU_SHAREDMEM_CARVEOUT_MAX_SHARED && kernel.symbol == "gateUpFewFp8";
    return kernel.prefersShared ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE; // no other kernel asks for it
  }
  if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)
    return CUDA_ERROR_INVALID_VALUE; // nor anybody for anything else
  const auto bytes = static_cast<uint32_t>(value);
  if (kernel.mostSharedIsSet && bytes < kernel.mostShared)
    return CUDA_ERROR_INVALID_VALUE; // CUDA allows it, but whoever launches it meanwhile would fail
  kernel.mostShared = bytes;
  kernel.mostSharedIsSet = true;
  return CUDA_SUCCESS;
}
CUresult fakeLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **parameters, void **) {
  const Inside inside;
  CALLED("cuLaunchKernelEx");
  if (config->gridDimX == 0 || config->blockDimX == 0 || config->blockDimX > 1024)
    return CUDA_ERROR_INVALID_VALUE;
  const FakeKernel &kernel = *reinterpret_cast<FakeKernel *>(function);
  if (config->sharedMemBytes > kernel.mostShared)
    return CUDA_ERROR_INVALID_VALUE;
  if (kernel.symbol.starts_with("dispatchCluster")) {
    if (config->gridDimX % kDispatchClusterBlocks != 0)
      return CUDA_ERROR_INVALID_CLUSTER_SIZE;
    if (static_cast<const DispatchArgs *>(parameters[0])->numPairs > dispatchClusterPairs(dispatchConfigOf(1)))
      return CUDA_ERROR_INVALID_VALUE; // it would leave out the rest
  }
  keepFitted(kernel, *config, parameters);
  if (fake().durationNs)
    run(config->hStream, [ns = fake().durationNs(kernel.symbol, parameters)] { fake().advance(ns); });
  run(config->hStream, workOf(kernel, parameters));
  return CUDA_SUCCESS;
}

} // namespace

void fillLaunches(CudaApi &api) {
  api.cuLibraryLoadDataFn = fakeLibraryLoadData;
  api.cuLibraryUnloadFn = fakeLibraryUnload;
  api.cuLibraryGetKernelFn = fakeLibraryGetKernel;
  api.cuKernelGetFunctionFn = fakeKernelGetFunction;
  api.cuFuncLoadFn = fakeFuncLoad;
  api.cuFuncSetAttributeFn = fakeFuncSetAttribute;
  api.cuLaunchKernelExFn = fakeLaunchKernelEx;
}

} // namespace moec::test
