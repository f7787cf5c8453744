#include "tests/emulation/machine/SharedMemory.h"

#include "tests/emulation/machine/DynamicShared.h"

#include <algorithm>
#include <cstring>
#include <elf.h>
#include <link.h>

namespace moec {

alignas(1024) thread_local uint8_t stages[kDynamicSharedBytes];
alignas(1024) thread_local uint8_t unaligned[kDynamicSharedBytes];

namespace emulation {
namespace {

struct ThreadStorage {
  uint8_t *begin = nullptr;
  uint32_t bytes = 0;
};

/// The executable's thread-local storage of this thread: the first object that the loader lists.
ThreadStorage threadStorage() {
  ThreadStorage storage;
  dl_iterate_phdr(
      [](dl_phdr_info *info, size_t, void *data) {
        for (size_t i = 0; i < info->dlpi_phnum; ++i)
          if (info->dlpi_phdr[i].p_type == PT_TLS)
            *static_cast<ThreadStorage *>(data) = {static_cast<uint8_t *>(info->dlpi_tls_data),
                                                   static_cast<uint32_t>(info->dlpi_phdr[i].p_memsz)};
        return 1;
      },
      &storage);
  return storage;
}

} // namespace

void SharedMemory::begin(uint8_t *dynamicMemory, uint32_t bytes, uint32_t address) {
  if (!statics) {
    const ThreadStorage storage = threadStorage();
    statics = storage.begin;
    staticBytes = storage.bytes;
  }
  dynamic = dynamicMemory;
  dynamicBytes = bytes;
  dynamicAddress = address;
  dynamicShadow.reset(bytes);
  staticShadow.reset(staticBytes);
  // NaN as bf16, f16 and f32, and no valid index.
  if (dynamic)
    std::memset(dynamic, 0xff, bytes);
}

template <class Part> void SharedMemory::forParts(Part part) {
  uint8_t *arrays[] = {stages, unaligned}, *next = statics;
  std::sort(std::begin(arrays), std::end(arrays));
  for (uint8_t *array : arrays) {
    part(next, static_cast<size_t>(array - next));
    next = array + kDynamicSharedBytes;
  }
  part(next, static_cast<size_t>(statics + staticBytes - next));
  if (dynamic)
    part(dynamic, dynamicBytes);
}

void SharedMemory::save() {
  saved.clear();
  forParts([&](uint8_t *begin, size_t bytes) { saved.insert(saved.end(), begin, begin + bytes); });
}

void SharedMemory::restore() {
  const uint8_t *from = saved.data();
  forParts([&](uint8_t *begin, size_t bytes) {
    std::memcpy(begin, from, bytes);
    from += bytes;
  });
}

uint8_t *SharedMemory::savedAt(const uint8_t *host) {
  size_t offset = 0;
  uint8_t *found = nullptr;
  forParts([&](const uint8_t *begin, size_t bytes) {
    if (host >= begin && host < begin + bytes)
      found = saved.data() + offset + (host - begin);
    offset += bytes;
  });
  return found;
}

SharedMemory::Place SharedMemory::at(uint32_t address, uint32_t bytes) {
  if (dynamic && address >= dynamicAddress && uint64_t{address} + bytes <= uint64_t{dynamicAddress} + dynamicBytes)
    return {dynamic + (address - dynamicAddress), &dynamicShadow, address - dynamicAddress};
  if (address >= staticAddress && uint64_t{address} + bytes <= uint64_t{staticAddress} + staticBytes)
    return at(statics + (address - staticAddress), bytes);
  return {};
}

SharedMemory::Place SharedMemory::at(const void *pointer, uint32_t bytes) {
  if (!isShared(pointer))
    return {};
  uint8_t *byte = static_cast<uint8_t *>(const_cast<void *>(pointer));
  for (uint8_t *array : {stages, unaligned}) {
    if (byte < array || byte >= array + kDynamicSharedBytes)
      continue;
    const uint32_t offset = static_cast<uint32_t>(byte - array);
    return array == dynamic && offset + bytes <= dynamicBytes ? Place{byte, &dynamicShadow, offset} : Place{};
  }
  const uint32_t offset = static_cast<uint32_t>(byte - statics);
  return offset + bytes <= staticBytes ? Place{byte, &staticShadow, offset} : Place{};
}

uint32_t SharedMemory::address(const void *pointer) const {
  const uint8_t *byte = static_cast<const uint8_t *>(pointer);
  if (dynamic && byte >= dynamic && byte < dynamic + dynamicBytes)
    return dynamicAddress + static_cast<uint32_t>(byte - dynamic);
  return isShared(pointer) ? staticAddress + static_cast<uint32_t>(byte - statics) : 0;
}

} // namespace emulation
} // namespace moec
