#include "runtime/device/cpu/ThreadPool.h"

#include <algorithm>
#include <chrono>

namespace moec {
namespace {

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

} // namespace

ThreadPool::ThreadPool(Options options)
    : spinMicroseconds(options.spinMicroseconds), numSections(std::max(1u, options.callers)),
      sections(std::make_unique<Section[]>(numSections)) {
  unsigned numWorkers = std::max(1u, options.threads) - 1;
  workers.reserve(numWorkers);
  for (unsigned i = 0; i < numWorkers; ++i)
    workers.emplace_back([this, i] { workerMain(i + 1); });
}

ThreadPool::~ThreadPool() {
  stopping.store(true, std::memory_order_seq_cst);
  opened.fetch_add(1, std::memory_order_seq_cst);
  {
    Lock lock(sleepMutex);
    wakeUp.notify_all();
  }
  for (std::thread &worker : workers)
    worker.join();
}

void ThreadPool::work(Section &section, unsigned thread) {
  for (uint32_t item = section.next.fetch_add(1, std::memory_order_relaxed); item < section.items;
       item = section.next.fetch_add(1, std::memory_order_relaxed))
    section.call(section.context, item, thread);
}

void ThreadPool::run(uint32_t items, Call call, void *context) {
  Section *section = nullptr;
  if (items > 1 && !workers.empty())
    for (unsigned i = 0; i < numSections && !section; ++i)
      if (!sections[i].taken.load(std::memory_order_relaxed) &&
          !sections[i].taken.exchange(true, std::memory_order_acquire))
        section = &sections[i];
  if (!section) {
    for (uint32_t item = 0; item < items; ++item)
      call(context, item, 0);
    return;
  }
  section->call = call;
  section->context = context;
  section->items = items;
  section->next.store(0, std::memory_order_relaxed);
  section->state.store(Section::open, std::memory_order_release);
  wake(items);
  work(*section, 0);

  // Nobody enters a closed section; those inside still run their last item.
  section->state.fetch_and(~Section::open, std::memory_order_acq_rel);
  for (unsigned spins = 0; section->state.load(std::memory_order_acquire) != 0; ++spins)
    spins < 1000 ? pause() : std::this_thread::yield();
  section->taken.store(false, std::memory_order_release);
}

void ThreadPool::wake(uint32_t items) {
  // Sleepers count themselves before they look at `opened` a last time, so one of the two sides sees the other.
  opened.fetch_add(1, std::memory_order_seq_cst);
  uint32_t asleep = sleepers.load(std::memory_order_seq_cst);
  if (asleep == 0)
    return;
  Lock lock(sleepMutex);
  if (items - 1 >= asleep)
    wakeUp.notify_all();
  else
    for (uint32_t i = 1; i < items; ++i)
      wakeUp.notify_one();
}

bool ThreadPool::helpSomeone(unsigned thread) {
  bool helped = false;
  for (unsigned i = 0; i < numSections; ++i) {
    Section &section = sections[i];
    uint32_t state = section.state.load(std::memory_order_relaxed);
    while (state & Section::open)
      if (section.state.compare_exchange_weak(state, state + 1, std::memory_order_acquire, std::memory_order_relaxed)) {
        // Entering is enough to know that call, context and items are those of an open section.
        if (section.next.load(std::memory_order_relaxed) < section.items) {
          work(section, thread);
          helped = true;
        }
        section.state.fetch_sub(1, std::memory_order_release);
        break;
      }
  }
  return helped;
}

void ThreadPool::workerMain(unsigned thread) {
  using Clock = std::chrono::steady_clock;
  while (!stopping.load(std::memory_order_relaxed)) {
    uint32_t seen = opened.load(std::memory_order_seq_cst);
    if (helpSomeone(thread))
      continue;
    auto deadline = Clock::now() + std::chrono::microseconds(spinMicroseconds);
    bool changed = false;
    while (!changed && Clock::now() < deadline)
      for (int i = 0; i < 32 && !changed; ++i) {
        pause();
        changed = opened.load(std::memory_order_relaxed) != seen;
      }
    if (!changed)
      sleepUntilNotified(seen);
  }
}

void ThreadPool::sleepUntilNotified(uint32_t seen) {
  Lock lock(sleepMutex);
  sleepers.fetch_add(1, std::memory_order_seq_cst);
  while (opened.load(std::memory_order_seq_cst) == seen && !stopping.load(std::memory_order_relaxed))
    wakeUp.wait(sleepMutex);
  sleepers.fetch_sub(1, std::memory_order_seq_cst);
}

} // namespace moec
