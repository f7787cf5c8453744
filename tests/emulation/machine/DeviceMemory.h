// Device memory: buffers far enough apart that a kernel which runs over the end of one is caught.
#pragma once

#include "tests/emulation/machine/Shadow.h"

#include <cstdint>
#include <cstring>
#include <memory>
#include <set>
#include <vector>

namespace moec::emulation {

enum class Content : uint8_t {
  Constant, ///< written long before: weights, tensor maps. May be read before griddepcontrol.wait
  Input,    ///< made by the launch before, read alone by this one
  Output,   ///< written by kernels; accesses are checked for order
};

class DeviceMemory {
public:
  DeviceMemory();
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory &) = delete;
  DeviceMemory &operator=(const DeviceMemory &) = delete;

  template <class T> const T *constant(const std::vector<T> &values) { return copy(values, Content::Constant); }
  template <class T> const T *input(const std::vector<T> &values) { return copy(values, Content::Input); }
  /// `count` elements that nobody has written; they hold a pattern that no kernel makes (NaN as bf16, f16 and f32).
  template <class T> T *output(size_t count) { return static_cast<T *>(allocate(count * sizeof(T), Content::Output)); }
  /// Elements that kernels both read and write.
  template <class T> T *output(const std::vector<T> &values) {
    T *to = output<T>(values.size());
    std::memcpy(static_cast<void *>(to), values.data(), values.size() * sizeof(T));
    buffers.back().shadow.setWritten(0, static_cast<uint32_t>(values.size() * sizeof(T)));
    return to;
  }
  /// As one of the first two.
  template <class T> const T *copy(const std::vector<T> &values, Content content) {
    void *to = allocate(values.size() * sizeof(T), content);
    if (!values.empty())
      std::memcpy(to, values.data(), values.size() * sizeof(T));
    return static_cast<const T *>(to);
  }
  template <class T> static std::vector<T> values(const T *from, size_t count) { return {from, from + count}; }

  struct Buffer {
    uint8_t *begin;
    size_t bytes;
    Content content;
    Shadow shadow; // of outputs
  };
  bool contains(const void *address) const {
    const uint8_t *byte = static_cast<const uint8_t *>(address);
    return byte >= arena && byte < arena + arenaBytes;
  }
  /// The buffer that all of the bytes are in, or null.
  Buffer *find(const void *address, size_t bytes);
  /// Called when a launch starts.
  void settle();
  /// Whether inputs may be read before griddepcontrol.wait: a launch has waited for what wrote them before it let the
  /// next one start.
  bool inputsAreSettled() const { return inputsSettled; }
  /// The launch lets the next one start before it has waited for those before it.
  void startsNextEarly() { early = true; }
  /// Whether the launch before did.
  bool previousStartedEarly() const { return previousEarly; }
  /// An atomic with release order there; whether the launch before had one.
  void noteReleased(const void *address) { released.insert(address); }
  bool wasReleased(const void *address) const { return releasedBefore.contains(address); }

private:
  void *allocate(size_t bytes, Content content);

  static constexpr size_t arenaBytes = size_t{1} << 28; // of address space; memory is used as it is touched
  uint8_t *arena;
  size_t used = 0;
  bool early = false; // what the last launch did
  bool previousEarly = false;
  std::set<const void *> released, releasedBefore;
  bool launched = false, inputsSettled = false;
  std::vector<Buffer> buffers; // by address
};

} // namespace moec::emulation
