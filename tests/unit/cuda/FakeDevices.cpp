// Devices and contexts.
#include "tests/unit/cuda/FakeDriver.h"

#include <cstring>
#include <utility>

namespace moec::test {
namespace {

thread_local CUcontext currentContext = nullptr;

CUresult fakeInit(unsigned) {
  CALLED("cuInit");
  return CUDA_SUCCESS;
}
CUresult fakeDeviceGetCount(int *count) {
  CALLED("cuDeviceGetCount");
  *count = fake().numDevices;
  return CUDA_SUCCESS;
}
CUresult fakeDeviceGet(CUdevice *device, int ordinal) {
  CALLED("cuDeviceGet");
  *device = ordinal;
  return CUDA_SUCCESS;
}
CUresult fakeDeviceGetName(char *name, int size, CUdevice) {
  CALLED("cuDeviceGetName");
  std::strncpy(name, fake().model.c_str(), static_cast<size_t>(size) - 1);
  return CUDA_SUCCESS;
}
CUresult fakeDeviceGetAttribute(int *value, CUdevice_attribute which, CUdevice) {
  CALLED("cuDeviceGetAttribute");
  switch (which) {
  case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = fake().major; break;
  case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = fake().minor; break;
  case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = fake().multiprocessors; break;
  case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *value = 227 * 1024; break;
  case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: *value = 50 << 20; break;
  case CU_DEVICE_ATTRIBUTE_CLOCK_RATE: *value = 2'000'000; break;
  case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: *value = fake().memoryKhz; break;
  case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: *value = fake().busBits; break;
  default: *value = 0;
  }
  return CUDA_SUCCESS;
}
CUresult fakePrimaryCtxRetain(CUcontext *context, CUdevice) {
  CALLED("cuDevicePrimaryCtxRetain");
  *context = fake().context();
  fake().made(*context);
  return CUDA_SUCCESS;
}
CUresult fakePrimaryCtxRelease(CUdevice) {
  fake().called("cuDevicePrimaryCtxRelease", true);
  fake().freed(fake().context());
  return CUDA_SUCCESS;
}
CUresult fakeCtxGetCurrent(CUcontext *context) {
  fake().called("cuCtxGetCurrent", true);
  *context = currentContext;
  return CUDA_SUCCESS;
}
CUresult fakeCtxPushCurrent(CUcontext context) {
  CALLED("cuCtxPushCurrent");
  currentContext = context;
  return CUDA_SUCCESS;
}
CUresult fakeCtxPopCurrent(CUcontext *context) {
  fake().called("cuCtxPopCurrent", true);
  *context = std::exchange(currentContext, nullptr);
  return CUDA_SUCCESS;
}
CUresult fakeGetErrorName(CUresult result, const char **name) {
  *name = result == CUDA_ERROR_ILLEGAL_ADDRESS ? "CUDA_ERROR_ILLEGAL_ADDRESS" : "CUDA_ERROR_UNKNOWN";
  return CUDA_SUCCESS;
}
CUresult fakeGetErrorString(CUresult, const char **text) {
  *text = "told to fail";
  return CUDA_SUCCESS;
}

} // namespace

void fillDevices(CudaApi &api) {
  api.cuInitFn = fakeInit;
  api.cuDeviceGetCountFn = fakeDeviceGetCount;
  api.cuDeviceGetFn = fakeDeviceGet;
  api.cuDeviceGetNameFn = fakeDeviceGetName;
  api.cuDeviceGetAttributeFn = fakeDeviceGetAttribute;
  api.cuDevicePrimaryCtxRetainFn = fakePrimaryCtxRetain;
  api.cuDevicePrimaryCtxReleaseFn = fakePrimaryCtxRelease;
  api.cuCtxGetCurrentFn = fakeCtxGetCurrent;
  api.cuCtxPushCurrentFn = fakeCtxPushCurrent;
  api.cuCtxPopCurrentFn = fakeCtxPopCurrent;
  api.cuGetErrorNameFn = fakeGetErrorName;
  api.cuGetErrorStringFn = fakeGetErrorString;
}

} // namespace moec::test
