// Device memory from the program that embeds a session. Needs no CUDA header.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace moec {

/// Both empty: the driver's memory is used. Called while a session opens and closes, and from threads that build
/// generations, never on the step path; from one thread at a time.
struct DeviceAllocator {
  /// A device address of at least 256-byte alignment, usable on `stream` (a CUstream; null: at once); 0: no memory.
  std::function<uint64_t(uint64_t bytes, void *stream)> allocate;
  std::function<void(uint64_t address, uint64_t bytes, void *stream)> release;
};

} // namespace moec
