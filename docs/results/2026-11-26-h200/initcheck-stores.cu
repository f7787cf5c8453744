// Does compute-sanitizer's initcheck see what the bulk copy engine stores? One kernel stores a tile into fresh memory, the next one
// reads it: by plain stores, by cp.async.bulk, and by cp.async.bulk.tensor, which the fitted products use.
//
//   nvcc -arch=sm_90a -o initcheck-stores initcheck-stores.cu
//   for form in plain bulk tensor none; do compute-sanitizer --tool initcheck ./initcheck-stores $form; done
//
// `none` stores nothing: there the reports are right.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <cuda.h>
#include <cuda_runtime.h>
#include <vector>

constexpr int rows = 16, columns = 64; // two-byte elements
constexpr int words = rows * columns / 2;

__device__ uint32_t sharedAddress(const void *at) { return static_cast<uint32_t>(__cvta_generic_to_shared(at)); }

__global__ void storePlainly(uint32_t *to) {
  for (int i = threadIdx.x; i < words; i += blockDim.x)
    to[i] = i;
}

__device__ void fillTile(uint32_t *tile) {
  for (int i = threadIdx.x; i < words; i += blockDim.x)
    tile[i] = i;
  asm volatile("fence.proxy.async;" ::: "memory");
  __syncthreads();
}

__device__ void waitForStores() {
  asm volatile("cp.async.bulk.commit_group;\n cp.async.bulk.wait_group 0;" ::: "memory");
}

__global__ void storeInBulk(uint32_t *to) {
  __shared__ alignas(1024) uint32_t tile[words];
  fillTile(tile);
  if (threadIdx.x == 0) {
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to), "r"(sharedAddress(tile)),
                 "r"(words * 4)
                 : "memory");
    waitForStores();
  }
}

__global__ void storeByTensor(const __grid_constant__ CUtensorMap map) {
  __shared__ alignas(1024) uint32_t tile[words];
  fillTile(tile);
  if (threadIdx.x == 0) {
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(&map), "r"(0),
                 "r"(0), "r"(sharedAddress(tile))
                 : "memory");
    waitForStores();
  }
}

__global__ void read(const uint32_t *from, uint32_t *out) {
  for (int i = threadIdx.x; i < words; i += blockDim.x)
    out[i] = from[i] + 1;
}

static void need(cudaError_t error) {
  if (error != cudaSuccess) {
    std::fprintf(stderr, "%s\n", cudaGetErrorString(error));
    std::exit(1);
  }
}

int main(int, char **arguments) {
  const char *form = arguments[1] ? arguments[1] : "none";
  uint32_t *tile, *out;
  need(cudaMalloc(&tile, words * 4));
  need(cudaMalloc(&out, words * 4));
  if (!std::strcmp(form, "plain"))
    storePlainly<<<1, 128>>>(tile);
  if (!std::strcmp(form, "bulk"))
    storeInBulk<<<1, 128>>>(tile);
  if (!std::strcmp(form, "tensor")) {
    void *encode = nullptr;
    cudaDriverEntryPointQueryResult found;
    need(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &encode, 12000, cudaEnableDefault, &found));
    CUtensorMap map;
    const cuuint64_t size[] = {columns, rows}, stride[] = {columns * 2};
    const cuuint32_t box[] = {columns, rows}, step[] = {1, 1};
    if (reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(encode)(
            &map, CU_TENSOR_MAP_DATA_TYPE_UINT16, 2, tile, size, stride, box, step, CU_TENSOR_MAP_INTERLEAVE_NONE,
            CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE))
      return 1;
    storeByTensor<<<1, 128>>>(map);
  }
  need(cudaDeviceSynchronize());
  read<<<1, 128>>>(tile, out);
  std::vector<uint32_t> got(words);
  need(cudaMemcpy(got.data(), out, words * 4, cudaMemcpyDeviceToHost));
  int right = 0;
  for (int i = 0; i < words; ++i)
    right += got[i] == static_cast<uint32_t>(i) + 1;
  std::printf("%s: %d of %d words arrived\n", form, right, words);
}
