// What blocks that run at the same time share.
#pragma once

#include "tests/emulation/machine/Clock.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace moec::emulation {

class Block;
struct Thread;

struct Grid {
  uint32_t threadsPerBlock;     ///< that a block has at most
  std::vector<uint32_t> blocks; ///< index of each; its threads are agents from threadsPerBlock * place on
  std::vector<std::string> otherAgents = {};
  std::map<const void *, Knowledge> released = {}; ///< what atomics with release order left at an address
  /// Threads that loaded the same value twice and wait until device memory changes: others need not watch them spin.
  struct Watcher {
    Block *block;
    Thread *thread;
  };
  std::vector<Watcher> watchers = {};

  uint32_t sharedAddress = 0; ///< of dynamic shared memory, once drawn; what a kernel has is at one place in all blocks
  std::vector<Block *> running = {}; ///< by place
  /// Threads that wait at a cluster's barrier, and what the fences of those who came (fence.mbarrier_init) hand on.
  struct ClusterBarrier {
    uint32_t arrived = 0;
    std::vector<Watcher> waiting = {};
    Knowledge known = {};
  };
  /// By launch and cluster.
  std::map<std::pair<const void *, uint32_t>, ClusterBarrier> clusterBarriers = {};

  // Of two launches, of which the second may begin before the first has ended:
  uint32_t firstBlocks = UINT32_MAX; ///< places from this on are the second's
  bool startedEarly = false;         ///< the first let it start before it had waited itself
  Knowledge firstEnded = {};         ///< of the first's threads that have ended
  bool secondWaited = false;         ///< a thread of the second has waited for the first

  bool isAlone() const { return blocks.size() == 1; }
  uint32_t numThreads() const { return threadsPerBlock * static_cast<uint32_t>(blocks.size()); }
};

} // namespace moec::emulation
