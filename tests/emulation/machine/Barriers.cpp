// mbarriers, block barriers, proxy fences, and what launches and warpgroups say to each other.
#include "tests/emulation/machine/Collectives.h"
#include "tests/emulation/machine/Instructions.h"
#include "tests/emulation/machine/Plants.h"

#include <cstring>
#include <fmt/format.h>

namespace moec::emulation {
namespace {

// PTX ISA, "mbarrier", "Size and alignment", "Contents": count 1 .. 2^20 - 1, tx-count -(2^20 - 1) .. 2^20 - 1.
constexpr uint32_t maxCount = (1u << 20) - 1;

void requireKnown(Block &block, const Barrier &barrier, uint32_t address, const char *what) {
  if (block.self().known.generic.of(barrier.initialised.agent) < barrier.initialised.time)
    block.fail(Fault::Barrier,
               fmt::format("{} on mbarrier {:#x}, whose initialisation it need not have seen", what, address));
}

} // namespace

Barrier &Block::barrierAt(uint32_t address, const char *what) {
  const auto found = barriers.find(address);
  if (found == barriers.end())
    fail(Fault::Barrier, fmt::format("{} on {:#x}, which is no initialised mbarrier", what, address));
  requireKnown(*this, found->second, address, what);
  return found->second;
}

void barrierInit(uint32_t address, uint32_t arrivals) {
  Block &block = Block::current();
  if (isPlanted(Bug::ArrivalsTooMany))
    ++arrivals;
  if (isPlanted(Bug::ArrivalsTooFew) && arrivals > 1)
    --arrivals;
  if (address % 8 != 0 || arrivals == 0 || arrivals > maxCount)
    block.fail(Fault::Barrier, fmt::format("mbarrier.init of {:#x} for {} arrivals", address, arrivals));
  block.touchShared(address, 8, Use::Write, block.actor(block.self()), "mbarrier.init");
  if (block.barriers.count(address))
    block.fail(Fault::Barrier, fmt::format("mbarrier.init of {:#x}, which is one already", address));
  if (block.barriers.empty())
    block.firstBarrier = address;
  else if (block.laterBarrier == 0 && block.barriers.begin()->second.fenced)
    block.laterBarrier = address;
  Barrier &barrier = block.barriers[address];
  barrier.count = barrier.pending = arrivals;
  barrier.initialised = block.actor(block.self()).epoch;
}

void fenceBarrierInit() {
  Block &block = Block::current();
  if (isPlanted(Bug::SkipBarrierInitFence))
    return;
  for (auto &[address, barrier] : block.barriers)
    if (barrier.initialised.agent == block.self().agent)
      barrier.fenced = true;
  block.release(block.self(), block.self().fenced);
}

void Block::completePhase(Barrier &barrier) {
  if (barrier.pending != 0 || barrier.bytes != 0)
    return;
  barrier.pending = barrier.count;
  ++barrier.phase;
  if (barrier.agent) {
    uint32_t landed = barrier.bulkIssued;
    for (uint32_t number : barrier.bulkUnderWay)
      landed = std::min(landed, number - 1);
    barrier.arriving.generic.raise(barrier.agent, landed);
    barrier.arriving.async.raise(barrier.agent, landed);
  }
  barrier.completed = std::move(barrier.arriving);
  barrier.arriving.clear();
  for (Thread *thread : barrier.waiting)
    wake(*thread);
  barrier.waiting.clear();
}

void Block::arrive(Barrier &barrier, uint32_t address, uint32_t arrivals, const Knowledge &known) {
  if (barrier.pending < arrivals) {
    setFailure(Fault::Barrier, fmt::format("barrier: block {}: more arrivals on mbarrier {:#x} than the {} of a phase",
                                           blockIdx.x, address, barrier.count));
    return;
  }
  barrier.pending -= arrivals;
  barrier.arriving.join(known);
  completePhase(barrier);
}

void barrierArrive(uint32_t address, uint32_t arrivals, uint32_t expectedBytes) {
  Block &block = Block::current();
  if (isPlanted(Bug::SkipRelease) && expectedBytes == 0)
    return;
  if (expectedBytes > 0)
    expectedBytes = isPlanted(Bug::BytesTooFew)        ? expectedBytes / 2
                    : isPlanted(Bug::BytesTooMany)     ? expectedBytes + 16
                    : isPlanted(Bug::BytesNotExpected) ? 0
                                                       : expectedBytes;
  const uint32_t times = isPlanted(Bug::DoubleRelease) && expectedBytes == 0 ? 2 : 1;
  for (uint32_t i = 0; i < times; ++i) {
    block.pause();
    Barrier &barrier = block.barrierAt(address, "mbarrier.arrive");
    barrier.bytes += expectedBytes;
    if (barrier.bytes > maxCount)
      block.fail(Fault::Barrier,
                 fmt::format("mbarrier {:#x} expects {} bytes, more than it can count", address, barrier.bytes));
    Knowledge known;
    block.release(block.self(), known);
    block.arrive(barrier, address, arrivals, known);
    block.pause();
  }
}

void barrierArriveAt(uint32_t address, uint32_t rank) {
  Block &block = Block::current();
  if (isPlanted(Bug::SkipRemoteArrive) && rank != block.clusterRank())
    return;
  if (isPlanted(Bug::ArriveAtOwn))
    rank = block.clusterRank();
  block.pause();
  Block &at = block.neighbour(rank, "mbarrier.arrive");
  const auto found = at.barriers.find(address);
  if (found == at.barriers.end())
    block.fail(Fault::Barrier, fmt::format("mbarrier.arrive on {:#x} of block {}, which is no initialised mbarrier",
                                           address, at.blockIdx.x));
  requireKnown(block, found->second, address, "mbarrier.arrive");
  Knowledge known;
  block.release(block.self(), known);
  block.self().arrivalsUnderWay |= &at != &block;
  at.arrive(found->second, address, 1, known);
  if (at.result())
    block.fail(Fault::Barrier, at.result()->message);
  block.pause();
}

uint32_t clusterRank() { return Block::current().clusterRank(); }

void clusterBarrier(bool orders) {
  Block &block = Block::current();
  Thread &thread = block.self();
  if (isPlanted(Bug::SkipClusterBarrier) && block.syncs[thread.index]++ == planted.detail)
    return;
  block.pause();
  thread.knowsCluster = true;
  Grid::ClusterBarrier &barrier =
      block.grid.clusterBarriers[{&block.shape, block.blockIdx.x / block.shape.clusterBlocks}];
  if (isPlanted(Bug::RelaxedClusterBarrier))
    orders = false;
  barrier.known.join(thread.fenced);
  if (orders) {
    block.release(thread, barrier.known);
    thread.arrivalsUnderWay = false;
  }
  barrier.waiting.push_back({&block, &thread});
  if (++barrier.arrived < block.threads.size() * block.shape.clusterBlocks)
    return block.wait({"barrier.cluster of {} threads", block.threads.size() * block.shape.clusterBlocks});
  const Grid::ClusterBarrier complete = std::move(barrier);
  barrier = {};
  for (const Grid::Watcher &other : complete.waiting) {
    other.thread->known.join(complete.known);
    if (other.thread != &thread)
      other.block->wake(*other.thread);
  }
}

void storeSharedAt(uint32_t address, uint16_t value, uint32_t rank) {
  constexpr const char *what = "st.shared::cluster";
  Block &block = Block::current();
  Block &to = block.neighbour(rank, what);
  if (address % 2 != 0)
    block.fail(Fault::OutOfBounds, fmt::format("{} to {:#x}: not a multiple of 2", what, address));
  if (!block.self().knowsCluster)
    block.fail(Fault::OutOfBounds, fmt::format("{} to block {}, which may not have started", what, to.blockIdx.x));
  to.touchShared(address, 2, Use::Write, block.actor(block.self()), what);
  if (to.result())
    block.fail(to.result()->fault, to.result()->message);
  std::memcpy(to.storageOf(address, 2, what), &value, 2);
  block.pause();
}

void barrierWait(uint32_t address, uint32_t parity) {
  Block &block = Block::current();
  if (isPlanted(Bug::SkipBarrierWait) && address == block.firstBarrier + planted.detail * 8)
    return;
  if (isPlanted(Bug::SkipLaterWait) && address == block.laterBarrier + planted.detail * 8)
    return;
  if (isPlanted(Bug::WrongParity))
    parity ^= 1;
  block.pause();
  if (parity > 1)
    block.fail(Fault::Barrier, fmt::format("mbarrier.try_wait.parity with parity {}", parity));
  Barrier &barrier = block.barrierAt(address, "mbarrier.try_wait");
  // "phaseParity of 0 waits for an even phase": complete once the current phase's parity is the other one.
  while ((barrier.phase & 1) == parity) {
    barrier.waiting.push_back(&block.self());
    block.wait({"mbarrier {:#x}, parity {}", address, parity});
  }
  block.self().known.join(barrier.completed);
}

namespace {

void fenceProxy(Bug leftOut) {
  if (isPlanted(leftOut))
    return;
  Thread &thread = Block::current().self();
  thread.known.async.join(thread.known.generic);
  thread.known.generic.raise(thread.agent, ++thread.time);
}

} // namespace

void fenceProxyAsync() { fenceProxy(Bug::SkipProxyFence); }
void fenceProxyAsyncGlobal() { fenceProxy(Bug::SkipGlobalProxyFence); }

namespace {

void sync(uint32_t id, uint32_t threads, bool wait) {
  Block &block = Block::current();
  if (id > 15 || threads == 0 || threads % 32 != 0 || threads > block.threads.size())
    block.fail(Fault::Barrier, fmt::format("bar {} of {} threads", id, threads));
  block.pause();
  NamedBarrier &barrier = block.named[id];
  if (barrier.expected != 0 && barrier.expected != threads)
    block.fail(Fault::Barrier,
               fmt::format("bar {} of {} threads while others use it with {}", id, threads, barrier.expected));
  barrier.expected = threads;
  Thread &thread = block.self();
  block.release(thread, barrier.known);
  if (wait)
    barrier.waiting.push_back(&thread);
  if (++barrier.arrived < threads) {
    if (wait)
      block.wait({"bar.sync {} of {} threads", id, threads});
    return;
  }
  const NamedBarrier complete = std::move(barrier);
  barrier = {};
  for (Thread *other : complete.waiting) {
    other->known.join(complete.known);
    if (other != &thread)
      block.wake(*other);
  }
}

} // namespace

void syncThreads() {
  Block &block = Block::current();
  if (isPlanted(Bug::SkipSyncThreads) && block.syncs[block.self().index]++ == planted.detail)
    return;
  // The count is in whole warps.
  sync(0, static_cast<uint32_t>((block.threads.size() + 31) / 32 * 32), true);
}

void namedBarrierSync(uint32_t id, uint32_t threads) {
  Block &block = Block::current();
  if (isPlanted(Bug::SkipNamedBarrier) && block.syncs[block.self().index]++ % 2 == planted.detail)
    return;
  sync(id, threads, true);
}
void namedBarrierArrive(uint32_t id, uint32_t threads) { sync(id, threads, false); }

void waitForPrevious() {
  Block &block = Block::current();
  if (!isPlanted(Bug::NoWaitForPrevious) && !(isPlanted(Bug::NoOverlappedWait) && block.overlapsPrevious()))
    block.waitForPrevious();
}

void startNext() { Block::current().startNext(); }

namespace {

struct RegisterOperands {
  uint32_t registers;
  bool more;
};

/// PTX ISA, "setmaxnreg": all threads of the warpgroup; 24 .. 256, a multiple of 8.
void registersAct(Block &block, Warp &warp, void *(&operands)[32]) {
  const auto &first = *static_cast<RegisterOperands *>(operands[0]);
  for (void *operand : operands) {
    const auto &other = *static_cast<RegisterOperands *>(operand);
    if (other.registers != first.registers || other.more != first.more)
      block.fail(Fault::Collective, "the lanes of setmaxnreg disagree about its operands");
  }
  const uint32_t now = block.registersOfWarp[block.self().warp];
  if (first.registers < 24 || first.registers > 256 || first.registers % 8 != 0)
    block.fail(Fault::Registers, fmt::format("setmaxnreg {}", first.registers));
  if (first.more ? first.registers < now : first.registers > now)
    block.fail(Fault::Registers,
               fmt::format("setmaxnreg.{} from {} to {}", first.more ? "inc" : "dec", now, first.registers));
  warp.groupLog.push_back(first.registers | uint64_t{first.more} << 32);
}

} // namespace

void setRegisters(uint32_t registers, bool more) {
  Block &block = Block::current();
  Thread &thread = block.self();
  if (isPlanted(Bug::UnevenRegisters) && thread.warp % 4 == 1)
    registers -= 8;
  if (isPlanted(Bug::RegistersNeverGiven) && !more)
    return;
  RegisterOperands operands{registers, more};
  meet("setmaxnreg", allLanes, &operands, registersAct);
  if (thread.lane != 0)
    return;
  // Lane 0 settles the warp's account; an increase waits until the block's pool has the registers.
  uint32_t &now = block.registersOfWarp[thread.warp];
  if (!more) {
    block.freeRegisters += (now - registers) * 32;
    for (Thread *waiting : block.waitingForRegisters)
      block.wake(*waiting);
    block.waitingForRegisters.clear();
  } else {
    while (block.freeRegisters < (registers - now) * 32) {
      block.waitingForRegisters.push_back(&thread);
      block.wait({"setmaxnreg.inc to {}, {} registers are free", registers, block.freeRegisters});
    }
    block.freeRegisters -= (registers - now) * 32;
  }
  now = registers;
}

} // namespace moec::emulation
