// Does racecheck follow a hand-over through an mbarrier? One thread writes a word, another warp reads it, in turns.
// usage: racecheck-handover parity|test|state|bar|none
#include <cstdio>
#include <cstdint>
#include <cstring>
__device__ __forceinline__ uint32_t sa(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }
__device__ __forceinline__ void arrive(uint64_t *b) { asm volatile("{ .reg .b64 s; mbarrier.arrive.shared.b64 s, [%0]; }" ::"r"(sa(b)) : "memory"); }
template <int How> __device__ __forceinline__ void wait(uint64_t *b, uint32_t parity) {
  uint32_t done;
  do {
    if (How == 0)
      asm volatile("{ .reg .pred d; mbarrier.try_wait.parity.shared.b64 d, [%1], %2; selp.u32 %0, 1, 0, d; }" : "=r"(done) : "r"(sa(b)), "r"(parity) : "memory");
    else
      asm volatile("{ .reg .pred d; mbarrier.test_wait.parity.shared.b64 d, [%1], %2; selp.u32 %0, 1, 0, d; }" : "=r"(done) : "r"(sa(b)), "r"(parity) : "memory");
  } while (!done);
}
template <int How> __global__ void handover(uint32_t *out, int rounds) {
  __shared__ uint64_t full, empty;
  __shared__ uint32_t word;
  if (threadIdx.x == 0) {
    asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(sa(&full)) : "memory");
    asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(sa(&empty)) : "memory");
  }
  __syncthreads();
  uint32_t sum = 0;
  for (int i = 0; i < rounds; ++i) {
    if (How == 2) { // named barriers, whole warps
      if (threadIdx.x < 32) {
        if (threadIdx.x == 0) word = i + 1;
        asm volatile("bar.arrive 1, 64;" ::: "memory");
        asm volatile("bar.sync 2, 64;" ::: "memory");
      } else {
        asm volatile("bar.sync 1, 64;" ::: "memory");
        sum += word;
        asm volatile("bar.arrive 2, 64;" ::: "memory");
      }
    } else if (threadIdx.x == 0) {
      if (How != 3) wait<How>(&empty, (i & 1) ^ 1);
      word = i + 1;
      arrive(&full);
    } else if (threadIdx.x >= 32) {
      if (How != 3) wait<How>(&full, i & 1);
      sum += word;
      __syncwarp();
      if (threadIdx.x == 32) arrive(&empty);
    }
  }
  out[threadIdx.x] = sum;
}
int main(int argc, char **argv) {
  uint32_t *out, host[64];
  cudaMalloc(&out, 256);
  const char *how = argv[1];
  if (!strcmp(how, "parity")) handover<0><<<1, 64>>>(out, 8);
  else if (!strcmp(how, "test")) handover<1><<<1, 64>>>(out, 8);
  else if (!strcmp(how, "bar")) handover<2><<<1, 64>>>(out, 8);
  else handover<3><<<1, 64>>>(out, 1);
  cudaMemcpy(host, out, 256, cudaMemcpyDeviceToHost);
  printf("%s: sum %u (expected 36, none: unknown), %s\n", how, host[40], cudaGetErrorString(cudaGetLastError()));
}
