// What blocks that run at the same time share.
#pragma once

#include "tests/emulation/machine/Clock.h"

#include <map>
#include <string>
#include <vector>

namespace moec::emulation {

class Block;
struct Thread;

struct Grid {
  uint32_t threadsPerBlock;
  std::vector<uint32_t> blocks; ///< index of each; its threads are agents from threadsPerBlock * place on
  std::vector<std::string> otherAgents = {};
  std::map<const void *, Knowledge> released = {}; ///< what atomics with release order left at an address
  /// Threads that loaded the same value twice and wait until device memory changes: others need not watch them spin.
  struct Watcher {
    Block *block;
    Thread *thread;
  };
  std::vector<Watcher> watchers = {};

  uint32_t numThreads() const { return threadsPerBlock * static_cast<uint32_t>(blocks.size()); }
};

} // namespace moec::emulation
