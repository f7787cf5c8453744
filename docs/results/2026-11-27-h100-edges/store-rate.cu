// nvcc -std=c++17 -arch=sm_90a -o store-rate store-rate.cu; results: store-rate.txt.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cuda.h>
#include <cuda_runtime.h>
#include <vector>
// A block stores a tile of 192 rows by 256 columns of bf16 (four panels of 128 bytes a row) again and again.
struct Map {
  CUtensorMap m;
};
__device__ __forceinline__ bool elect() {
  uint32_t p;
  asm volatile("{ .reg .pred e; .reg .b32 l; elect.sync l|e, 0xffffffff; selp.u32 %0,1,0,e; }" : "=r"(p));
  return p;
}
template <int MODE> // 0: engine
__global__ void __launch_bounds__(256, 1) store(const __grid_constant__ Map map, uint8_t *out, int boxRows, int rows,
                                                int iterations, uint32_t gap, int n, uint32_t *result) {
  extern __shared__ uint8_t raw[];
  uint32_t base = ((uint32_t)__cvta_generic_to_shared(raw) + 1023) / 1024 * 1024;
  for (int i = threadIdx.x; i < 96 * 1024 / 16; i += 256)
    asm volatile("st.shared.v4.b32 [%0], {%1,%1,%1,%1};" ::"r"(base + i * 16), "r"(i));
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncthreads();
  uint32_t issue = 0, read = 0;
  for (int it = 0; it < iterations; ++it) {
    int tile = (it * gridDim.x + blockIdx.x);
    int column = tile % (n / 256) * 256, row = tile / (n / 256) * 192 % 16128;
    __syncthreads();
    uint32_t t0 = clock();
    while (clock() - t0 < gap)
      ;
    __syncthreads();
    uint32_t start = clock();
    if (MODE == 0) {
      if (elect()) {
        int boxes = rows / boxRows;
        for (int i = threadIdx.x / 32; i < boxes * 4; i += 8) {
          int p = i % 4, r = i / 4 * boxRows;
          asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(&map),
                       "r"(column + p * 64), "r"(row + r), "r"(base + p * 24576 + r * 128)
                       : "memory");
        }
        asm volatile("cp.async.bulk.commit_group;" ::: "memory");
      }
      __syncwarp();
      issue += clock() - start;
      if (elect())
        asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
      __syncwarp();
    } else {
      constexpr int unroll = 4;
      for (int i = threadIdx.x; i < rows * 32; i += 256 * unroll) {
        uint4 v[unroll];
#pragma unroll
        for (int u = 0; u < unroll; ++u) {
          int j = i + u * 256, r = j / 32, p = j % 32;
          asm volatile("ld.shared.v4.b32 {%0,%1,%2,%3}, [%4];"
                       : "=r"(v[u].x), "=r"(v[u].y), "=r"(v[u].z), "=r"(v[u].w)
                       : "r"(base + p / 8 * 24576 + r * 128 + ((p % 8) ^ (r % 8)) * 16));
        }
#pragma unroll
        for (int u = 0; u < unroll; ++u) {
          int j = i + u * 256, r = j / 32, p = j % 32;
          *(uint4 *)(out + ((size_t)(row + r) * n + column) * 2 + p * 16) = v[u];
        }
      }
      issue += clock() - start;
    }
    read += clock() - start;
  }
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
  if (threadIdx.x == 0) {
    result[blockIdx.x * 2] = issue / iterations;
    result[blockIdx.x * 2 + 1] = read / iterations;
  }
}
int main() {
  cudaFree(0);
  int n = 2048;
  uint8_t *out;
  cudaMalloc(&out, (size_t)16384 * n * 2);
  uint32_t *res;
  cudaMallocManaged(&res, 132 * 8);
  void *fn;
  cudaDriverEntryPointQueryResult q;
  cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &fn, 12000, cudaEnableDefault, &q);
  auto enc = (CUresult (*)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *,
                           const cuuint64_t *, const cuuint32_t *, const cuuint32_t *, CUtensorMapInterleave,
                           CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill))fn;
  auto run = [&](int mode, int boxRows, int blocks, uint32_t gap, int rows) {
    Map m;
    cuuint64_t dims[2] = {(cuuint64_t)n, 16384}, strides[1] = {(cuuint64_t)n * 2};
    cuuint32_t box[2] = {64, (cuuint32_t)boxRows}, es[2] = {1, 1};
    enc(&m.m, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, out, dims, strides, box, es, CU_TENSOR_MAP_INTERLEAVE_NONE,
        CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    auto k = mode == 0 ? store<0> : store<1>;
    cudaFuncSetAttribute(k, cudaFuncAttributeMaxDynamicSharedMemorySize, 200 * 1024);
    for (int r = 0; r < 2; ++r) {
      k<<<blocks, 256, 200 * 1024>>>(m, out, boxRows, rows, 40, gap, n, res);
      cudaError_t e = cudaDeviceSynchronize();
      if (e) {
        printf("%s\n", cudaGetErrorString(e));
        return;
      }
    }
    std::vector<uint32_t> a, b;
    for (int i = 0; i < blocks; ++i)
      a.push_back(res[2 * i]), b.push_back(res[2 * i + 1]);
    std::sort(a.begin(), a.end());
    std::sort(b.begin(), b.end());
    printf("%-8s boxes of %3d rows, %3d rows, %3d blocks, gap %5u: issue %5u clocks, smem free %5u\n",
           mode ? "copies" : "engine", boxRows, rows, blocks, gap, a[blocks / 2], b[blocks / 2]);
  };
  for (int blocks : {1, 16, 66, 132})
    for (uint32_t gap : {0u, 20000u}) {
      for (int box : {16, 32, 64, 192})
        run(0, box, blocks, gap, 192);
      run(1, 0, blocks, gap, 192);
    }
  for (int rows : {16, 64, 128}) {
    run(0, 16, 132, 20000, rows);
    run(1, 0, 132, 20000, rows);
  }
}
