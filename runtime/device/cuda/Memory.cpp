#include "runtime/device/cuda/Memory.h"

#include <algorithm>
#include <cstring>

namespace moec {
namespace {

constexpr uint64_t alignment = 256;

uint64_t roundUp(uint64_t bytes) { return (std::max<uint64_t>(bytes, 1) + alignment - 1) / alignment * alignment; }

} // namespace

DeviceMemory::DeviceMemory(std::shared_ptr<const CudaDriver> driver, DeviceAllocator given)
    : driver(std::move(driver)),
      allocator(given.allocate && given.release ? std::make_shared<const DeviceAllocator>(std::move(given)) : nullptr) {
}

Result<DeviceBuffer> DeviceMemory::allocate(uint64_t bytes, const std::string &what) const {
  DeviceBuffer buffer;
  const uint64_t size = roundUp(bytes);
  CUdeviceptr pointer = 0;
  if (allocator) {
    pointer = allocator->allocate(size, nullptr);
    if (!pointer)
      return makeError(Code::ResourceExhausted, "{}: the session's allocator has no {} bytes", what, size);
  } else {
    MOEC_CUDA(*driver, cuMemAlloc, (&pointer, size), "{}, {} bytes", what, size);
  }
  buffer.driver = driver;
  buffer.allocator = allocator;
  buffer.pointer = pointer;
  buffer.size = size;
  return buffer;
}

void DeviceBuffer::swap(DeviceBuffer &other) noexcept {
  std::swap(driver, other.driver);
  std::swap(allocator, other.allocator);
  std::swap(pointer, other.pointer);
  std::swap(size, other.size);
}

DeviceBuffer::~DeviceBuffer() {
  if (!pointer)
    return;
  if (allocator) {
    allocator->release(pointer, size, nullptr);
    return;
  }
  ContextScope scope(*driver);
  (void)driver->api().cuMemFreeFn(pointer);
}

Result<PinnedBuffer> PinnedBuffer::allocate(std::shared_ptr<const CudaDriver> driver, uint64_t bytes,
                                            const std::string &what) {
  PinnedBuffer buffer;
  void *memory = nullptr;
  buffer.size = roundUp(bytes);
  MOEC_CUDA(*driver, cuMemHostAlloc, (&memory, buffer.size, CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP),
            "{}, {} bytes of pinned memory", what, buffer.size);
  buffer.memory = static_cast<std::byte *>(memory);
  buffer.driver = std::move(driver);
  std::memset(memory, 0, buffer.size);
  return buffer;
}

void PinnedBuffer::swap(PinnedBuffer &other) noexcept {
  std::swap(driver, other.driver);
  std::swap(memory, other.memory);
  std::swap(size, other.size);
}

PinnedBuffer::~PinnedBuffer() {
  if (!memory)
    return;
  ContextScope scope(*driver);
  (void)driver->api().cuMemFreeHostFn(memory);
}

Result<std::shared_ptr<PiecePool>> PiecePool::make(const DeviceMemory &memory, uint64_t bytes, uint32_t count) {
  std::shared_ptr<PiecePool> pool(new PiecePool(memory, roundUp(bytes), std::max(count, 1u)));
  Lock lock(pool->mutex);
  if (Status status = pool->grow(); !status.ok())
    return status;
  return pool;
}

Status PiecePool::grow() {
  Result<DeviceBuffer> block = memory.allocate(pieceBytes * count, "tables of generations");
  if (!block)
    return block.status();
  free.reserve((blocks.size() + 1) * count);
  for (uint32_t i = count; i-- > 0;)
    free.push_back(block->address() + i * pieceBytes);
  blocks.push_back(std::move(*block));
  return {};
}

Result<std::shared_ptr<const CUdeviceptr>> PiecePool::take() {
  Lock lock(mutex);
  if (free.empty())
    if (Status status = grow(); !status.ok())
      return status;
  const CUdeviceptr piece = free.back();
  free.pop_back();
  const auto giveBack = [pool = shared_from_this()](const CUdeviceptr *taken) {
    Lock again(pool->mutex);
    pool->free.push_back(*taken);
    delete taken;
  };
  return std::shared_ptr<const CUdeviceptr>(new CUdeviceptr(piece), giveBack);
}

} // namespace moec
