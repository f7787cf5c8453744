// One GPU through the driver: its context, and calls whose errors say what they were about.
#pragma once

#include "compiler/core/Try.h"
#include "runtime/device/cuda/Api.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

/// Calls a driver function; its error names the function and what it was about (a format string and its arguments).
#define MOEC_CUDA(driver, function, arguments, ...)                                                                    \
  do {                                                                                                                 \
    if (const CUresult cudaResult = (driver).api().function##Fn arguments; cudaResult != CUDA_SUCCESS)                 \
      return (driver).error(cudaResult, #function, fmt::format(__VA_ARGS__));                                          \
  } while (false)

namespace moec {

/// Retains a device's primary context. Thread-safe. Everything made with it must go before it does; hold it by
/// shared_ptr.
class CudaDriver {
public:
  /// `name` is "cuda" (the first GPU) or "cuda:N". Errors: InvalidArgument (malformed), DeviceMissing (no such GPU).
  static Result<std::shared_ptr<CudaDriver>> open(const std::string &name, std::shared_ptr<const CudaApi> api);
  ~CudaDriver();
  CudaDriver(const CudaDriver &) = delete;
  CudaDriver &operator=(const CudaDriver &) = delete;

  const CudaApi &api() const { return *functions; }
  CUcontext context() const { return primary; }
  const std::string &deviceName() const { return model; }
  Result<int> attribute(CUdevice_attribute which) const;

  /// The error of a failed call: DeviceLost after errors that leave the context unusable, ResourceExhausted for memory.
  Status error(CUresult result, const char *call, const std::string &about) const;

private:
  explicit CudaDriver(std::shared_ptr<const CudaApi> api) : functions(std::move(api)) {}
  Status choose(const std::string &name);

  std::shared_ptr<const CudaApi> functions;
  CUdevice device = 0;
  CUcontext primary = nullptr;
  std::string model;
};

/// Makes the driver's context the calling thread's, and what was before afterwards. Costs one query where it is
/// already.
class ContextScope {
public:
  explicit ContextScope(const CudaDriver &driver);
  ~ContextScope();
  ContextScope(const ContextScope &) = delete;
  ContextScope &operator=(const ContextScope &) = delete;
  /// Error: the driver's, where the context cannot be made current.
  const Status &status() const { return entered; }

private:
  const CudaDriver &driver;
  bool pushed = false;
  Status entered;
};

/// For threads that build or watch: the context, and leave to make calls (asking events, allocating) that would
/// otherwise break whatever graph another thread is capturing.
class BackgroundScope {
public:
  explicit BackgroundScope(const CudaDriver &driver);
  ~BackgroundScope();
  BackgroundScope(const BackgroundScope &) = delete;
  BackgroundScope &operator=(const BackgroundScope &) = delete;
  const Status &status() const { return context.status(); }

private:
  const CudaDriver &driver;
  ContextScope context;
  CUstreamCaptureMode before = CU_STREAM_CAPTURE_MODE_RELAXED;
};

/// A driver object that its owner destroys. Movable.
template <typename Handle, auto Destroy> class CudaHandle {
public:
  CudaHandle() = default;
  CudaHandle(std::shared_ptr<const CudaDriver> driver, Handle handle) : driver(std::move(driver)), handle(handle) {}
  CudaHandle(CudaHandle &&other) noexcept : driver(std::move(other.driver)), handle(std::exchange(other.handle, {})) {}
  CudaHandle &operator=(CudaHandle &&other) noexcept {
    std::swap(driver, other.driver);
    std::swap(handle, other.handle);
    return *this;
  }
  ~CudaHandle() {
    if (!handle)
      return;
    ContextScope scope(*driver);
    (void)(driver->api().*Destroy)(handle);
  }
  Handle get() const { return handle; }
  explicit operator bool() const { return handle != Handle{}; }

private:
  std::shared_ptr<const CudaDriver> driver;
  Handle handle{};
};

using CudaEvent = CudaHandle<CUevent, &CudaApi::cuEventDestroyFn>;
using CudaStream = CudaHandle<CUstream, &CudaApi::cuStreamDestroyFn>;
using CudaLibrary = CudaHandle<CUlibrary, &CudaApi::cuLibraryUnloadFn>;

/// An event; `timed` ones can be subtracted from each other.
Result<CudaEvent> makeEvent(const std::shared_ptr<const CudaDriver> &driver, bool timed);
/// A stream that does not wait for the default one.
Result<CudaStream> makeStream(const std::shared_ptr<const CudaDriver> &driver);
/// Whether all that the event recorded is done. Error: the device's, which any call may report.
Result<bool> isDone(const CudaDriver &driver, CUevent event);
/// Asks, and sleeps in between, until the event is done: for threads that build, where a driver's wait could block
/// others.
Status waitFor(const CudaDriver &driver, CUevent event);

} // namespace moec
