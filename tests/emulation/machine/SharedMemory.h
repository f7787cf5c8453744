// A block's shared memory. `__shared__` variables are thread_local to the host's compiler: all of them lie in the
// thread's block of thread-local storage, and dynamic shared memory is an array there too (DynamicShared.h). PTX
// addresses are made up: dynamic shared memory starts somewhere in the second KB, as aligned as was promised and no
// more.
#pragma once

#include "tests/emulation/machine/Shadow.h"

namespace moec::emulation {

class SharedMemory {
public:
  /// Makes everything unwritten and fills it with a pattern.
  void begin(uint8_t *dynamic, uint32_t dynamicBytes, uint32_t dynamicAddress);

  /// Keep this block's contents while another runs, and bring them back.
  void save();
  void restore();
  /// Where what belongs at a host address is kept meanwhile.
  uint8_t *savedAt(const uint8_t *host);

  struct Place {
    uint8_t *host = nullptr; // null: not shared memory
    Shadow *shadow = nullptr;
    uint32_t offset = 0; // into the shadow
  };
  /// Where `bytes` bytes at a PTX address are.
  Place at(uint32_t address, uint32_t bytes);
  /// Where `bytes` bytes at a host address are. `bytes` may be 0, to ask whether it is shared memory.
  Place at(const void *pointer, uint32_t bytes);
  bool isShared(const void *pointer) const {
    const uint8_t *byte = static_cast<const uint8_t *>(pointer);
    return byte >= statics && byte < statics + staticBytes;
  }
  /// The PTX address; 0 if the pointer is none to shared memory.
  uint32_t address(const void *pointer) const;

private:
  static constexpr uint32_t staticAddress = 1u << 18; // past what a matrix descriptor can name
  uint8_t *dynamic = nullptr;
  uint32_t dynamicBytes = 0, dynamicAddress = 0;
  uint8_t *statics = nullptr;
  uint32_t staticBytes = 0;
  Shadow dynamicShadow, staticShadow;
  std::vector<uint8_t> saved;

  /// Calls `part(begin, bytes)` for the parts of the storage that this block may use.
  template <class Part> void forParts(Part part);
};

} // namespace moec::emulation
