// Fork-join over the threads of one session: short parallel sections, thousands a second.
#pragma once

#include "compiler/core/ThreadSafety.h"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace moec {

/// A fixed set of worker threads that help callers through their items.
///
/// A caller takes part in its own section, so a section ends even if no worker ever comes, and several callers may
/// have sections open at once. Workers spin for a while after the last section and then sleep, so an idle session
/// costs nothing. Nothing is allocated after construction.
class ThreadPool {
public:
  struct Options {
    unsigned threads = 1;           // that one section can use, the caller included
    unsigned callers = 1;           // sections that can be open at once; one more runs on its caller alone
    unsigned spinMicroseconds = 50; // of a worker without work, before it sleeps: some gaps between two launches
  };

  explicit ThreadPool(Options options);
  ~ThreadPool();
  ThreadPool(const ThreadPool &) = delete;
  ThreadPool &operator=(const ThreadPool &) = delete;

  unsigned threads() const { return static_cast<unsigned>(workers.size()) + 1; }

  /// Calls body(item, thread) once for each item in [0, items), in any order and at once; returns when all are done,
  /// and what they wrote is visible. `thread` is 0 on the caller and 1..threads()-1 on the workers, whose
  /// number names one thread for the pool's lifetime: use it to pick scratch memory.
  template <typename Body> void parallelFor(uint32_t items, Body &&body) {
    using Plain = std::remove_reference_t<Body>;
    auto call = [](void *context, uint32_t item, unsigned thread) { (*static_cast<Plain *>(context))(item, thread); };
    run(items, call, const_cast<void *>(static_cast<const void *>(&body)));
  }

private:
  using Call = void (*)(void *context, uint32_t item, unsigned thread);

  /// One open section. Lives in the pool, not on a caller's stack, so that a late worker may always look at it.
  struct alignas(64) Section {
    static constexpr uint32_t open = 1u << 31;
    std::atomic<bool> taken{false};
    std::atomic<uint32_t> state{0}; // `open` plus the number of workers inside
    std::atomic<uint32_t> next{0};  // first item that nobody took
    // Written by the caller before `open` is set, read only by workers that entered while it was.
    Call call = nullptr;
    void *context = nullptr;
    uint32_t items = 0;
  };

  void run(uint32_t items, Call call, void *context);
  static void work(Section &section, unsigned thread);
  bool helpSomeone(unsigned thread);
  void workerMain(unsigned thread);
  void sleepUntilNotified(uint32_t seen) MOEC_EXCLUDES(sleepMutex);
  void wake(uint32_t items) MOEC_EXCLUDES(sleepMutex);

  const unsigned spinMicroseconds;
  const unsigned numSections;
  std::unique_ptr<Section[]> sections;
  std::atomic<uint32_t> opened{0}; // counts sections ever opened; a change is what workers watch
  std::atomic<uint32_t> sleepers{0};
  std::atomic<bool> stopping{false};
  Mutex sleepMutex; // held around going to sleep and waking, never while work is done
  std::condition_variable_any wakeUp;
  std::vector<std::thread> workers;
};

} // namespace moec
