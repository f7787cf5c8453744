// What was done to memory, and by whom: finds reads of bytes that nobody wrote, and accesses that nothing orders,
// whatever order the schedule happened to run them in.
#pragma once

#include "tests/emulation/machine/Clock.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace moec::emulation {

/// An access: which agent, at which of its times, in which block. Time 0: before the launch, known to all.
struct Epoch {
  uint32_t time = 0;
  Agent agent = 0;
  uint16_t block : 15 = 0;
  uint16_t atomic : 1 = 0;
};

/// Who accesses, and what that one knows. Of a block that is not its own it knows nothing.
struct Actor {
  Epoch epoch;
  const Clock *writes; // of others' writes
  const Clock *reads;  // of others' reads: overwriting what was read through another proxy needs no fence
};

enum class Use : uint8_t { Read, Write, Atomic };

inline bool known(const Epoch &epoch, const Clock &clock, const Actor &actor) {
  return epoch.time == 0 || (epoch.block == actor.epoch.block && clock.of(epoch.agent) >= epoch.time);
}

struct Conflict {
  bool unwritten; // else: not ordered with `other`
  Epoch other;
  bool otherWrote;
  uint32_t offset; // bytes
};

class Shadow {
public:
  /// Bytes that are told apart. Two threads may share a 4-byte word, as two 2-byte elements, but no 2-byte one.
  static constexpr uint32_t granuleBytes = 2;

  /// Nobody has touched any of `bytes` bytes.
  void reset(uint32_t bytes);
  /// Written before the launch (a copy from the host, an earlier launch).
  void setWritten(uint32_t offset, uint32_t bytes);
  /// A new launch: what was written stays so and is known to all. `early`: the launch before let this one start before
  /// it had waited itself, so that what was not old then is not old now.
  void settle(bool early);

  bool isWritten(uint32_t offset, uint32_t bytes) const;
  /// All of it written, and changed neither by the launch just before this one (or the host since then) nor by any that
  /// may still run.
  bool isOld(uint32_t offset, uint32_t bytes) const;
  /// Nor read by any of these.
  bool isIdle(uint32_t offset, uint32_t bytes) const;
  /// Whether all of it is written, and the actor knows by whom.
  bool isSeen(uint32_t offset, uint32_t bytes, const Actor &actor) const;
  std::optional<Conflict> touch(uint32_t offset, uint32_t bytes, Use use, const Actor &actor);
  uint32_t bytes() const { return static_cast<uint32_t>(granules.size()) * granuleBytes; }

private:
  struct Granule {
    Epoch write;
    Epoch user;        // the last reader or atomic since then, if it is one
    uint32_t more = 0; // index into `users` where it is more than one
    bool written = false;
    bool recent = false; // by the host, since the launch began
    bool old = false;    // when the launch began
    bool idle = false;   // likewise
  };
  /// Whether it holds of every granule that the bytes touch.
  template <class Holds> bool all(uint32_t offset, uint32_t bytes, Holds holds) const;
  const Epoch *unknownUser(const Granule &granule, Use use, const Actor &actor) const;
  void addUser(Granule &granule, const Actor &actor);
  void dropUsers(Granule &granule);

  static constexpr uint32_t pageGranules = 512;
  std::vector<Granule> granules;
  std::vector<bool> dirty; // pages touched since the reset
  std::vector<std::vector<Epoch>> users{1};
  std::vector<uint32_t> freeUsers;
};

} // namespace moec::emulation
