#include "tests/unit/cuda/FakeCuda.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace moec::test {

FakeCuda *FakeCuda::current = nullptr;

namespace {

thread_local CUcontext currentContext = nullptr;
thread_local int depth = 0;

struct Inside {
  Inside() { ++depth; }
  ~Inside() { --depth; }
};

FakeCuda &fake() { return *FakeCuda::current; }

// Each function begins by being counted, and returns what it is told to.
#define CALLED(name)                                                                                                   \
  if (const CUresult told = fake().called(name); told != CUDA_SUCCESS)                                                 \
  return told

FakeStream *streamOf(CUstream stream) { return fake().streamOf(stream); }

void run(CUstream stream, std::function<void()> work) {
  FakeStream *on = streamOf(stream);
  if (on && on->capturing)
    on->capturing->work.push_back(std::move(work));
  else
    work();
}

//===-- What kernels leave behind -------------------------------------------------------------===//

void dispatch(const DispatchArgs &args, uint32_t experts) {
  if (!args.ring.words)
    return;
  const uint32_t sample = ++*args.ring.sequence;
  uint64_t *words = args.ring.words + uint64_t{sample % args.ring.numSamples} * (experts + 1);
  std::vector<uint32_t> counts(experts);
  for (uint32_t i = 0; i < args.numPairs; ++i)
    if (args.ids[i] >= 0 && static_cast<uint32_t>(args.ids[i]) < experts)
      ++counts[static_cast<uint32_t>(args.ids[i])];
  for (uint32_t e = 0; e <= experts; ++e)
    std::atomic_ref(words[e]).store(countWord(sample, e < experts ? counts[e] : args.numPairs), std::memory_order_release);
}

/// Kernels are named "what" or "what:number"; a dispatch's number is that of its experts.
std::function<void()> workOf(const FakeKernel &kernel, void **parameters) {
  const std::string what = kernel.symbol.substr(0, kernel.symbol.find(':'));
  if (what == "dispatchOneBlock" || what == "dispatchScan" || what == "dispatchGrid") {
    const DispatchArgs args = *static_cast<const DispatchArgs *>(parameters[0]);
    const auto experts = static_cast<uint32_t>(std::atoi(kernel.symbol.c_str() + what.size() + 1));
    return [args, experts] { dispatch(args, experts); };
  }
  if (what == "route") {
    const RouteArgs args = *static_cast<const RouteArgs *>(parameters[0]);
    return [args] {
      for (uint32_t t = 0; t < args.numTokens; ++t) // everybody to experts 0 and 1: the tests' topK is 2
        args.ids[2 * t] = 0, args.ids[2 * t + 1] = 1, args.weights[2 * t] = args.weights[2 * t + 1] = 0.5f;
    };
  }
  if (what == "combine") {
    const CombineArgs args = *static_cast<const CombineArgs *>(parameters[0]);
    return [args] { std::memset(args.output, 0, size_t{args.numTokens} * args.hidden * 2); };
  }
  if (what == "wrongCombine") {
    const CombineArgs args = *static_cast<const CombineArgs *>(parameters[0]);
    return [args] { std::memset(args.output, 0x3f, size_t{args.numTokens} * args.hidden * 2); };
  }
  if (fake().recordProducts && (what == "gate-up" || what == "down")) {
    // Tensor maps come first: of weights (two), or of weights, tokens and outputs.
    const size_t maps = kernel.symbol.find("portable") != std::string::npos ? 0 : kernel.symbol.find("fitted") != std::string::npos ? 3 : 2;
    fake().products[what] = *static_cast<const GroupedGemmArgs *>(parameters[maps]);
  }
  return [] {};
}

/// A product of the fitted family ("gate-up:fitted-..."): its parameters are kept, for tests to look at.
void keepFitted(const FakeKernel &kernel, CUstream stream, void **parameters) {
  if (kernel.symbol.find(":fitted-") == std::string::npos)
    return;
  FakeFitted product;
  product.symbol = kernel.symbol;
  product.stream = streamOf(stream);
  FakeTensorMap *const maps[] = {&product.weights, &product.tokens, &product.output};
  for (int i = 0; i < 3; ++i)
    std::memcpy(maps[i], parameters[i], sizeof(FakeTensorMap));
  product.args = *static_cast<const GroupedGemmArgs *>(parameters[3]);
  fake().launched(std::move(product));
}

//===-- The driver ----------------------------------------------------------------------------===//

CUresult fakeInit(unsigned) {
  CALLED("cuInit");
  return CUDA_SUCCESS;
}
CUresult fakeDeviceGetCount(int *count) {
  CALLED("cuDeviceGetCount");
  *count = fake().numDevices;
  return CUDA_SUCCESS;
}
CUresult fakeDeviceGet(CUdevice *device, int ordinal) {
  CALLED("cuDeviceGet");
  *device = ordinal;
  return CUDA_SUCCESS;
}
CUresult fakeDeviceGetName(char *name, int size, CUdevice) {
  CALLED("cuDeviceGetName");
  std::strncpy(name, fake().model.c_str(), static_cast<size_t>(size) - 1);
  return CUDA_SUCCESS;
}
CUresult fakeDeviceGetAttribute(int *value, CUdevice_attribute which, CUdevice) {
  CALLED("cuDeviceGetAttribute");
  switch (which) {
  case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = fake().major; break;
  case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = fake().minor; break;
  case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = fake().multiprocessors; break;
  case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *value = 227 * 1024; break;
  case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: *value = 50 << 20; break;
  case CU_DEVICE_ATTRIBUTE_CLOCK_RATE: *value = 2'000'000; break;
  case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: *value = fake().memoryKhz; break;
  case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: *value = fake().busBits; break;
  default: *value = 0;
  }
  return CUDA_SUCCESS;
}
CUresult fakePrimaryCtxRetain(CUcontext *context, CUdevice) {
  CALLED("cuDevicePrimaryCtxRetain");
  *context = fake().context();
  fake().made(*context);
  return CUDA_SUCCESS;
}
CUresult fakePrimaryCtxRelease(CUdevice) {
  fake().called("cuDevicePrimaryCtxRelease", true);
  fake().freed(fake().context());
  return CUDA_SUCCESS;
}
CUresult fakeCtxGetCurrent(CUcontext *context) {
  fake().called("cuCtxGetCurrent", true);
  *context = currentContext;
  return CUDA_SUCCESS;
}
CUresult fakeCtxPushCurrent(CUcontext context) {
  CALLED("cuCtxPushCurrent");
  currentContext = context;
  return CUDA_SUCCESS;
}
CUresult fakeCtxPopCurrent(CUcontext *context) {
  fake().called("cuCtxPopCurrent", true);
  *context = std::exchange(currentContext, nullptr);
  return CUDA_SUCCESS;
}
CUresult fakeMemAlloc(CUdeviceptr *pointer, size_t bytes) {
  CALLED("cuMemAlloc");
  constexpr size_t untouched = size_t{64} << 20; // so much comes from the system as it is used, which tests do not do
  void *memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (bytes < untouched)
    std::memset(memory, 0x5a, bytes);
  fake().made(memory);
  *pointer = reinterpret_cast<CUdeviceptr>(memory);
  return CUDA_SUCCESS;
}
CUresult fakeMemFree(CUdeviceptr pointer) {
  fake().called("cuMemFree", true);
  if (!fake().freed(reinterpret_cast<void *>(pointer)))
    return CUDA_ERROR_INVALID_VALUE;
  std::free(reinterpret_cast<void *>(pointer));
  return CUDA_SUCCESS;
}
CUresult fakeMemGetInfo(size_t *available, size_t *all) {
  *available = *all = size_t{80} << 30;
  return CUDA_SUCCESS;
}
CUresult fakeMemHostAlloc(void **pointer, size_t bytes, unsigned) {
  CALLED("cuMemHostAlloc");
  *pointer = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  fake().made(*pointer);
  return CUDA_SUCCESS;
}
CUresult fakeMemFreeHost(void *pointer) {
  fake().called("cuMemFreeHost", true);
  fake().freed(pointer);
  std::free(pointer);
  return CUDA_SUCCESS;
}
CUresult fakeMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t bytes, CUstream) {
  CALLED("cuMemcpyHtoDAsync");
  std::memcpy(reinterpret_cast<void *>(to), from, bytes);
  return CUDA_SUCCESS;
}
CUresult fakeMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t bytes, CUstream) {
  CALLED("cuMemcpyDtoHAsync");
  std::memcpy(to, reinterpret_cast<void *>(from), bytes);
  return CUDA_SUCCESS;
}
CUresult fakeMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  CALLED("cuMemcpyDtoDAsync");
  run(stream, [=] {
    fake().advance(2 * static_cast<double>(bytes) / fake().copyBytesPerNs);
    if (fake().copies)
      std::memcpy(reinterpret_cast<void *>(to), reinterpret_cast<const void *>(from), bytes);
  });
  return CUDA_SUCCESS;
}
CUresult fakeMemcpy2DAsync(const CUDA_MEMCPY2D *copy, CUstream stream) {
  const Inside inside;
  CALLED("cuMemcpy2DAsync");
  run(stream, [c = *copy] {
    for (size_t row = 0; row < c.Height; ++row)
      std::memcpy(reinterpret_cast<std::byte *>(c.dstDevice) + row * c.dstPitch,
                  reinterpret_cast<const std::byte *>(c.srcDevice) + row * c.srcPitch, c.WidthInBytes);
  });
  return CUDA_SUCCESS;
}
CUresult fakeMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream) {
  CALLED("cuMemsetD8Async");
  run(stream, [=] { std::memset(reinterpret_cast<void *>(to), value, bytes); });
  return CUDA_SUCCESS;
}
CUresult fakeLibraryLoadData(CUlibrary *library, const void *code, CUjit_option *, void **, unsigned, CUlibraryOption *, void **,
                             unsigned) {
  CALLED("cuLibraryLoadData");
  if (std::memcmp(code, "cubin", 5) != 0)
    return CUDA_ERROR_INVALID_IMAGE;
  auto *made = new FakeLibrary;
  fake().made(made);
  *library = reinterpret_cast<CUlibrary>(made);
  return CUDA_SUCCESS;
}
CUresult fakeLibraryUnload(CUlibrary library) {
  fake().called("cuLibraryUnload", true);
  fake().freed(library);
  delete reinterpret_cast<FakeLibrary *>(library);
  return CUDA_SUCCESS;
}
CUresult fakeLibraryGetKernel(CUkernel *kernel, CUlibrary library, const char *name) {
  CALLED("cuLibraryGetKernel");
  auto &kernels = reinterpret_cast<FakeLibrary *>(library)->kernels;
  kernels.push_back(std::make_unique<FakeKernel>(FakeKernel{name}));
  *kernel = reinterpret_cast<CUkernel>(kernels.back().get());
  return CUDA_SUCCESS;
}
CUresult fakeKernelGetFunction(CUfunction *function, CUkernel kernel) {
  CALLED("cuKernelGetFunction");
  *function = reinterpret_cast<CUfunction>(kernel);
  return CUDA_SUCCESS;
}
CUresult fakeFuncLoad(CUfunction) {
  CALLED("cuFuncLoad");
  return CUDA_SUCCESS;
}
CUresult fakeFuncSetAttribute(CUfunction, CUfunction_attribute, int) {
  CALLED("cuFuncSetAttribute");
  return CUDA_SUCCESS;
}
CUresult fakeLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **parameters, void **) {
  const Inside inside;
  CALLED("cuLaunchKernelEx");
  if (config->gridDimX == 0 || config->blockDimX == 0 || config->blockDimX > 1024)
    return CUDA_ERROR_INVALID_VALUE;
  const FakeKernel &kernel = *reinterpret_cast<FakeKernel *>(function);
  keepFitted(kernel, config->hStream, parameters);
  if (fake().durationNs)
    run(config->hStream, [ns = fake().durationNs(kernel.symbol, parameters)] { fake().advance(ns); });
  run(config->hStream, workOf(kernel, parameters));
  return CUDA_SUCCESS;
}
CUresult fakeStreamCreate(CUstream *stream, unsigned) {
  CALLED("cuStreamCreate");
  auto *made = new FakeStream;
  fake().made(made);
  *stream = reinterpret_cast<CUstream>(made);
  return CUDA_SUCCESS;
}
CUresult fakeStreamDestroy(CUstream stream) {
  fake().called("cuStreamDestroy", true);
  fake().freed(streamOf(stream));
  delete streamOf(stream);
  return CUDA_SUCCESS;
}
CUresult fakeStreamSynchronize(CUstream) {
  CALLED("cuStreamSynchronize");
  return CUDA_SUCCESS;
}
CUresult fakeStreamWaitEvent(CUstream stream, CUevent event, unsigned) {
  const Inside inside;
  CALLED("cuStreamWaitEvent");
  if (stream && streamOf(stream)->capturing) // nothing here records an event in a capture, to wait for it there
    return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
  if (stream)
    fake().join(*streamOf(stream), *reinterpret_cast<FakeEvent *>(event));
  return CUDA_SUCCESS;
}
CUresult fakeStreamGetCaptureInfo(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *, CUgraph *graph,
                                  const CUgraphNode **, const CUgraphEdgeData **, size_t *) {
  CALLED("cuStreamGetCaptureInfo");
  const bool captures = stream && streamOf(stream)->capturing;
  *status = captures ? CU_STREAM_CAPTURE_STATUS_ACTIVE : CU_STREAM_CAPTURE_STATUS_NONE;
  if (captures && graph)
    *graph = reinterpret_cast<CUgraph>(streamOf(stream)->capturing.get());
  return CUDA_SUCCESS;
}
CUresult fakeStreamBeginCapture(CUstream stream, CUstreamCaptureMode) {
  CALLED("cuStreamBeginCapture");
  streamOf(stream)->capturing = std::make_unique<FakeGraph>();
  fake().made(streamOf(stream)->capturing.get());
  return CUDA_SUCCESS;
}
CUresult fakeStreamEndCapture(CUstream stream, CUgraph *graph) {
  CALLED("cuStreamEndCapture");
  *graph = reinterpret_cast<CUgraph>(streamOf(stream)->capturing.release());
  return CUDA_SUCCESS;
}
CUresult fakeThreadExchangeStreamCaptureMode(CUstreamCaptureMode *) { return CUDA_SUCCESS; }
CUresult fakeEventCreate(CUevent *event, unsigned) {
  CALLED("cuEventCreate");
  auto *made = new FakeEvent;
  fake().made(made);
  *event = reinterpret_cast<CUevent>(made);
  return CUDA_SUCCESS;
}
CUresult fakeEventDestroy(CUevent event) {
  fake().called("cuEventDestroy", true);
  fake().freed(event);
  delete reinterpret_cast<FakeEvent *>(event);
  return CUDA_SUCCESS;
}
CUresult fakeEventRecord(CUevent event, CUstream stream) {
  CALLED("cuEventRecord");
  fake().record(*reinterpret_cast<FakeEvent *>(event), streamOf(stream));
  return CUDA_SUCCESS;
}
CUresult fakeEventRecordWithFlags(CUevent event, CUstream stream, unsigned) {
  CALLED("cuEventRecordWithFlags");
  fake().record(*reinterpret_cast<FakeEvent *>(event), streamOf(stream));
  return CUDA_SUCCESS;
}
CUresult fakeEventQuery(CUevent event) {
  fake().called("cuEventQuery", true);
  return fake().isHeld(*reinterpret_cast<FakeEvent *>(event)) ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
}
CUresult fakeEventElapsedTime(float *milliseconds, CUevent begin, CUevent end) {
  *milliseconds = 0.25f;
  if (fake().durationNs)
    *milliseconds =
        static_cast<float>((reinterpret_cast<FakeEvent *>(end)->ns - reinterpret_cast<FakeEvent *>(begin)->ns) * 1e-6);
  return CUDA_SUCCESS;
}

