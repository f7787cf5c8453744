// Marks for profilers (NVTX): what Nsight Systems shows above the kernels. Where no profiler has started the process,
// each costs a test of a pointer.
#pragma once

#include <cstdint>
#include <utility>

namespace moec {

/// Finds out whether a profiler listens. NVTX opens the profiler's library for this, so it happens when a session opens
/// and not in a step.
void startProfiling();

/// A range of the calling thread, to the end of the scope. `name` is a literal; `number` is shown beside it. Allocates
/// nothing.
class ProfileRange {
public:
  explicit ProfileRange(const char *name, uint64_t number = 0);
  ~ProfileRange();
  ProfileRange(const ProfileRange &) = delete;
  ProfileRange &operator=(const ProfileRange &) = delete;

private:
  bool open;
};

/// A range that may end on another thread than it began on, or inside others. Movable.
class ProfileSpan {
public:
  explicit ProfileSpan(const char *name, uint64_t number = 0);
  ProfileSpan(ProfileSpan &&other) noexcept : id(std::exchange(other.id, 0)) {}
  ProfileSpan &operator=(ProfileSpan &&) = delete;
  ~ProfileSpan();

private:
  uint64_t id; // 0: nobody listens
};

} // namespace moec
