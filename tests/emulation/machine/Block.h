// One thread block at work: its threads as fibers, run one at a time in an order that the seed decides, and the copies
// that are under way. What instructions do is in Collectives, Barriers, Copies, Matrix and Wgmma.
#pragma once

#include "tests/emulation/machine/DeviceMemory.h"
#include "tests/emulation/machine/Grid.h"
#include "tests/emulation/machine/Random.h"
#include "tests/emulation/machine/SharedMemory.h"
#include "tests/emulation/machine/Thread.h"

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <string>

namespace moec::emulation {

/// What went wrong.
enum class Fault : uint8_t {
  Race,        ///< two accesses that nothing orders, or a read of what may not have arrived
  Unwritten,   ///< a read of bytes that nobody wrote
  OutOfBounds, ///< outside of every buffer, or a write to an input
  Order,       ///< device memory was touched before griddepcontrol.wait
  Deadlock,    ///< nobody can go on
  Barrier,     ///< an mbarrier or block barrier used against its rules
  Collective,  ///< lanes that must do the same did not
  Copy,        ///< a copy against its rules, or one that the block did not wait for
  Wgmma,       ///< a wgmma, its descriptor or its sums used against the rules
  Registers,   ///< setmaxnreg against its rules
};
const char *nameOf(Fault fault);

struct Failure {
  Fault fault;
  std::string message;
};

struct LaunchShape {
  uint32_t blocks, threads;
  uint32_t sharedBytes = 0;         // dynamic
  uint8_t *dynamicShared = nullptr; // the array that the kernel names
  uint32_t sharedAlignment = 16;    // what the kernel's declaration asks for
  // A kernel may multiply rows whose sums it does not use: of a warpgroup's 64 rows of A those from `wgmmaRows` on, and
  // rows that nobody wrote where `unwrittenRows`. They count as NaN.
  uint32_t wgmmaRows = 64;
  bool unwrittenRows = false;
  // Blocks that wait for each other, or that pass results on by atomics, run at the same time. Others run one after the
  // other, and whatever passes between them is a race.
  bool together = false;
  uint32_t clusterBlocks = 1; // neighbours that run at the same time and reach each other's shared memory
};

/// An mbarrier (PTX ISA, "Parallel Synchronization and Communication Instructions: mbarrier").
struct Barrier {
  uint32_t count = 0, pending = 0, phase = 0;
  int64_t bytes = 0; // tx-count
  Epoch initialised;
  bool fenced = false; // fence.mbarrier_init since
  Knowledge arriving;  // what those who arrived in this phase knew
  Knowledge completed; // and in the phase before
  std::vector<Thread *> waiting;
  Agent agent = 0; // of bulk copies that complete here; 0: none yet
  uint32_t bulkIssued = 0;
  std::vector<uint32_t> bulkUnderWay;
};

/// A block barrier (bar.sync).
struct NamedBarrier {
  uint32_t expected = 0; // threads
  uint32_t arrived = 0;
  std::vector<Thread *> waiting; // of those
  Knowledge known;
};

/// A copy, or an arrival, that happens on its own some time.
struct AsyncOperation {
  enum Kind : uint8_t { Piece, Arrive, Bulk, Store } kind;
  Thread *thread;  // who issued it
  uint32_t number; // among the thread's copies or the barrier's bulk copies; Arrive: last copy that it waited for
  uint32_t shared = 0, barrier = 0;
  const uint8_t *global = nullptr; // Piece: null means zeros
  std::function<void()> move = {}; // Bulk, Store
  uint32_t bytes = 0;              // Piece, Bulk
};

class Block {
public:
  /// The block at `place` of the grid.
  Block(DeviceMemory &device, const LaunchShape &shape, Grid &grid, uint32_t place, uint64_t seed);

  void begin(const std::function<void()> &kernel);
  bool isDone() const { return alive == 0; }
  bool canStep() const { return !readyThreads.empty() || !underWay.empty(); }
  /// Up to `most` turns of its threads, with its own shared memory in place.
  void run(uint32_t most);
  /// All threads are done: checks what the block leaves behind.
  void end();
  /// Nobody can go on.
  void reportDeadlock();
  const std::optional<Failure> &result() const { return failure; }
  static Block &current() { return *active; }
  static Block *running() { return active; }

  // For instructions; called on a thread's fiber.
  Thread &self() { return *runningThread; }
  bool onThread() const { return runningThread != nullptr; }
  /// Gives the schedule a chance to run others first.
  void pause();
  /// Stops this thread until `wake`.
  void wait(const Waiting &waiting);
  void wake(Thread &thread);
  /// Ends the launch; does not return.
  [[noreturn]] void fail(Fault fault, std::string message);

