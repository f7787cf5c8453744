#include "tests/emulation/machine/Block.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <memory>
#include <sys/mman.h>

namespace moec::emulation {

Block *Block::active = nullptr;

namespace {

constexpr uint32_t maxThreads = 4096; // of blocks that run together
constexpr size_t stackBytes = 64 * 1024, guardBytes = 4096;

/// Kept from launch to launch: making one costs more than a launch.
SharedMemory &sharedMemory(uint32_t place) {
  static std::vector<std::unique_ptr<SharedMemory>> memories;
  while (memories.size() <= place)
    memories.push_back(std::make_unique<SharedMemory>());
  return *memories[place];
}

} // namespace

boost::context::stack_context pooledStack(uint32_t index) {
  static uint8_t *const pool = [] {
    void *mapped = mmap(nullptr, maxThreads * (stackBytes + guardBytes), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) {
      std::fputs("emulation: no address space for stacks\n", stderr);
      std::abort();
    }
    for (uint32_t i = 0; i < maxThreads; ++i)
      mprotect(static_cast<uint8_t *>(mapped) + i * (stackBytes + guardBytes), guardBytes, PROT_NONE);
    return static_cast<uint8_t *>(mapped);
  }();
  boost::context::stack_context stack;
  stack.size = stackBytes;
  stack.sp = pool + (index + 1) * (stackBytes + guardBytes);
  return stack;
}

const char *nameOf(Fault fault) {
  switch (fault) {
  case Fault::Race: return "race";
  case Fault::Unwritten: return "unwritten memory";
  case Fault::OutOfBounds: return "out of bounds";
  case Fault::Order: return "order of launches";
  case Fault::Deadlock: return "deadlock";
  case Fault::Barrier: return "barrier";
  case Fault::Collective: return "collective";
  case Fault::Copy: return "copy";
  case Fault::Wgmma: return "wgmma";
  case Fault::Registers: return "registers";
  }
  return "";
}

Block::Block(DeviceMemory &device, const LaunchShape &shape, Grid &grid, uint32_t place, uint64_t seed)
    : shape(shape), grid(grid), blockIdx{grid.blocks[place], 0, 0}, gridDim{shape.blocks, 1, 1}, threads(shape.threads),
      warps((shape.threads + 31) / 32), shared(sharedMemory(place)), random(seed), place(place), device(device),
      blockId(static_cast<uint16_t>(grid.blocks[0] + 1)), firstStack(grid.threadsPerBlock * place) {
  constexpr uint32_t eager[] = {0, 8, 128};
  // Laggards most: which of many threads must lag to show a mistake is luck already.
  constexpr Style styles[] = {AnyThread, WarpsApart, ThreadsApart, LaggingWarp, OneLaggard, OneLaggard, OneLaggard};
  style = styles[random.below(std::size(styles))];
  eagerness = eager[random.below(3)];
  const uint32_t alignment = shape.sharedAlignment;
  if (grid.sharedAddress == 0)
    grid.sharedAddress = 1024 + random.below(1024 / alignment) * alignment;
  shared.begin(shape.dynamicShared, shape.sharedBytes, grid.sharedAddress);
  // ptxas gives a thread at most what lets the block fit, in steps of 8 (setmaxnreg).
  const uint32_t registers = std::min(255u, 65536 / std::max(shape.threads, 1u) / 8 * 8);
  grid.running.resize(grid.blocks.size());
  grid.running[place] = this;
  registersOfWarp.assign(warps.size(), registers);
  freeRegisters = 0; // the block owns no more than that
}

void Block::makeThreads(const std::function<void()> &kernel) {
  for (uint32_t i = 0; i < shape.threads; ++i) {
    Thread &thread = threads[i];
    thread.index = i;
    thread.agent = static_cast<Agent>(firstStack + i);
    thread.warp = i / 32;
    thread.lane = i % 32;
    thread.threadIdx = {i, 0, 0};
    thread.known.generic.raise(thread.agent, thread.time);
    thread.context.start(firstStack + i, [this, &thread, &kernel] {
      kernel();
      thread.done = true;
      endThread(thread);
    });
  }
  for (size_t i = 0; i < warps.size(); ++i)
    priorityOfWarp.push_back(random.next() | 1);
  lagging = random.below(static_cast<uint32_t>(style == LaggingWarp ? warps.size() : threads.size()));
  for (Thread &thread : threads) {
    thread.priority = drawPriority(thread);
    enqueue(thread);
  }
}

uint64_t Block::drawPriority(const Thread &thread) {
  if (lagging == (style == LaggingWarp ? thread.warp : thread.index) && (style == OneLaggard || style == LaggingWarp))
    return laggard;
  return style == WarpsApart ? priorityOfWarp[thread.warp] : random.next() | 1;
}

void Block::enqueue(Thread &thread) {
  thread.ready = true;
  if (style != WarpsApart && style != ThreadsApart)
    thread.priority = drawPriority(thread);
  readyThreads.emplace(thread.priority, thread.index);
}

void Block::pause() {
  if (!random.chance(style == WarpsApart || style == ThreadsApart ? 4 : 48))
    return;
  Thread &thread = self();
  if (style == ThreadsApart)
    thread.priority = random.next() | 1;
  enqueue(thread);
  thread.context.suspend();
}

void Block::wait(const Waiting &waiting) {
  Thread &thread = self();
  thread.ready = false;
  thread.waiting = waiting;
  thread.context.suspend();
}

void Block::wake(Thread &thread) {
  if (!thread.ready)
    enqueue(thread);
}

void Block::fail(Fault fault, std::string message) {
  if (active != this) // a thread of another block reached for this one's memory
    active->fail(fault, fmt::format("in block {}: {}", blockIdx.x, message));
  const Thread &thread = self();
  setFailure(fault,
             fmt::format("{}: block {} thread {}: {}", emulation::nameOf(fault), blockIdx.x, thread.index, message));
  runningThread->context.suspend();
  std::abort(); // nobody resumes a thread after a failure
}

/// The launch that overlaps this one waits for all of its threads.
void Block::endThread(Thread &thread) {
  if (grid.firstBlocks == UINT32_MAX || overlapsPrevious())
    return;
  release(thread, grid.firstEnded);
  changed();
}

bool Block::previousHasEnded() const {
  return std::all_of(grid.running.begin(), grid.running.begin() + grid.firstBlocks,
                     [](const Block *block) { return block->isDone(); });
}

bool Block::isHeld() const {
  return overlapsPrevious() && !std::all_of(grid.running.begin(), grid.running.begin() + grid.firstBlocks,
                                            [](const Block *block) { return block->startedNext || block->isDone(); });
}

void Block::startNext() {
  startedNext = true;
  if (self().waitedForPrevious)
    return;
  device.startsNextEarly();
  grid.startedEarly |= !overlapsPrevious();
}

void Block::waitForPrevious() {
  while (overlapsPrevious() && !previousHasEnded())
    waitForChange();
  if (overlapsPrevious()) { // and seen through all proxies
    self().known.join(grid.firstEnded);
    self().known.async.join(grid.firstEnded.generic);
    grid.secondWaited = true;
  }
  self().waitedForPrevious = true;
}

void Block::begin(const std::function<void()> &kernel) {
  makeThreads(kernel);
  alive = shape.threads;
  if (!grid.isAlone())
    shared.save();
}

void Block::run(uint32_t most) {
  active = this;
  if (!grid.isAlone())
    shared.restore();
  for (uint32_t i = 0; i < most && alive > 0 && !failure && canStep(); ++i)
    step();
  if (!grid.isAlone())
    shared.save();
  active = nullptr;
}

void Block::end() {
  if (!failure)
    checkEnd();
}

Block &Block::neighbour(uint32_t rank, const char *what) {
  const uint32_t wanted = blockIdx.x - clusterRank() + rank;
  for (Block *block : grid.running)
    if (rank < shape.clusterBlocks && block->blockIdx.x == wanted && &block->shape == &shape) {
      if (block->isDone())
        fail(Fault::OutOfBounds, fmt::format("{} at block {}, which has ended", what, wanted));
      return *block;
    }
  fail(Fault::OutOfBounds, fmt::format("{} at block {} of a cluster of {}", what, rank, shape.clusterBlocks));
}

uint8_t *Block::storageOf(uint32_t address, uint32_t bytes, const char *what) {
  uint8_t *host = hostOf(address, bytes, what);
  return active == this ? host : shared.savedAt(host);
}

void Block::waitForChange() {
  grid.watchers.push_back({this, &self()});
  wait({"a change of device memory"});
}

/// Device memory is about to change.
void Block::changed() {
  for (const Grid::Watcher &watcher : grid.watchers)
    watcher.block->wake(*watcher.thread);
  grid.watchers.clear();
}

void Block::step() {
  if (!underWay.empty() && random.chance(eagerness))
    finishOne(random.below(static_cast<uint32_t>(underWay.size())));
  if (!canStep())
    return; // the last operation woke nobody: a deadlock
  if (readyThreads.empty() || (readyThreads.top().first == laggard && !underWay.empty())) {
    finishOne(random.below(static_cast<uint32_t>(underWay.size())));
    return;
  }
  Thread &thread = threads[readyThreads.top().second];
  readyThreads.pop();
  thread.waiting = {};
  runningThread = &thread;
  thread.context.resume();
  runningThread = nullptr;
  alive -= thread.done;
}

void Block::reportDeadlock() {
  std::string message = fmt::format("deadlock: block {}: nobody can go on", blockIdx.x);
  for (size_t first = 0; first < threads.size();) {
    // Neighbours that wait for the same are one line.
    const Thread &thread = threads[first];
    size_t last = first;
    const auto same = [&](const Thread &other) {
      return other.done == thread.done && other.waiting.what == thread.waiting.what &&
             other.waiting.first == thread.waiting.first && other.waiting.second == thread.waiting.second;
    };
    while (last + 1 < threads.size() && same(threads[last + 1]))
      ++last;
    const std::string state = thread.done ? "done"
                                          : fmt::format(fmt::runtime(thread.waiting.what ? thread.waiting.what : "?"),
                                                        thread.waiting.first, thread.waiting.second);
    message += fmt::format("\n  threads {}-{}: {}", first, last, state);
    first = last + 1;
  }
  for (size_t i = 0; i < warps.size(); ++i)
    for (const Meeting &meeting : warps[i].meetings)
      message += fmt::format("\n  {} of warp {} waits for lanes {:#x}", meeting.instruction, i,
                             meeting.mask & ~meeting.arrived);
  setFailure(Fault::Deadlock, std::move(message));
}

Agent Block::newAgent(std::string name) {
  grid.otherAgents.push_back(std::move(name));
  return static_cast<Agent>(grid.numThreads() + grid.otherAgents.size() - 1);
}

std::string Block::nameOf(Agent agent) const {
  if (agent >= grid.numThreads())
    return grid.otherAgents[agent - grid.numThreads()];
  const uint32_t block = grid.blocks[agent / grid.threadsPerBlock], thread = agent % grid.threadsPerBlock;
  return block == blockIdx.x ? fmt::format("thread {}", thread) : fmt::format("thread {} of block {}", thread, block);
}

void Block::release(Thread &thread, Knowledge &to) {
  to.join(thread.known);
  thread.known.generic.raise(thread.agent, ++thread.time);
}

} // namespace moec::emulation