void release(FakeUserObject *object) {
  if (--object->references > 0)
    return;
  object->destroy(object->pointer);
  fake().freed(object);
  delete object;
}
void destroyGraph(FakeGraph *graph) {
  for (FakeUserObject *object : graph->kept)
    release(object);
  fake().freed(graph);
  delete graph;
}
CUresult fakeGraphInstantiate(CUgraphExec *exec, CUgraph graph, unsigned long long) {
  CALLED("cuGraphInstantiateWithFlags");
  auto *made = new FakeGraph(*reinterpret_cast<FakeGraph *>(graph));
  for (FakeUserObject *object : made->kept)
    ++object->references;
  fake().made(made);
  *exec = reinterpret_cast<CUgraphExec>(made);
  return CUDA_SUCCESS;
}
CUresult fakeGraphDestroy(CUgraph graph) {
  fake().called("cuGraphDestroy", true);
  destroyGraph(reinterpret_cast<FakeGraph *>(graph));
  return CUDA_SUCCESS;
}
CUresult fakeGraphExecDestroy(CUgraphExec exec) {
  fake().called("cuGraphExecDestroy", true);
  destroyGraph(reinterpret_cast<FakeGraph *>(exec));
  return CUDA_SUCCESS;
}
CUresult fakeGraphUpload(CUgraphExec, CUstream) {
  CALLED("cuGraphUpload");
  return CUDA_SUCCESS;
}
CUresult fakeGraphLaunch(CUgraphExec exec, CUstream) {
  CALLED("cuGraphLaunch");
  for (const auto &work : reinterpret_cast<FakeGraph *>(exec)->work)
    work();
  return CUDA_SUCCESS;
}
CUresult fakeUserObjectCreate(CUuserObject *object, void *pointer, CUhostFn destroy, unsigned references, unsigned) {
  CALLED("cuUserObjectCreate");
  auto *made = new FakeUserObject{pointer, destroy, static_cast<int>(references)};
  fake().made(made);
  *object = reinterpret_cast<CUuserObject>(made);
  return CUDA_SUCCESS;
}
CUresult fakeUserObjectRelease(CUuserObject object, unsigned) {
  fake().called("cuUserObjectRelease", true);
  release(reinterpret_cast<FakeUserObject *>(object));
  return CUDA_SUCCESS;
}
CUresult fakeGraphRetainUserObject(CUgraph graph, CUuserObject object, unsigned, unsigned) {
  CALLED("cuGraphRetainUserObject");
  reinterpret_cast<FakeGraph *>(graph)->kept.push_back(reinterpret_cast<FakeUserObject *>(object));
  return CUDA_SUCCESS;
}
CUresult fakeTensorMapEncodeTiled(CUtensorMap *map, CUtensorMapDataType, cuuint32_t rank, void *address, const cuuint64_t *sizes,
                                  const cuuint64_t *strides, const cuuint32_t *box, const cuuint32_t *, CUtensorMapInterleave,
                                  CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  CALLED("cuTensorMapEncodeTiled");
  FakeTensorMap made;
  made.address = reinterpret_cast<uint64_t>(address);
  made.rank = rank;
  // What a driver refuses (CUDA driver API, cuTensorMapEncodeTiled).
  if (rank == 0 || rank > CudaTensor::maxRank || made.address % 16 != 0)
    return CUDA_ERROR_INVALID_VALUE;
  for (uint32_t i = 0; i < rank; ++i) {
    const bool stride = i > 0;
    if (sizes[i] == 0 || sizes[i] > UINT32_MAX || box[i] == 0 || box[i] > 256 ||
        (stride && (strides[i - 1] % 16 != 0 || strides[i - 1] >= uint64_t{1} << 40)))
      return CUDA_ERROR_INVALID_VALUE;
    made.sizes[i] = static_cast<uint32_t>(sizes[i]);
    made.box[i] = box[i];
    if (stride)
      made.strides[i - 1] = strides[i - 1];
  }
  static_assert(sizeof(made) <= sizeof(CUtensorMap));
  std::memcpy(static_cast<void *>(map), &made, sizeof(made));
  return CUDA_SUCCESS;
}
CUresult fakeGetErrorName(CUresult result, const char **name) {
  *name = result == CUDA_ERROR_ILLEGAL_ADDRESS ? "CUDA_ERROR_ILLEGAL_ADDRESS" : "CUDA_ERROR_UNKNOWN";
  return CUDA_SUCCESS;
}
CUresult fakeGetErrorString(CUresult, const char **text) {
  *text = "told to fail";
  return CUDA_SUCCESS;
}

} // namespace