  Agent newAgent(std::string name);
  std::string nameOf(Agent agent) const;
  Actor actor(const Thread &thread) const {
    return {{thread.time, thread.agent, blockId, 0}, &thread.known.generic, &thread.known.generic};
  }
  /// This thread's knowledge goes to `to`; what it does from now on is later.
  void release(Thread &thread, Knowledge &to);
  /// Whether somebody wrote these bytes, some time.
  bool isWritten(uint32_t address, uint32_t bytes);
  void touchShared(uint32_t address, uint32_t bytes, Use use, const Actor &actor, const char *what);
  /// `ordered`: not before griddepcontrol.wait, unless nothing that may still run has to do with these bytes.
  void touchGlobal(const void *address, size_t bytes, Use use, const Actor &actor, const char *what,
                   bool ordered = true);
  /// A row of a box that the copy engine reads, some of which the kernel may have no use for. Where the launch before
  /// runs besides (launchOverlapped), false if that one may still write it or this thread has not seen that it did;
  /// otherwise as touchGlobal.
  bool readRow(const void *address, size_t bytes, const Actor &actor, const char *what);
  /// A plain load or store of the kernel's.
  void touch(const void *address, uint32_t bytes, Use use);
  uint8_t *hostOf(uint32_t address, uint32_t bytes, const char *what);
  /// Whether the bytes lie in one buffer of device memory.
  bool isOnDevice(const void *address, size_t bytes) const { return device.find(address, bytes) != nullptr; }

  void start(AsyncOperation operation) { underWay.push_back(std::move(operation)); }
  /// Finishes this thread's operations of a kind up to `number`, in any order.
  void finish(AsyncOperation::Kind kind, Thread &thread, uint32_t number);
  void arrive(Barrier &barrier, uint32_t address, uint32_t arrivals, const Knowledge &known);
  void completePhase(Barrier &barrier);
  Barrier &barrierAt(uint32_t address, const char *what);

  /// griddepcontrol.launch_dependents of the running thread
  void startNext();
  /// griddepcontrol.wait of the running thread
  void waitForPrevious();
  bool hasStartedNext() const { return startedNext; }
  /// Whether it is of the launch that overlaps the one before it (launchOverlapped), whose blocks have not all let it
  /// start.
  bool isHeld() const;

  /// What the launch before released, for kernels that go by it before they have waited for that launch.
  void noteReleased(const void *address) { device.noteReleased(address); }
  bool wasReleased(const void *address) const { return device.wasReleased(address); }
  /// An atomic load that needs not wait for the launch before.
  void touchReleased(const uint32_t *address);

  /// Stops this thread until somebody writes to device memory.
  void waitForChange();

  /// The block of the same cluster with this number in it, which must not have ended.
  Block &neighbour(uint32_t rank, const char *what);
  uint32_t clusterRank() const { return blockIdx.x % shape.clusterBlocks; }
  /// Storage behind a shared address, also while another block runs.
  uint8_t *storageOf(uint32_t address, uint32_t bytes, const char *what);

  const LaunchShape &shape;
  Grid &grid;
  Dim3 blockIdx, gridDim;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::map<uint32_t, Barrier> barriers;
  uint32_t firstBarrier = 0, laterBarrier = 0; // addresses: initialised first of all, and first behind a fence (plants)
  NamedBarrier named[16];
  SharedMemory &shared;
  Random random;
  uint32_t freeRegisters = 0;
  std::vector<uint32_t> registersOfWarp;
  std::vector<Thread *> waitingForRegisters;
  std::map<uint32_t, uint32_t> syncs; // or named barriers that each thread has passed; for planted bugs

  bool overlapsPrevious() const { return place >= grid.firstBlocks; }

private:
  bool previousHasEnded() const;
  bool mayTouchEarly(const DeviceMemory::Buffer &buffer, uint32_t offset, uint32_t bytes, Use use);
  void endThread(Thread &thread);
  void makeThreads(const std::function<void()> &kernel);
  uint64_t drawPriority(const Thread &thread);
  void enqueue(Thread &thread);
  void step();
  void changed();
  void finishOne(size_t which);
  void land(AsyncOperation operation);
  void landPiece(const AsyncOperation &operation);
  void checkEnd();
  void setFailure(Fault fault, std::string message) {
    if (!failure)
      failure = Failure{fault, std::move(message)};
  }
  void report(const Conflict &conflict, Use use, const Actor &actor, const char *what, uint64_t address);

  const uint32_t place; // in the grid
  bool startedNext = false;
  static Block *active;
  DeviceMemory &device;
  uint16_t blockId; // in epochs: blocks that run together share one
  uint32_t firstStack;
  Thread *runningThread = nullptr;
  std::optional<Failure> failure;
  std::vector<AsyncOperation> underWay;
  std::priority_queue<std::pair<uint64_t, uint32_t>> readyThreads;
  std::vector<uint64_t> priorityOfWarp;
  uint32_t lagging = 0; // the laggard's index
  uint32_t alive = 0;
  /// How this schedule is run; drawn from the seed. The laggard, a thread or a warp, runs only where nothing else can
  /// happen: whoever does not wait for it gets as far ahead as the kernel lets it.
  enum Style : uint8_t { AnyThread, WarpsApart, ThreadsApart, OneLaggard, LaggingWarp } style;
  static constexpr uint64_t laggard = 0; // priority
  uint32_t eagerness;                    // of asynchronous operations, times in 256 a turn
};

} // namespace moec::emulation
