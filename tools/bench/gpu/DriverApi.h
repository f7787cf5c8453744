// The CUDA driver's functions that the benchmark and its experiments call, opened at run time, each with its error
// named.
#pragma once

#include "compiler/core/Status.h"

#include <cuda.h>
#include <dlfcn.h>

namespace moec::bench {

// cuda.h renames functions to their current version (cuMemAlloc is cuMemAlloc_v2), so the name is spelled after that.
#define MOEC_DRIVER_FUNCTIONS(X)                                                                                       \
  X(cuInit)                                                                                                            \
  X(cuDriverGetVersion)                                                                                                \
  X(cuDeviceGet)                                                                                                       \
  X(cuDeviceGetName) X(cuDeviceGetAttribute) X(cuDevicePrimaryCtxRetain) X(cuDevicePrimaryCtxRelease)                  \
      X(cuCtxSetCurrent) X(cuMemAlloc) X(cuMemFree) X(cuMemcpyHtoDAsync) X(cuMemcpyDtoHAsync) X(cuMemcpyDtoDAsync)     \
          X(cuMemsetD8Async) X(cuMemAllocHost) X(cuMemFreeHost) X(cuMemAddressReserve) X(cuMemAddressFree)             \
              X(cuMemCreate) X(cuMemRelease) X(cuMemMap) X(cuMemUnmap) X(cuMemSetAccess)                               \
                  X(cuMemGetAllocationGranularity) X(cuMemcpyDtoH) X(cuMemAllocAsync) X(cuMemFreeAsync)                \
                      X(cuModuleLoadData) X(cuModuleGetFunction) X(cuModuleUnload) X(cuLibraryLoadData)                \
                          X(cuLibraryUnload) X(cuLibraryGetKernel) X(cuKernelGetFunction) X(cuFuncLoad)                \
                              X(cuFuncSetAttribute) X(cuLaunchKernelEx) X(cuLaunchKernel) X(cuStreamCreate)            \
                                  X(cuStreamDestroy) X(cuStreamSynchronize) X(cuStreamBeginCapture)                    \
                                      X(cuStreamEndCapture) X(cuStreamQuery) X(cuEventCreate) X(cuEventDestroy)        \
                                          X(cuEventRecord) X(cuEventSynchronize) X(cuEventElapsedTime) X(cuEventQuery) \
                                              X(cuGraphInstantiateWithFlags) X(cuGraphDestroy) X(cuGraphExecDestroy)   \
                                                  X(cuGraphLaunch) X(cuGraphGetNodes) X(cuGraphKernelNodeGetParams)    \
                                                      X(cuGraphExecKernelNodeSetParams) X(cuGraphExecUpdate)           \
                                                          X(cuTensorMapEncodeTiled) X(cuGetErrorName)                  \
                                                              X(cuGetErrorString)
#define MOEC_DRIVER_NAME(function) #function
#define MOEC_DRIVER_EXPANDED_NAME(function) MOEC_DRIVER_NAME(function)

struct DriverApi {
#define MOEC_DRIVER_DECLARE(function) decltype(&::function) function##Fn = nullptr;
  MOEC_DRIVER_FUNCTIONS(MOEC_DRIVER_DECLARE)
#undef MOEC_DRIVER_DECLARE

  Status load() {
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library)
      return makeError(Code::DeviceMissing, "no CUDA driver: {}", dlerror());
#define MOEC_DRIVER_FIND(function)                                                                                     \
  function##Fn = reinterpret_cast<decltype(function##Fn)>(dlsym(library, MOEC_DRIVER_EXPANDED_NAME(function)));        \
  if (!function##Fn)                                                                                                   \
    return makeError(Code::DeviceMissing, "this CUDA driver has no {}", MOEC_DRIVER_EXPANDED_NAME(function));
    MOEC_DRIVER_FUNCTIONS(MOEC_DRIVER_FIND)
#undef MOEC_DRIVER_FIND
    return {};
  }

  Status check(CUresult result, const char *what) const {
    if (result == CUDA_SUCCESS)
      return {};
    const char *name = nullptr, *text = nullptr;
    cuGetErrorNameFn(result, &name);
    cuGetErrorStringFn(result, &text);
    return makeError(Code::Failure, "{}: {} ({})", what, name ? name : "?", text ? text : "?");
  }
};

} // namespace moec::bench
