#include "tests/emulation/machine/DeviceMemory.h"

#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>
#include <utility>

namespace moec::emulation {

DeviceMemory::DeviceMemory() {
  void *mapped = mmap(nullptr, arenaBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) {
    std::fputs("emulation: no address space for device memory\n", stderr);
    std::abort();
  }
  arena = static_cast<uint8_t *>(mapped);
}

DeviceMemory::~DeviceMemory() { munmap(arena, arenaBytes); }

void *DeviceMemory::allocate(size_t bytes, Content content) {
  constexpr size_t apart = 4096; // an index that is off by a row or two stays out of other buffers
  uint8_t *begin = arena + used;
  used += (bytes + apart + 255) / 256 * 256;
  if (used > arenaBytes) {
    std::fputs("emulation: out of device memory\n", stderr);
    std::abort();
  }
  Buffer buffer{begin, bytes, content, {}};
  if (content == Content::Output) {
    std::memset(begin, 0xff, bytes);
    buffer.shadow.reset(static_cast<uint32_t>(bytes));
  }
  buffers.push_back(std::move(buffer));
  return begin;
}

DeviceMemory::Buffer *DeviceMemory::find(const void *address, size_t bytes) {
  const uint8_t *byte = static_cast<const uint8_t *>(address);
  auto next = std::upper_bound(buffers.begin(), buffers.end(), byte,
                               [](const uint8_t *a, const Buffer &buffer) { return a < buffer.begin; });
  if (next == buffers.begin())
    return nullptr;
  Buffer &buffer = *--next;
  return byte + bytes <= buffer.begin + buffer.bytes ? &buffer : nullptr;
}

void DeviceMemory::settle() {
  for (Buffer &buffer : buffers)
    if (buffer.content == Content::Output)
      buffer.shadow.settle(early);
  inputsSettled = inputsSettled || (launched && !early);
  launched = true;
  previousEarly = std::exchange(early, false);
  releasedBefore = std::exchange(released, {});
}

} // namespace moec::emulation
