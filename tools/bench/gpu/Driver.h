// The CUDA driver, opened at run time, as far as the benchmark needs it. One device, one context, one stream.
#pragma once

#include "compiler/core/CudaTensors.h"
#include "compiler/core/Try.h"

#include <cstdint>
#include <cuda.h>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace moec::bench {

struct DriverApi;
class Device;

/// Device memory; freed with the object.
class Buffer {
public:
  Buffer() = default;
  Buffer(Device *device, CUdeviceptr address, size_t bytes) : device(device), pointer(address), size(bytes) {}
  Buffer(Buffer &&other) noexcept { *this = std::move(other); }
  Buffer &operator=(Buffer &&other) noexcept {
    std::swap(device, other.device);
    std::swap(pointer, other.pointer);
    std::swap(size, other.size);
    return *this;
  }
  ~Buffer();

  CUdeviceptr address() const { return pointer; }
  size_t bytes() const { return size; }
  template <class T> T *as(size_t offsetBytes = 0) const { return reinterpret_cast<T *>(pointer + offsetBytes); }

private:
  Device *device = nullptr;
  CUdeviceptr pointer = 0;
  size_t size = 0;
};

/// Pinned host memory, which the device reaches under the same address; freed with the object.
class HostBuffer {
public:
  HostBuffer() = default;
  HostBuffer(Device *device, void *pointer) : device(device), pointer(pointer) {}
  HostBuffer(HostBuffer &&other) noexcept { *this = std::move(other); }
  HostBuffer &operator=(HostBuffer &&other) noexcept {
    std::swap(device, other.device);
    std::swap(pointer, other.pointer);
    return *this;
  }
  ~HostBuffer();
  template <class T> T *as() const { return static_cast<T *>(pointer); }

private:
  Device *device = nullptr;
  void *pointer = nullptr;
};

/// How a kernel is launched.
struct LaunchShape {
  uint32_t blocks;
  uint32_t threads;
  bool overlaps = false; // starts while the kernel before it runs, and waits for it itself (griddepcontrol)
};

/// A loaded kernel and the shared memory that it is launched with. Lives as long as the device.
struct Kernel {
  CUfunction function = nullptr;
  uint32_t sharedBytes = 0;
};

/// A recorded sequence of launches.
class Graph {
public:
  Graph(Device *device, CUgraphExec exec) : device(device), exec(exec) {}
  Graph(Graph &&other) noexcept : device(other.device), exec(std::exchange(other.exec, nullptr)) {}
  ~Graph();
  Status launch();

private:
  Device *device;
  CUgraphExec exec;
};

class Device {
public:
  /// Errors: DeviceMissing (no driver, no GPU), Failure (the driver's error, named).
  static Result<std::unique_ptr<Device>> open(int ordinal);
  ~Device();

  const std::string &name() const { return deviceName; }
  int driverVersion() const { return version; }
  int computeCapability() const { return capability; } // e.g. 90
  bool hasClusters() const { return capability >= 90; }
  uint32_t multiprocessors() const { return numMultiprocessors; }
  uint64_t cacheBytes() const { return l2Bytes; }

  Result<Buffer> allocate(size_t bytes);
  Result<HostBuffer> allocateHost(size_t bytes); // zeros
  Status upload(const Buffer &to, const void *from, size_t bytes, size_t offset = 0);
  Status download(void *to, const Buffer &from, size_t bytes, size_t offset = 0);
  Status copy(CUdeviceptr to, CUdeviceptr from, size_t bytes); // queued
  Status fill(const Buffer &buffer, uint8_t value);            // queued
  template <class T> Result<Buffer> uploaded(const std::vector<T> &values) {
    Result<Buffer> buffer = allocate(std::max<size_t>(values.size() * sizeof(T), 16));
    if (!buffer)
      return buffer;
    MOEC_TRY(upload(*buffer, values.data(), values.size() * sizeof(T)));
    return buffer;
  }
  template <class T> Result<std::vector<T>> downloaded(const Buffer &buffer, size_t count) {
    std::vector<T> values(count);
    MOEC_TRY(download(values.data(), buffer, count * sizeof(T)));
    return values;
  }

  Result<Kernel> load(const std::vector<uint8_t> &cubin, const std::string &loweredName, uint32_t sharedBytes);
  /// Lets a kernel be launched with so much dynamic shared memory.
  Status allowShared(const Kernel &kernel, uint32_t bytes);
  /// Asks for as much shared memory as a multiprocessor has, for the next launch's blocks besides the kernel's own.
  Status preferShared(const Kernel &kernel);
  /// Queues a launch; `parameters` point to the kernel's arguments.
  Status launch(const Kernel &kernel, const LaunchShape &shape, void **parameters);
  Status synchronise();

  /// The tensor as kernels take it.
  Result<CUtensorMap> tensorMap(const CudaTensor &tensor);

  /// Records what `queue` queues, as a graph.
  template <class Queue> Result<Graph> record(Queue queue) {
    MOEC_TRY(beginCapture());
    const Status queued = queue();
    Result<Graph> graph = endCapture();
    MOEC_TRY(queued);
    return graph;
  }

  /// Device microseconds of each of `repeats` runs of `queue`.
  template <class Queue> Result<std::vector<double>> time(uint32_t repeats, Queue queue) {
    std::vector<double> times;
    for (uint32_t i = 0; i < repeats; ++i) {
      MOEC_TRY(recordEvent(0));
      MOEC_TRY(queue());
      MOEC_TRY(recordEvent(1));
      Result<double> elapsed = elapsedMicroseconds();
      if (!elapsed)
        return elapsed.status();
      times.push_back(*elapsed);
    }
    return times;
  }

private:
  friend class Buffer;
  friend class HostBuffer;
  friend class Graph;
  Device() = default;
  Status initialise(int ordinal);
  Status check(CUresult result, const char *what) const;
  Status beginCapture();
  Result<Graph> endCapture();
  Status recordEvent(int which);
  Result<double> elapsedMicroseconds();

  std::unique_ptr<DriverApi> api;
  CUdevice device = 0;
  CUcontext context = nullptr;
  CUstream stream = nullptr;
  CUevent events[2] = {};
  std::vector<CUlibrary> libraries;
  std::string deviceName;
  int version = 0, capability = 0;
  uint32_t numMultiprocessors = 0;
  uint64_t l2Bytes = 0;
};

} // namespace moec::bench
