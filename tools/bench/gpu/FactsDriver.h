// The driver calls that the experiments of Facts.cpp make, opened at run time, each with its error named.
#pragma once

#include "compiler/core/Status.h"
#include "tools/bench/gpu/Driver.h"

#include <chrono>
#include <cuda.h>
#include <dlfcn.h>

namespace moec::bench {

#define MOEC_FACTS_FUNCTIONS(X)                                                                                        \
  X(cuInit) X(cuDeviceGet) X(cuDeviceGetName) X(cuDriverGetVersion) X(cuDevicePrimaryCtxRetain)                        \
  X(cuDevicePrimaryCtxRelease) X(cuCtxSetCurrent) X(cuStreamCreate) X(cuStreamDestroy) X(cuStreamSynchronize)          \
  X(cuStreamQuery) X(cuMemAlloc) X(cuMemFree) X(cuMemAllocHost) X(cuMemFreeHost) X(cuLibraryLoadData)                  \
  X(cuLibraryUnload) X(cuLibraryGetKernel) X(cuKernelGetFunction) X(cuFuncLoad) X(cuLaunchKernel)                      \
  X(cuStreamBeginCapture) X(cuStreamEndCapture) X(cuGraphInstantiateWithFlags) X(cuGraphExecDestroy)                   \
  X(cuGraphDestroy) X(cuGraphLaunch) X(cuGraphGetNodes) X(cuGraphKernelNodeGetParams)                                  \
  X(cuGraphExecKernelNodeSetParams) X(cuGraphExecUpdate) X(cuMemAddressReserve) X(cuMemAddressFree) X(cuMemCreate)     \
  X(cuMemRelease) X(cuMemMap) X(cuMemUnmap) X(cuMemSetAccess) X(cuMemGetAllocationGranularity) X(cuEventCreate)        \
  X(cuEventDestroy) X(cuEventRecord) X(cuEventSynchronize) X(cuEventElapsedTime) X(cuMemcpyDtoH) X(cuEventQuery)       \
  X(cuModuleLoadData) X(cuModuleGetFunction) X(cuModuleUnload) X(cuMemAllocAsync) X(cuMemFreeAsync) X(cuGetErrorName)

#define MOEC_FACTS_NAME(function) #function
#define MOEC_FACTS_EXPANDED(function) MOEC_FACTS_NAME(function)

struct FactsApi {
#define MOEC_FACTS_DECLARE(function) decltype(&::function) function##Fn = nullptr;
  MOEC_FACTS_FUNCTIONS(MOEC_FACTS_DECLARE)
#undef MOEC_FACTS_DECLARE

  Status load() {
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library)
      return makeError(Code::DeviceMissing, "no CUDA driver: {}", dlerror());
#define MOEC_FACTS_FIND(function)                                                                                      \
  function##Fn = reinterpret_cast<decltype(function##Fn)>(dlsym(library, MOEC_FACTS_EXPANDED(function)));              \
  if (!function##Fn)                                                                                                   \
    return makeError(Code::DeviceMissing, "this CUDA driver has no {}", MOEC_FACTS_EXPANDED(function));
    MOEC_FACTS_FUNCTIONS(MOEC_FACTS_FIND)
#undef MOEC_FACTS_FIND
    return {};
  }

  Status check(CUresult result, const char *what) const {
    if (result == CUDA_SUCCESS)
      return {};
    const char *name = nullptr;
    cuGetErrorNameFn(result, &name);
    return makeError(Code::Failure, "{}: {}", what, name ? name : "?");
  }
};

/// MOEC_CALL(api, cuFoo, arguments): returns from the function with the named error.
#define MOEC_CALL(api, function, ...) MOEC_TRY((api).check((api).function##Fn(__VA_ARGS__), #function))

/// Microseconds that `what` takes on this thread.
template <class What> double microseconds(What what) {
  const auto start = std::chrono::steady_clock::now();
  what();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
}

} // namespace moec::bench