FakeCuda::FakeCuda() : table(std::make_shared<CudaApi>()) {
  current = this;
  CudaApi &api = *table;
  api.cuInitFn = fakeInit;
  api.cuDeviceGetCountFn = fakeDeviceGetCount;
  api.cuDeviceGetFn = fakeDeviceGet;
  api.cuDeviceGetNameFn = fakeDeviceGetName;
  api.cuDeviceGetAttributeFn = fakeDeviceGetAttribute;
  api.cuDevicePrimaryCtxRetainFn = fakePrimaryCtxRetain;
  api.cuDevicePrimaryCtxReleaseFn = fakePrimaryCtxRelease;
  api.cuCtxGetCurrentFn = fakeCtxGetCurrent;
  api.cuCtxPushCurrentFn = fakeCtxPushCurrent;
  api.cuCtxPopCurrentFn = fakeCtxPopCurrent;
  api.cuMemAllocFn = fakeMemAlloc;
  api.cuMemFreeFn = fakeMemFree;
  api.cuMemGetInfoFn = fakeMemGetInfo;
  api.cuMemHostAllocFn = fakeMemHostAlloc;
  api.cuMemFreeHostFn = fakeMemFreeHost;
  api.cuMemcpyHtoDAsyncFn = fakeMemcpyHtoDAsync;
  api.cuMemcpyDtoHAsyncFn = fakeMemcpyDtoHAsync;
  api.cuMemcpyDtoDAsyncFn = fakeMemcpyDtoDAsync;
  api.cuMemcpy2DAsyncFn = fakeMemcpy2DAsync;
  api.cuMemsetD8AsyncFn = fakeMemsetD8Async;
  api.cuLibraryLoadDataFn = fakeLibraryLoadData;
  api.cuLibraryUnloadFn = fakeLibraryUnload;
  api.cuLibraryGetKernelFn = fakeLibraryGetKernel;
  api.cuKernelGetFunctionFn = fakeKernelGetFunction;
  api.cuFuncLoadFn = fakeFuncLoad;
  api.cuFuncSetAttributeFn = fakeFuncSetAttribute;
  api.cuLaunchKernelExFn = fakeLaunchKernelEx;
  api.cuStreamCreateFn = fakeStreamCreate;
  api.cuStreamDestroyFn = fakeStreamDestroy;
  api.cuStreamSynchronizeFn = fakeStreamSynchronize;
  api.cuStreamWaitEventFn = fakeStreamWaitEvent;
  api.cuStreamGetCaptureInfoFn = fakeStreamGetCaptureInfo;
  api.cuStreamBeginCaptureFn = fakeStreamBeginCapture;
  api.cuStreamEndCaptureFn = fakeStreamEndCapture;
  api.cuThreadExchangeStreamCaptureModeFn = fakeThreadExchangeStreamCaptureMode;
  api.cuEventCreateFn = fakeEventCreate;
  api.cuEventDestroyFn = fakeEventDestroy;
  api.cuEventRecordFn = fakeEventRecord;
  api.cuEventRecordWithFlagsFn = fakeEventRecordWithFlags;
  api.cuEventQueryFn = fakeEventQuery;
  api.cuEventElapsedTimeFn = fakeEventElapsedTime;
  api.cuGraphInstantiateWithFlagsFn = fakeGraphInstantiate;
  api.cuGraphDestroyFn = fakeGraphDestroy;
  api.cuGraphExecDestroyFn = fakeGraphExecDestroy;
  api.cuGraphUploadFn = fakeGraphUpload;
  api.cuGraphLaunchFn = fakeGraphLaunch;
  api.cuUserObjectCreateFn = fakeUserObjectCreate;
  api.cuUserObjectReleaseFn = fakeUserObjectRelease;
  api.cuGraphRetainUserObjectFn = fakeGraphRetainUserObject;
  api.cuTensorMapEncodeTiledFn = fakeTensorMapEncodeTiled;
  api.cuGetErrorNameFn = fakeGetErrorName;
  api.cuGetErrorStringFn = fakeGetErrorString;
}

