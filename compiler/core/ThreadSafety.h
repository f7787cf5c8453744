// Names for clang's thread-safety analysis, and the lock types that carry them. Empty on other compilers.
#pragma once

#include <mutex>

#if defined(__clang__)
#define MOEC_THREAD(x) __attribute__((x))
#else
#define MOEC_THREAD(x)
#endif

#define MOEC_GUARDED_BY(mutex) MOEC_THREAD(guarded_by(mutex))
#define MOEC_REQUIRES(mutex) MOEC_THREAD(requires_capability(mutex))
#define MOEC_EXCLUDES(mutex) MOEC_THREAD(locks_excluded(mutex))

namespace moec {

/// std::mutex that clang's analysis can see. Use with `Lock`, and with std::condition_variable_any.
class MOEC_THREAD(capability("mutex")) Mutex {
public:
  void lock() MOEC_THREAD(acquire_capability()) { mutex.lock(); }
  void unlock() MOEC_THREAD(release_capability()) { mutex.unlock(); }
  bool try_lock() MOEC_THREAD(try_acquire_capability(true)) { return mutex.try_lock(); }

private:
  std::mutex mutex;
};

class MOEC_THREAD(scoped_lockable) Lock {
public:
  explicit Lock(Mutex &mutex) MOEC_THREAD(acquire_capability(mutex)) : mutex(mutex) { mutex.lock(); }
  ~Lock() MOEC_THREAD(release_capability()) { mutex.unlock(); }
  Lock(const Lock &) = delete;
  Lock &operator=(const Lock &) = delete;

private:
  Mutex &mutex;
};

} // namespace moec
