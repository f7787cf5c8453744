// Memory, which is the host's, copies, and tensor maps of it.
#include "tests/unit/cuda/FakeDriver.h"

#include <cstdlib>
#include <cstring>

namespace moec::test {
namespace {

CUresult fakeMemAlloc(CUdeviceptr *pointer, size_t bytes) {
  CALLED("cuMemAlloc");
  constexpr size_t untouched = size_t{64} << 20; // so much comes from the system as it is used, which tests do not do
  void *memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (bytes < untouched)
    std::memset(memory, 0x5a, bytes);
  fake().made(memory);
  *pointer = reinterpret_cast<CUdeviceptr>(memory);
  return CUDA_SUCCESS;
}
CUresult fakeMemFree(CUdeviceptr pointer) {
  fake().called("cuMemFree", true);
  if (!fake().freed(reinterpret_cast<void *>(pointer)))
    return CUDA_ERROR_INVALID_VALUE;
  std::free(reinterpret_cast<void *>(pointer));
  return CUDA_SUCCESS;
}
CUresult fakeMemGetInfo(size_t *available, size_t *all) {
  *available = *all = size_t{80} << 30;
  return CUDA_SUCCESS;
}
CUresult fakeMemHostAlloc(void **pointer, size_t bytes, unsigned) {
  CALLED("cuMemHostAlloc");
  *pointer = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  fake().made(*pointer);
  return CUDA_SUCCESS;
}
CUresult fakeMemFreeHost(void *pointer) {
  fake().called("cuMemFreeHost", true);
  fake().freed(pointer);
  std::free(pointer);
  return CUDA_SUCCESS;
}
CUresult fakeMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t bytes, CUstream) {
  CALLED("cuMemcpyHtoDAsync");
  std::memcpy(reinterpret_cast<void *>(to), from, bytes);
  return CUDA_SUCCESS;
}
CUresult fakeMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t bytes, CUstream) {
  CALLED("cuMemcpyDtoHAsync");
  std::memcpy(to, reinterpret_cast<void *>(from), bytes);
  return CUDA_SUCCESS;
}
CUresult fakeMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  CALLED("cuMemcpyDtoDAsync");
  run(stream, [=] {
    fake().advance(2 * static_cast<double>(bytes) / fake().copyBytesPerNs);
    if (fake().copies)
      std::memcpy(reinterpret_cast<void *>(to), reinterpret_cast<const void *>(from), bytes);
  });
  return CUDA_SUCCESS;
}
CUresult fakeMemcpy2DAsync(const CUDA_MEMCPY2D *copy, CUstream stream) {
  const Inside inside;
  CALLED("cuMemcpy2DAsync");
  run(stream, [c = *copy] {
    for (size_t row = 0; row < c.Height; ++row)
      std::memcpy(reinterpret_cast<std::byte *>(c.dstDevice) + row * c.dstPitch,
                  reinterpret_cast<const std::byte *>(c.srcDevice) + row * c.srcPitch, c.WidthInBytes);
  });
  return CUDA_SUCCESS;
}
CUresult fakeMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream) {
  CALLED("cuMemsetD8Async");
  run(stream, [=] { std::memset(reinterpret_cast<void *>(to), value, bytes); });
  return CUDA_SUCCESS;
}
CUresult fakeTensorMapEncodeTiled(CUtensorMap *map, CUtensorMapDataType, cuuint32_t rank, void *address,
                                  const cuuint64_t *sizes, const cuuint64_t *strides, const cuuint32_t *box,
                                  const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion,
                                  CUtensorMapFloatOOBfill) {
  CALLED("cuTensorMapEncodeTiled");
  FakeTensorMap made;
  made.address = reinterpret_cast<uint64_t>(address);
  made.rank = rank;
  // What a driver refuses (CUDA driver API, cuTensorMapEncodeTiled).
  if (rank == 0 || rank > CudaTensor::maxRank || made.address % 16 != 0)
    return CUDA_ERROR_INVALID_VALUE;
  for (uint32_t i = 0; i < rank; ++i) {
    const bool stride = i > 0;
    if (sizes[i] == 0 || sizes[i] > UINT32_MAX || box[i] == 0 || box[i] > 256 ||
        (stride && (strides[i - 1] % 16 != 0 || strides[i - 1] >= uint64_t{1} << 40)))
      return CUDA_ERROR_INVALID_VALUE;
    made.sizes[i] = static_cast<uint32_t>(sizes[i]);
    made.box[i] = box[i];
    if (stride)
      made.strides[i - 1] = strides[i - 1];
  }
  static_assert(sizeof(made) <= sizeof(CUtensorMap));
  std::memcpy(static_cast<void *>(map), &made, sizeof(made));
  return CUDA_SUCCESS;
}

} // namespace

void fillMemory(CudaApi &api) {
  api.cuMemAllocFn = fakeMemAlloc;
  api.cuMemFreeFn = fakeMemFree;
  api.cuMemGetInfoFn = fakeMemGetInfo;
  api.cuMemHostAllocFn = fakeMemHostAlloc;
  api.cuMemFreeHostFn = fakeMemFreeHost;
  api.cuMemcpyHtoDAsyncFn = fakeMemcpyHtoDAsync;
  api.cuMemcpyDtoHAsyncFn = fakeMemcpyDtoHAsync;
  api.cuMemcpyDtoDAsyncFn = fakeMemcpyDtoDAsync;
  api.cuMemcpy2DAsyncFn = fakeMemcpy2DAsync;
  api.cuMemsetD8AsyncFn = fakeMemsetD8Async;
  api.cuTensorMapEncodeTiledFn = fakeTensorMapEncodeTiled;
}

} // namespace moec::test