bool FakeCuda::inside() { return depth > 0; }

FakeCuda::~FakeCuda() { current = nullptr; }

CUresult FakeCuda::called(const char *name, bool frees) {
  const std::lock_guard lock(mutex);
  log.push_back(name);
  if (frees || failAt == 0 || ++counted != failAt)
    return CUDA_SUCCESS;
  failAt = 0;
  hasFailed = true;
  failedCall = name;
  failedOn = std::this_thread::get_id();
  return failWith;
}

std::vector<std::string> FakeCuda::calls() const {
  const std::lock_guard lock(mutex);
  return {log.begin(), log.end()};
}

uint64_t FakeCuda::count(const std::string &name) const {
  const std::lock_guard lock(mutex);
  return static_cast<uint64_t>(std::count_if(log.begin(), log.end(), [&](const char *call) { return name == call; }));
}

void FakeCuda::forget() {
  const std::lock_guard lock(mutex);
  log.clear();
  fitted.clear();
  log.reserve(1 << 16); // so that counting is no allocation of the step path
}

void FakeCuda::failCall(uint64_t number, CUresult with) {
  const std::lock_guard lock(mutex);
  failAt = number;
  counted = 0;
  failWith = with;
  hasFailed = false;
}

std::string FakeCuda::failedName() const {
  const std::lock_guard lock(mutex);
  return failedCall;
}

