// Memory on a GPU and pinned memory beside it.
#pragma once

#include "compiler/core/ThreadSafety.h"
#include "runtime/device/cuda/Allocator.h"
#include "runtime/device/cuda/Driver.h"

#include <cstddef>
#include <memory>
#include <vector>

namespace moec {

/// Device memory, from the caller's allocator or the driver. Movable; freed when it goes.
class DeviceBuffer {
public:
  DeviceBuffer() = default;
  DeviceBuffer(DeviceBuffer &&other) noexcept { swap(other); }
  DeviceBuffer &operator=(DeviceBuffer &&other) noexcept {
    swap(other);
    return *this;
  }
  ~DeviceBuffer();

  CUdeviceptr address() const { return pointer; }
  uint64_t bytes() const { return size; }
  template <typename T> T *as() const { return reinterpret_cast<T *>(pointer); }

private:
  friend class DeviceMemory;
  void swap(DeviceBuffer &other) noexcept;

  std::shared_ptr<const CudaDriver> driver;
  std::shared_ptr<const DeviceAllocator> allocator; // null: the driver's
  CUdeviceptr pointer = 0;
  uint64_t size = 0;
};

/// Where a session's device memory comes from.
class DeviceMemory {
public:
  DeviceMemory(std::shared_ptr<const CudaDriver> driver, DeviceAllocator allocator);

  /// At least 256-byte aligned; never empty. Error: ResourceExhausted, with the bytes and `what` they were for.
  Result<DeviceBuffer> allocate(uint64_t bytes, const std::string &what) const;

private:
  std::shared_ptr<const CudaDriver> driver;
  std::shared_ptr<const DeviceAllocator> allocator; // null: the driver's
};

/// Host memory that the device reads and writes, at the same address.
class PinnedBuffer {
public:
  PinnedBuffer() = default;
  PinnedBuffer(PinnedBuffer &&other) noexcept { swap(other); }
  PinnedBuffer &operator=(PinnedBuffer &&other) noexcept {
    swap(other);
    return *this;
  }
  ~PinnedBuffer();
  /// Zeroed. Error: ResourceExhausted, with the bytes and `what` they were for.
  static Result<PinnedBuffer> allocate(std::shared_ptr<const CudaDriver> driver, uint64_t bytes,
                                       const std::string &what);

  std::byte *data() const { return memory; }
  uint64_t bytes() const { return size; }
  template <typename T> T *as() const { return reinterpret_cast<T *>(memory); }

private:
  void swap(PinnedBuffer &other) noexcept;

  std::shared_ptr<const CudaDriver> driver;
  std::byte *memory = nullptr;
  uint64_t size = 0;
};

/// Equal pieces of device memory for what comes and goes with generations, so that neither calls the driver: freeing
/// memory there may wait for the device. Thread-safe; outlived by none of its pieces.
class PiecePool : public std::enable_shared_from_this<PiecePool> {
public:
  /// Pieces of at least `bytes`, `count` of them at first; more are made when those run out.
  static Result<std::shared_ptr<PiecePool>> make(const DeviceMemory &memory, uint64_t bytes, uint32_t count);

  /// A piece; it returns to the pool with the last copy of the pointer.
  Result<std::shared_ptr<const CUdeviceptr>> take() MOEC_EXCLUDES(mutex);

private:
  PiecePool(const DeviceMemory &memory, uint64_t pieceBytes, uint32_t count)
      : memory(memory), pieceBytes(pieceBytes), count(count) {}
  Status grow() MOEC_REQUIRES(mutex);

  const DeviceMemory memory;
  const uint64_t pieceBytes;
  const uint32_t count;
  Mutex mutex;
  std::vector<DeviceBuffer> blocks MOEC_GUARDED_BY(mutex);
  std::vector<CUdeviceptr> free MOEC_GUARDED_BY(mutex);
};

} // namespace moec
