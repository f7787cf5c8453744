// Small kernels, each with one mistake. What it leads to is known, so the fault is compared too.
#include "tests/emulation/machine/Cuda.h"

#include "compiler/kernels/ptx/Barrier.cuh"
#include "compiler/kernels/ptx/CpAsync.cuh"
#include "compiler/kernels/ptx/Grid.cuh"
#include "compiler/kernels/ptx/Registers.cuh"
#include "compiler/kernels/ptx/Tma.cuh"
#include "compiler/kernels/tile/GridBarrier.cuh"
#include "compiler/kernels/tile/Warp.cuh"
#include "tests/emulation/Schedules.h"
#include "tests/emulation/hardware/layouts.cuh"
#include "tests/emulation/machine/TensorMap.h"
#include "tests/emulation/planted/Caught.h"

#include <fmt/format.h>
#include <set>

using namespace moec;
using namespace moec::emulation;

namespace {

/// What the kernels work on.
struct Memory {
  const uint32_t *in; // [256] 0, 1, 2 ...
  uint32_t *out;      // [256]
  uint32_t *zeros;    // [2]
  TensorMap map;      // of a tensor [16, 64] of two-byte elements, in boxes of 8 rows
};

struct Broken {
  const char *name;
  std::optional<Fault> fault; // empty: nothing is wrong
  LaunchShape shape;
  void (*kernel)(const Memory &memory);
  Plant plant = {};
  std::optional<Fault> orElse = {}; // where one side may be through before the other comes
};

std::optional<Failure> runOnce(const Broken &test, uint64_t seed) {
  DeviceMemory device;
  std::vector<uint32_t> numbers(256);
  for (uint32_t i = 0; i < 256; ++i)
    numbers[i] = i;
  Memory memory{device.input(numbers), device.output<uint32_t>(256), device.output(std::vector<uint32_t>{0, 0}), {}};
  uint16_t *tensor = device.output(std::vector<uint16_t>(16 * 64, 7));
  memory.map = weightMap<TensorMap>(tensor, 64, 16, 1, 16 * 64, 8);
  planted = test.plant;
  const auto failure = launch(device, test.shape, seed, [&] { test.kernel(memory); });
  planted = {};
  return failure;
}

/// One block with 2 KB of dynamic shared memory that starts at a multiple of 1024.
constexpr LaunchShape block(uint32_t threads) {
  return {.blocks = 1, .threads = threads, .sharedBytes = 2048, .dynamicShared = stages, .sharedAlignment = 1024};
}
constexpr LaunchShape blocks(uint32_t number, bool together) {
  return {.blocks = number, .threads = 64, .together = together};
}

void exchange(bool wait) {
  __shared__ uint32_t words[64];
  words[threadIdx.x] = threadIdx.x;
  __syncthreads();
  const uint32_t other = words[threadIdx.x ^ 32];
  if (wait)
    __syncthreads();
  words[threadIdx.x] = other;
}

/// Structs large enough to be copied by memcpy.
void copyStruct(const Memory &memory, bool wait) {
  struct Words {
    uint32_t word[64];
  };
  __shared__ Words first, second;
  ptx::waitForPrevious();
  if (threadIdx.x == 0) {
    first = *reinterpret_cast<const Words *>(memory.in);
    second = first;
  }
  if (wait)
    __syncthreads();
  if (threadIdx.x == 32)
    *reinterpret_cast<Words *>(memory.out) = second;
}

void countInShared(bool wait) {
  __shared__ uint32_t count;
  if (threadIdx.x == 0)
    count = 0;
  __syncthreads();
  atomicAdd(&count, 1u);
  if (wait)
    __syncthreads();
  volatile uint32_t sum = count;
  (void)sum;
}

void copyThenRead(const Memory &memory, bool wait) {
  __shared__ __align__(16) uint32_t words[64][4];
  ptx::waitForPrevious();
  ptx::cpAsync16(ptx::sharedAddress(words[threadIdx.x]), memory.in + threadIdx.x % 64 * 4, true);
  ptx::cpAsyncCommit();
  if (wait)
    ptx::cpAsyncWait<0>();
  memory.out[threadIdx.x] = words[threadIdx.x][1];
}

/// A box comes in, is changed, and goes out again.
void roundTrip(const Memory &memory, bool fenceBarrier, bool fenceStore, bool waitRead) {
  __shared__ uint64_t barrier;
  const uint32_t full = ptx::sharedAddress(&barrier);
  ptx::waitForPrevious();
  if (threadIdx.x == 0) {
    ptx::barrierInit(full, 1);
    if (fenceBarrier)
      ptx::fenceBarrierInit();
    ptx::barrierArriveExpect(full, 8 * 128);
    ptx::tmaLoad3d(ptx::sharedAddress(stages), &memory.map, 0, 8, 0, full);
    ptx::barrierWait(full, 0);
    reinterpret_cast<uint32_t *>(stages)[5] = 1;
    if (fenceStore)
      ptx::fenceProxyAsync();
    emulation::tmaStore(&memory.map, {0, 0, 0}, ptx::sharedAddress(stages));
    ptx::bulkCommit();
    if (waitRead)
      ptx::bulkWaitRead();
  }
}

void sumOverBlocks(const Memory &memory) {
  ptx::waitForPrevious();
  memory.out[blockIdx.x * 64 + threadIdx.x] = threadIdx.x;
  tile::gridBarrier(memory.zeros, gridDim.x);
  volatile uint32_t other = memory.out[(blockIdx.x + 1) % gridDim.x * 64 + threadIdx.x];
  (void)other;
}

const Broken kernels[] = {
    {"words exchanged across a barrier", {}, block(64), [](const Memory &) { exchange(true); }},
    {"words exchanged without one", Fault::Race, block(64), [](const Memory &) { exchange(false); }},
    {"a struct copied after a barrier", {}, block(64), [](const Memory &memory) { copyStruct(memory, true); }},
    {"a struct copied without one",
     Fault::Race,
     block(64),
     [](const Memory &memory) { copyStruct(memory, false); },
     {},
     Fault::Unwritten},
    {"a count read after a barrier", {}, block(64), [](const Memory &) { countInShared(true); }},
    {"a count read while others add", Fault::Race, block(64), [](const Memory &) { countInShared(false); }},
    {"shared memory that nobody wrote", Fault::Unwritten, block(32),
     [](const Memory &) {
       __shared__ uint32_t words[32];
       if (threadIdx.x % 2 == 0)
         words[threadIdx.x] = 1;
       __syncthreads();
       volatile uint32_t value = words[threadIdx.x ^ 1];
       (void)value;
     }},
    {"past dynamic shared memory", Fault::OutOfBounds, block(32),
     [](const Memory &) { stages[2048 + threadIdx.x] = 1; }},
    {"past a buffer", Fault::OutOfBounds, block(32),
     [](const Memory &memory) {
       ptx::waitForPrevious();
       memory.out[threadIdx.x + 225] = 1;
     }},
    {"a write to an input", Fault::OutOfBounds, block(32),
     [](const Memory &memory) {
       ptx::waitForPrevious();
       const_cast<uint32_t *>(memory.in)[threadIdx.x] = 1;
     }},
    {"device memory before griddepcontrol.wait", Fault::Order, block(32),
     [](const Memory &memory) { memory.out[threadIdx.x] = 1; }},
    {"a barrier that half of the block comes to", Fault::Deadlock, block(64),
     [](const Memory &) {
       if (threadIdx.x < 32)
         __syncthreads();
     }},
    {"a lane that left before the others shuffled", Fault::Deadlock, block(32),
     [](const Memory &) {
       if (threadIdx.x != 3)
         tile::warpSum(1.0f);
     }},
    {"a shuffle from a lane outside of its mask", Fault::Collective, block(32),
     [](const Memory &) {
       if (threadIdx.x < 16)
         __shfl_sync(0xffffu, 1, 20);
     }},
    {"lanes in different instructions", Fault::Collective, block(32),
     [](const Memory &) {
       if (threadIdx.x % 2)
         __syncwarp();
       else
         __ballot_sync(tile::allLanes, true);
     }},
    {"a wrong mask",
     Fault::Collective,
     block(32),
     [](const Memory &) { __syncwarp(threadIdx.x < 8 ? tile::allLanes : 0xffffff00u); },
     {},
     Fault::Deadlock},
    {"two blocks add to one element",
     {},
     blocks(2, false),
     [](const Memory &memory) {
       ptx::waitForPrevious();
       atomicAdd(memory.zeros, 1u);
     }},
    {"two blocks write one element", Fault::Race, blocks(2, false),
     [](const Memory &memory) {
       ptx::waitForPrevious();
       memory.out[threadIdx.x] = 1;
     }},
    {"two blocks write neighbouring elements",
     {},
     blocks(2, false),
     [](const Memory &memory) {
       ptx::waitForPrevious();
       reinterpret_cast<uint16_t *>(memory.out)[threadIdx.x * 2 + blockIdx.x] = 1;
     }},
    {"blocks that wait for each other", {}, blocks(3, true), sumOverBlocks},
    {"blocks that wait for each other, one after the other", Fault::Deadlock, blocks(3, false), sumOverBlocks},
    {"a grid barrier of relaxed atomics", Fault::Race, blocks(3, true), sumOverBlocks, {Bug::RelaxedAtomics}},
    {"a cp.async that was waited for", {}, block(64), [](const Memory &memory) { copyThenRead(memory, true); }},
    {"a cp.async read at once", Fault::Race, block(64), [](const Memory &memory) { copyThenRead(memory, false); }},
    {"a cp.async that nobody waits for", Fault::Copy, block(32),
     [](const Memory &memory) {
       __shared__ __align__(16) uint32_t words[32][4];
       ptx::waitForPrevious();
       ptx::cpAsync16(ptx::sharedAddress(words[threadIdx.x]), memory.in, true);
     }},
    {"a cp.async to a place that is not aligned", Fault::Copy, block(32),
     [](const Memory &memory) {
       ptx::waitForPrevious();
       ptx::cpAsync16(ptx::sharedAddress(stages) + 8, memory.in, true);
     }},
    {"an mbarrier that another thread may not know", Fault::Barrier, block(64),
     [](const Memory &) {
       __shared__ uint64_t barrier;
       if (threadIdx.x == 0)
         ptx::barrierInit(ptx::sharedAddress(&barrier), 63);
       else
         ptx::barrierArrive(ptx::sharedAddress(&barrier));
     }},
    {"more arrivals than a phase has", Fault::Barrier, block(32),
     [](const Memory &) {
       __shared__ uint64_t barrier;
       if (threadIdx.x == 0) {
         ptx::barrierInit(ptx::sharedAddress(&barrier), 2);
         ptx::barrierArrive(ptx::sharedAddress(&barrier), 3);
       }
     }},
    {"a named barrier with two counts",
     Fault::Barrier,
     block(96),
     [](const Memory &) {
       if (threadIdx.x < 32)
         ptx::namedBarrier<1, 96>();
       else
         ptx::namedBarrier<1, 64>();
     },
     {},
     Fault::Deadlock},
    {"a box in and out", {}, block(32), [](const Memory &memory) { roundTrip(memory, true, true, true); }},
    {"a box on an mbarrier without fence.mbarrier_init", Fault::Barrier, block(32),
     [](const Memory &memory) { roundTrip(memory, false, true, true); }},
    {"a box out without fence.proxy.async", Fault::Race, block(32),
     [](const Memory &memory) { roundTrip(memory, true, false, true); }},
    {"a box out, and the block ends", Fault::Copy, block(32),
     [](const Memory &memory) { roundTrip(memory, true, true, false); }},
    {"setmaxnreg of 41", Fault::Registers, block(128), [](const Memory &) { ptx::giveRegisters<41>(); }},
    {"setmaxnreg.inc to less", Fault::Registers, block(128), [](const Memory &) { ptx::takeRegisters<40>(); }},
    {"wgmma of what was written without fence.proxy.async",
     Fault::Race,
     {.blocks = 1, .threads = 128, .sharedBytes = layouts::wgmmaRows * 128 + 1024, .dynamicShared = unaligned},
     [](const Memory &) {
       static std::vector<int32_t> out(64 * 8);
       layoutWgmma<Element::BF16, 8>(out.data());
     },
     {Bug::SkipProxyFence}},
    {"sums used before wgmma.wait_group",
     Fault::Wgmma,
     {.blocks = 1, .threads = 128, .sharedBytes = layouts::wgmmaRows * 128 + 1024, .dynamicShared = unaligned},
     [](const Memory &) {
       static std::vector<int32_t> out(64 * 8);
       layoutWgmma<Element::BF16, 8>(out.data());
     },
     {Bug::SkipWgmmaWait, 0}},
};

} // namespace

TEST_CASE("a broken kernel fails, for its own reason, and a sound one does not", "[emulation][planted]") {
  for (const Broken &test : kernels) {
    INFO(test.name);
    for (uint64_t seed = 1; seed <= 20; ++seed) {
      const std::optional<Failure> failure = runOnce(test, seed);
      INFO("seed " << seed << ": " << messageOf(failure));
      REQUIRE(failure.has_value() == test.fault.has_value());
      if (failure && failure->fault != test.orElse)
        CHECK(std::string(nameOf(failure->fault)) == nameOf(*test.fault));
    }
  }
}

TEST_CASE("a seed reproduces its failure to the letter", "[emulation][planted]") {
  const Broken &race = kernels[1];
  std::set<std::string> messages;
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    const std::string message = messageOf(runOnce(race, seed));
    CHECK(message == messageOf(runOnce(race, seed)));
    messages.insert(message);
  }
  CHECK(messages.size() > 1); // and other seeds run other schedules
}
