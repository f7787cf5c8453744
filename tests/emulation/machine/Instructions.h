// What the shadows of compiler/kernels/ptx and Cuda.h call: one function an instruction, executed by the running
// thread. Each names the section of the PTX ISA that it follows.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace moec::emulation {

// Barriers.cpp: "mbarrier", "bar, barrier", "fence.proxy.async", "griddepcontrol", "setmaxnreg"
void barrierInit(uint32_t barrier, uint32_t arrivals);
void fenceBarrierInit();
/// So many arrivals, and so many bytes more that bulk copies must bring.
void barrierArrive(uint32_t barrier, uint32_t arrivals, uint32_t expectedBytes);
void barrierWait(uint32_t barrier, uint32_t parity);
/// At the mbarrier that a block of the cluster has at this address.
void barrierArriveAt(uint32_t barrier, uint32_t rank);
uint32_t clusterRank();
/// barrier.cluster: arrive and wait. Relaxed, it hands on what fence.mbarrier_init has made visible and nothing else,
/// and arrivals at other blocks may still be on their way after it.
void clusterBarrier(bool orders);
/// st.shared::cluster of 2 bytes, to a block of the cluster
void storeSharedAt(uint32_t shared, uint16_t value, uint32_t rank);
void fenceProxyAsync();
void fenceProxyAsyncGlobal();
void syncThreads();
/// bar.sync of `threads` threads; id 1 .. 15.
void namedBarrierSync(uint32_t id, uint32_t threads);
/// bar.arrive
void namedBarrierArrive(uint32_t id, uint32_t threads);
void waitForPrevious();
void startNext();
void setRegisters(uint32_t registers, bool more);

// Copies.cpp: "cp.async", "cp.async.bulk.tensor"
uint32_t sharedAddress(const void *shared);
/// bytes: 4 or 16
void cpAsync(uint32_t shared, const void *global, uint32_t bytes, bool valid);
void cpAsyncCommit();
void cpAsyncWait(uint32_t pending);
void cpAsyncArrive(uint32_t barrier);
/// A coordinate for each dimension, the contiguous one first.
void tmaLoad(uint32_t shared, const void *map, std::initializer_list<uint32_t> coordinates, uint32_t barrier);
/// .multicast::cluster: to the same place of all blocks whose bit is set, completed on the barrier of each.
void tmaLoadToAll(uint32_t shared, const void *map, std::initializer_list<uint32_t> coordinates, uint32_t barrier,
                  uint16_t blocks);
/// st.async of 16 bytes to a block of the cluster
void storeAsync16(uint32_t shared, const uint32_t (&value)[4], uint32_t barrier, uint32_t rank);

void tmaStore(const void *map, std::initializer_list<uint32_t> coordinates, uint32_t shared);
void bulkCommit();
void bulkWait(uint32_t pending, bool readsAlone);

// Collectives.cpp: "shfl.sync", "vote.sync", "match.sync", "redux.sync", "bar.warp.sync"
enum class Shuffle : uint8_t { Index, Up, Down, Xor };
uint32_t shuffle(Shuffle kind, uint32_t mask, uint32_t value, uint32_t lane);
uint32_t ballot(uint32_t mask, bool predicate);
uint32_t matchAny(uint32_t mask, uint32_t value);
enum class Reduce : uint8_t { Max, Min, Add, And, Or, Xor };
uint32_t reduce(Reduce kind, bool isSigned, uint32_t mask, uint32_t value);
void syncWarp(uint32_t mask);
uint32_t activeMask();

// Atomics.cpp: "atom". The value before.
uint32_t atomicAdd32(uint32_t *address, uint32_t value);
/// atom.inc: 0 after `last`.
uint32_t atomicIncrement32(uint32_t *address, uint32_t last);
float atomicAddFloat(float *address, float value);
uint32_t atomicMax32(uint32_t *address, uint32_t value);
uint32_t atomicExchange32(uint32_t *address, uint32_t value);
uint32_t atomicCompareExchange32(uint32_t *address, uint32_t expected, uint32_t value);

// With acquire and release order, PTX ISA "Memory Consistency Model".
uint32_t atomicAddAcquireRelease(uint32_t *address, uint32_t value);
/// "ld.acquire"
uint32_t loadAcquire(const uint32_t *address);
/// "red.release"
void addRelease(uint32_t *address, uint32_t value);
/// "ld.relaxed": before griddepcontrol.wait too, where the launch before says by it what it has written.
uint32_t loadRelaxed(const uint32_t *address);
/// "fence.acq_rel" behind it
void fenceAcquire();

// Matrix.cpp: "ldmatrix", "stmatrix", "movmatrix", "mma"
void ldmatrix4(uint32_t (&matrix)[4], uint32_t shared);
/// stmatrix .trans of `matrices` matrices
void storeTransposed(uint32_t shared, const uint32_t *matrix, uint32_t matrices);
/// ld.shared of 16 bytes
void loadShared16(uint32_t (&values)[4], uint32_t shared);
/// ld.shared and st.shared of 4 bytes
float loadShared4(uint32_t shared);
void storeShared4(uint32_t shared, uint32_t value);
/// ld.shared and st.shared of 8 bytes
void storeShared8(uint32_t shared, const uint32_t (&values)[2]);
void loadShared8(float (&values)[2], uint32_t shared);
uint32_t transpose8x8(uint32_t matrix);
void mma16816(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, bool bf16);

// Wgmma.cpp: "Asynchronous Warpgroup Level Matrix Instructions"
void wgmmaFence();
void wgmmaCommit();
void wgmmaWait(uint32_t pending);
enum class MatrixType : uint8_t { F16, BF16, E4M3 };
/// sums: n / 2 of them.
void wgmma(float *sums, uint32_t n, uint64_t a, uint64_t b, bool accumulate, MatrixType type);

// Convert.cpp: "cvt"
uint32_t packBf16(float low, float high);
uint32_t packF16(float low, float high);
float halfToFloat(uint16_t bits);
uint32_t packE4M3(float a, float b, float c, float d);

} // namespace moec::emulation
