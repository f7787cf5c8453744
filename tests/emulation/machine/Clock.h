// Who knows what: vector clocks. Whatever touches memory is an agent; each counts its own time, and a clock says up to
// which time of every agent something is known to have happened.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace moec::emulation {

using Agent = uint16_t;

class Clock {
public:
  uint32_t of(Agent agent) const { return agent < times.size() ? times[agent] : 0; }
  void raise(Agent agent, uint32_t time) {
    if (agent >= times.size())
      times.resize(agent + 1u, 0);
    times[agent] = std::max(times[agent], time);
  }
  void join(const Clock &other) {
    if (other.times.size() > times.size())
      times.resize(other.times.size(), 0);
    for (size_t i = 0; i < other.times.size(); ++i)
      times[i] = std::max(times[i], other.times[i]);
  }
  void clear() { times.clear(); }

private:
  std::vector<uint32_t> times;
};

/// What is known through each proxy (PTX ISA, "Memory Consistency Model", "Proxies"). `async` is the part that a proxy
/// fence somewhere on the way has made visible to TMA and wgmma.
struct Knowledge {
  Clock generic, async;

  void join(const Knowledge &other) {
    generic.join(other.generic);
    async.join(other.async);
  }
  void clear() {
    generic.clear();
    async.clear();
  }
};

} // namespace moec::emulation