std::thread::id FakeCuda::failedThread() const {
  const std::lock_guard lock(mutex);
  return failedOn;
}

std::vector<FakeFitted> FakeCuda::fittedLaunches() const {
  const std::lock_guard lock(mutex);
  return fitted;
}

void FakeCuda::launched(FakeFitted product) {
  const std::lock_guard lock(mutex);
  fitted.push_back(std::move(product));
}

size_t FakeCuda::outstanding() const {
  const std::lock_guard lock(mutex);
  return handles.size();
}

CUstream FakeCuda::stream() {
  streams.push_back(std::make_unique<FakeStream>());
  return reinterpret_cast<CUstream>(streams.back().get());
}

void FakeCuda::hold(CUstream stream, bool on) {
  FakeStream *which = streamOf(stream);
  const std::lock_guard lock(mutex);
  which->held = on;
}

FakeStream *FakeCuda::streamOf(CUstream stream) {
  if (stream != CU_STREAM_PER_THREAD)
    return reinterpret_cast<FakeStream *>(stream);
  const std::lock_guard lock(mutex);
  return &threadStreams[std::this_thread::get_id()];
}

bool FakeCuda::isHeld(const FakeEvent &event) {
  const std::lock_guard lock(mutex);
  const FakeStream *stream = event.recordedOn;
  return stream && (stream->held || std::any_of(stream->behind.begin(), stream->behind.end(),
                                                [](const FakeStream *other) { return other->held; }));
}

void FakeCuda::record(FakeEvent &event, const FakeStream *stream) {
  const std::lock_guard lock(mutex);
  event.recordedOn = stream;
  event.ns = now;
}

void FakeCuda::join(FakeStream &stream, const FakeEvent &event) {
  const std::lock_guard lock(mutex);
  if (event.recordedOn && event.recordedOn != &stream)
    stream.behind.insert(event.recordedOn);
}

} // namespace moec::test
