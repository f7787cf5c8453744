// A CUDA driver in plain C++: counts every call and handle, can fail any call, and does at launch what dispatch and
// combine would leave behind. Device memory is host memory.
#pragma once

#include "compiler/core/CudaTensors.h"
#include "compiler/kernels/DownFewAbi.h"
#include "compiler/kernels/GateUpFewAbi.h"
#include "runtime/device/cuda/Api.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace moec::test {

struct FakeKernel {
  std::string symbol;
  uint32_t mostShared = 48 * 1024; // dynamic, unless an attribute says otherwise
  bool mostSharedIsSet = false;
  bool prefersShared = false; // to the first-level cache
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
  uint64_t capture = 0; // its number
  std::vector<std::function<void()>> work;
  std::vector<FakeUserObject *> kept;
};
struct FakeStream {
  bool held = false;                   // what is recorded on it is not done
  std::set<const FakeStream *> behind; // joined: held while one of these is
  std::unique_ptr<FakeGraph> capturing;
};
/// What the fake writes into the driver's opaque CUtensorMap.
struct FakeTensorMap {
  uint64_t address = 0;
  uint64_t strides[CudaTensor::maxRank - 1] = {};
  uint32_t sizes[CudaTensor::maxRank] = {};
  uint32_t box[CudaTensor::maxRank] = {};
  uint32_t rank = 0;
};
/// A launch of a fitted or e4m3 product, or of quantise.
struct FakeFitted {
  std::string symbol;
  const FakeStream *stream = nullptr;
  FakeTensorMap weights, tokens, output;
  uint32_t sharedBytes = 0; // dynamic
  GroupedGemmArgs args{};
  Fp8GemmArgs scaled{};    // of e4m3; its `gemm` is in `args` too
  QuantiseArgs quantise{}; // of quantise alone
};
struct FakeEvent {
  const FakeStream *recordedOn = nullptr; // done once this stream is not held
  double ns = 0;                          // of the device's clock
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
  /// Fails the `number`th call from now (1: the next), once; 0: none. Calls that free are not counted: they cannot
  /// report. Nor are those of other threads than `of`, where it names one.
  void failCall(uint64_t number, CUresult with = CUDA_ERROR_UNKNOWN, std::thread::id of = {});
  bool failed() const { return hasFailed; }
  std::string failedName() const;
  std::thread::id failedThread() const;
  /// Launches of fitted and e4m3 products and of quantise since forget(), in order.
  std::vector<FakeFitted> fittedLaunches() const;
  /// The arguments of the last dispatch.
  DispatchArgs lastDispatch() const;
  /// Handles and memory that nobody has freed.
  size_t outstanding() const;
  /// Streams of the caller.
  CUstream stream();
  void hold(CUstream stream, bool on);
  /// What a handle means; CU_STREAM_PER_THREAD means another stream on each thread.
  FakeStream *streamOf(CUstream stream);

  /// The arguments of the last down of few tokens, its map of weights and the shared memory that it was launched with,
  /// since forget().
  struct DownFew {
    std::string symbol;
    DownFewArgs args{};
    DownFewFp8Args scaled{}; // of e4m3; its `down` is in `args` too
    FakeTensorMap weights{};
    uint32_t blocks = 0, sharedBytes = 0;
  };
  std::optional<DownFew> lastDownFew;

  /// Likewise of the last gate-up of few tokens.
  struct GateUpFew {
    GateUpFewFp8Args args{};
    FakeTensorMap weights{};
    uint32_t blocks = 0, sharedBytes = 0;
    bool prefersShared = false;
  };
  std::optional<GateUpFew> lastGateUpFew;

  /// The arguments of the last grouped product of each kind, by launch name ("gate-up", "down"); only while asked for.
  std::map<std::string, GroupedGemmArgs> products;
  bool recordProducts = false;

  std::string model = "NVIDIA H100 80GB HBM3";
  int major = 9, minor = 0, multiprocessors = 132, memoryKhz = 2'619'000, busBits = 5120, numDevices = 1;

  /// Nanoseconds that a launch of a kernel, by its symbol, takes on the device. Empty: whatever events are asked about
  /// took 250 us. All streams share one clock.
  std::function<double(const std::string &symbol, void **parameters)> durationNs;
  double copyBytesPerNs = 1000; // read and written; with `durationNs`
  bool copies = true;           // on the device move something; false: their time counts alone

  /// The calling thread is inside one of the driver's functions that allocate here, as a real one's need not.
  static bool inside();

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
  void advance(double ns) {
    const std::lock_guard lock(mutex);
    now += ns;
  }
  void launched(FakeFitted product);
  void launched(const DispatchArgs &args);
  CUcontext context() { return reinterpret_cast<CUcontext>(this); }

private:
  std::shared_ptr<CudaApi> table;
  mutable std::mutex mutex;
  std::vector<const char *> log;
  std::vector<FakeFitted> fitted;
  DispatchArgs dispatch{};
  std::set<const void *> handles;
  uint64_t failAt = 0, counted = 0;
  std::thread::id failOf;
  CUresult failWith = CUDA_ERROR_UNKNOWN;
  std::atomic<bool> hasFailed{false};
  std::string failedCall;
  std::thread::id failedOn;
  double now = 0;
  std::vector<std::unique_ptr<FakeStream>> streams;
  std::map<std::thread::id, FakeStream> threadStreams;
};

} // namespace moec::test
