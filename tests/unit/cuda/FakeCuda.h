// A CUDA driver in plain C++: counts every call and handle, can fail any call, and does at launch what dispatch and combine
// would leave behind. Device memory is host memory.
#pragma once

#include "runtime/device/cuda/Api.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace moec::test {

struct FakeKernel {
  std::string symbol;
};
struct FakeLibrary {
  std::vector<std::unique_ptr<FakeKernel>> kernels;
};
struct FakeUserObject {
  void *pointer = nullptr;
  CUhostFn destroy = nullptr;
  int references = 0;
};
struct FakeGraph {
  std::vector<std::function<void()>> work;
  std::vector<FakeUserObject *> kept;
};
struct FakeStream {
  bool held = false; // what is recorded on it is not done
  std::set<const FakeStream *> behind; // joined: held while one of these is
  std::unique_ptr<FakeGraph> capturing;
};
struct FakeEvent {
  const FakeStream *recordedOn = nullptr; // done once this stream is not held
};

/// One at a time: driver functions take no context of ours.
class FakeCuda {
public:
  FakeCuda();
  ~FakeCuda();

  std::shared_ptr<const CudaApi> api() const { return table; }

  /// The calls so far, by name.
  std::vector<std::string> calls() const;
  uint64_t count(const std::string &name) const;
  void forget();
  /// Fails the `number`th call from now (1: the next), once; 0: none. Calls that free are not counted: they cannot report.
  void failCall(uint64_t number, CUresult with = CUDA_ERROR_UNKNOWN);
  bool failed() const { return hasFailed; }
  std::string failedName() const;
  /// Handles and memory that nobody has freed.
  size_t outstanding() const;
  /// Streams of the caller.
  CUstream stream();
  void hold(CUstream stream, bool on);

  std::string model = "NVIDIA H100 80GB HBM3";
  int major = 9, minor = 0, multiprocessors = 132, numDevices = 1;

  // The functions' side.
  CUresult called(const char *name, bool frees = false);
  template <typename T> void made(T *handle) {
    const std::lock_guard lock(mutex);
    handles.insert(handle);
  }
  bool freed(const void *handle) {
    const std::lock_guard lock(mutex);
    return handles.erase(handle) == 1;
  }
  static FakeCuda *current;
  bool isHeld(const FakeEvent &event);
  void record(FakeEvent &event, const FakeStream *stream);
  void join(FakeStream &stream, const FakeEvent &event);
  CUcontext context() { return reinterpret_cast<CUcontext>(this); }

private:
  std::shared_ptr<CudaApi> table;
  mutable std::mutex mutex;
  std::vector<const char *> log;
  std::set<const void *> handles;
  uint64_t failAt = 0, counted = 0;
  CUresult failWith = CUDA_ERROR_UNKNOWN;
  std::atomic<bool> hasFailed{false};
  std::string failedCall;
  std::vector<std::unique_ptr<FakeStream>> streams;
};

} // namespace moec::test
