// The CUDA driver's functions, opened at run time: a program that never opens a GPU needs no driver.
#pragma once

#include "compiler/core/Status.h"

#include <cuda.h>

#include <memory>

// cuda.h renames functions to their current version (cuMemAlloc is cuMemAlloc_v2), so the name is spelled after that.
#define MOEC_CUDA_FUNCTIONS(X)                                                                                         \
  X(cuInit)                                                                                                            \
  X(cuDeviceGetCount)                                                                                                  \
  X(cuDeviceGet)                                                                                                       \
  X(cuDeviceGetName) X(cuDeviceGetAttribute) X(cuDevicePrimaryCtxRetain) X(cuDevicePrimaryCtxRelease)                  \
      X(cuCtxGetCurrent) X(cuCtxPushCurrent) X(cuCtxPopCurrent) X(cuMemAlloc) X(cuMemFree) X(cuMemGetInfo)             \
          X(cuMemHostAlloc) X(cuMemFreeHost) X(cuMemcpyHtoDAsync) X(cuMemcpyDtoHAsync) X(cuMemcpyDtoDAsync)            \
              X(cuMemcpy2DAsync) X(cuMemsetD8Async) X(cuLibraryLoadData) X(cuLibraryUnload) X(cuLibraryGetKernel)      \
                  X(cuKernelGetFunction) X(cuFuncLoad) X(cuFuncSetAttribute) X(cuLaunchKernelEx) X(cuStreamCreate)     \
                      X(cuStreamDestroy) X(cuStreamSynchronize) X(cuStreamWaitEvent) X(cuStreamGetCaptureInfo)         \
                          X(cuStreamBeginCapture) X(cuStreamEndCapture) X(cuThreadExchangeStreamCaptureMode)           \
                              X(cuEventCreate) X(cuEventDestroy) X(cuEventRecord) X(cuEventRecordWithFlags)            \
                                  X(cuEventQuery) X(cuEventElapsedTime) X(cuGraphInstantiateWithFlags)                 \
                                      X(cuGraphDestroy) X(cuGraphExecDestroy) X(cuGraphUpload) X(cuGraphLaunch)        \
                                          X(cuUserObjectCreate) X(cuUserObjectRelease) X(cuGraphRetainUserObject)      \
                                              X(cuTensorMapEncodeTiled) X(cuGetErrorName) X(cuGetErrorString)

namespace moec {

/// A table of driver functions, by their names without version. A test fills in its own.
struct CudaApi {
#define MOEC_CUDA_MEMBER(function) decltype(&::function) function##Fn = nullptr;
  MOEC_CUDA_FUNCTIONS(MOEC_CUDA_MEMBER)
#undef MOEC_CUDA_MEMBER

  /// Opens libcuda.so.1, which then stays loaded. Error: DeviceMissing (no driver, or one that lacks a function).
  static Result<std::shared_ptr<const CudaApi>> load();
};

} // namespace moec
