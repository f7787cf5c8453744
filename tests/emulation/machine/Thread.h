// One CUDA thread: a fiber, and what the machine keeps about it. One warp: where its lanes meet.
#pragma once

#include "tests/emulation/machine/Clock.h"
#include "tests/emulation/machine/Instructions.h"

#include <bitset>
#include <boost/context/fiber.hpp>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace moec::emulation {

struct Dim3 {
  uint32_t x = 1, y = 1, z = 1;
};

/// Stack number `index` of the pool; 64 KB above a page that faults.
boost::context::stack_context pooledStack(uint32_t index);

/// A fiber that may be given up half-way: it is then never resumed nor unwound. Nothing on its stack owns anything.
class Context {
public:
  Context() : fiber() {}
  ~Context() {}
  Context(const Context &) = delete;
  Context &operator=(const Context &) = delete;
  template <class Body> void start(uint32_t stack, Body body);
  void resume() { fiber = std::move(fiber).resume(); }
  void suspend() { back = std::move(back).resume(); }

private:
  union {
    boost::context::fiber fiber;
  };
  union {
    boost::context::fiber back;
  };
};

/// What a thread waits for, for the report of a deadlock.
struct Waiting {
  const char *what = nullptr;
  uint64_t first = 0, second = 0;
};

/// A thread's cp.async copies. Each is numbered, from 1.
struct Copies {
  Agent agent = 0; // 0: none yet
  uint32_t issued = 0;
  std::vector<uint32_t> underWay; // numbers
  std::vector<uint32_t> groups;   // last number of each committed group
  struct Arrival {
    uint32_t after; // number of the last copy that it waits for
    uint32_t barrier;
  };
  std::vector<Arrival> arrivals; // not yet to be made
};

/// A thread's bulk copies from shared to device memory. Each is numbered, from 1.
struct BulkStores {
  Agent reads = 0, writes = 0; // of shared memory, of device memory; 0: none yet
  uint32_t issued = 0;
  std::vector<uint32_t> groups; // last number of each committed group
};

/// A value that a thread has loaded before, to see that it only waits for another.
struct LastLoad {
  const void *address = nullptr;
  uint32_t value = 0;
};

struct Thread {
  uint32_t index = 0, warp = 0, lane = 0;
  Agent agent = 0;
  Dim3 threadIdx;
  Context context;
  bool done = false, ready = true;
  bool waitedForPrevious = false;
  uint64_t priority = 0;
  Waiting waiting;
  uint32_t time = 1;
  Knowledge known;
  Knowledge fenced;              // at its last fence.mbarrier_init
  bool knowsCluster = false;     // that its blocks have started: it has passed a cluster barrier
  bool arrivalsUnderWay = false; // at other blocks' barriers, since a cluster barrier that waits for them
  Copies copies;
  BulkStores stores;
  LastLoad lastLoads[2];         // of the last two addresses
  Knowledge relaxed;             // what relaxed loads have read of, to be known from a fence on
  bool readsPrevious = false;    // they read what the launch before released
  bool acquiredPrevious = false; // and a fence followed
};

/// Lanes of a warp that execute the same instruction together; each brings its operands.
struct Meeting {
  const char *instruction;
  uint32_t mask, arrived;
  void *operands[32];
};

/// One wgmma that a warp has issued: its 16 rows of the product.
struct PendingWgmma {
  uint64_t a, b;
  uint32_t chain; // whose sums it adds to
  bool accumulate;
  MatrixType type;
  uint32_t n;
  std::bitset<256> unusedA, unusedB; // rows that are NaN
};

/// The sums of one fragment while wgmmas on it are under way.
struct SumChain {
  float *registers[32];      // of each lane
  std::vector<float> values; // [32][n / 2]
  uint32_t pending = 0;
};

struct WarpWgmma {
  Agent agent = 0; // 0: none yet; reads shared memory for this warp
  uint32_t issued = 0, done = 0;
  std::vector<PendingWgmma> queue; // numbers done + 1 ...
  std::vector<uint32_t> groups;    // last number of each committed group
  std::vector<SumChain> chains;
  bool fenced = false; // no register access since the last wgmma.fence that we could know of
};

struct Warp {
  std::vector<Meeting> meetings;
  Agent agent = 0; // of ldmatrix; 0: none yet
  uint32_t numReads = 0;
  WarpWgmma wgmma;
  std::vector<uint64_t> groupLog; // what it did that its warpgroup's other warps must do too
};

template <class Body> void Context::start(uint32_t stack, Body body) {
  struct Allocator {
    uint32_t stack;
    boost::context::stack_context allocate() { return pooledStack(stack); }
    void deallocate(boost::context::stack_context &) {}
  };
  new (&fiber)
      boost::context::fiber(std::allocator_arg, Allocator{stack}, [this, body](boost::context::fiber &&sink) mutable {
        new (&back) boost::context::fiber(std::move(sink));
        body();
        return std::move(back);
      });
}

} // namespace moec::emulation
