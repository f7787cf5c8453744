#include "tools/bench/gpu/Driver.h"

#include <cstring>
#include <dlfcn.h>

namespace moec::bench {

// cuda.h renames functions to their current version (cuMemAlloc is cuMemAlloc_v2), so the name is spelled after that.
#define MOEC_DRIVER_FUNCTIONS(X)                                                                                       \
  X(cuInit) X(cuDriverGetVersion) X(cuDeviceGet) X(cuDeviceGetName) X(cuDeviceGetAttribute) X(cuDevicePrimaryCtxRetain)\
  X(cuDevicePrimaryCtxRelease) X(cuCtxSetCurrent) X(cuMemAlloc) X(cuMemFree) X(cuMemcpyHtoDAsync) X(cuMemcpyDtoHAsync) \
  X(cuMemcpyDtoDAsync) X(cuMemsetD8Async) X(cuMemAllocHost) X(cuMemFreeHost) X(cuLibraryLoadData) X(cuLibraryUnload) X(cuLibraryGetKernel)                \
  X(cuKernelGetFunction) X(cuFuncLoad) X(cuFuncSetAttribute) X(cuLaunchKernelEx) X(cuStreamCreate) X(cuStreamDestroy)    \
  X(cuStreamSynchronize) X(cuStreamBeginCapture) X(cuStreamEndCapture) X(cuGraphInstantiateWithFlags)                  \
  X(cuGraphDestroy) X(cuGraphExecDestroy) X(cuGraphLaunch) X(cuEventCreate) X(cuEventDestroy) X(cuEventRecord)         \
  X(cuEventSynchronize) X(cuEventElapsedTime) X(cuTensorMapEncodeTiled) X(cuGetErrorName) X(cuGetErrorString)

#define MOEC_DECLARE(function) decltype(&::function) function##Fn = nullptr;
#define MOEC_NAME(function) #function
#define MOEC_EXPANDED_NAME(function) MOEC_NAME(function)

struct DriverApi {
  MOEC_DRIVER_FUNCTIONS(MOEC_DECLARE)
};

namespace {

Status loadApi(DriverApi &api) {
  void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return makeError(Code::DeviceMissing, "no CUDA driver: {}", dlerror());
#define MOEC_FIND(function)                                                                                            \
  api.function##Fn = reinterpret_cast<decltype(api.function##Fn)>(dlsym(library, MOEC_EXPANDED_NAME(function)));       \
  if (!api.function##Fn)                                                                                               \
    return makeError(Code::DeviceMissing, "this CUDA driver has no {}", MOEC_EXPANDED_NAME(function));
  MOEC_DRIVER_FUNCTIONS(MOEC_FIND)
  return {};
}

} // namespace

Status Device::check(CUresult result, const char *what) const {
  if (result == CUDA_SUCCESS)
    return {};
  const char *name = nullptr, *text = nullptr;
  api->cuGetErrorNameFn(result, &name);
  api->cuGetErrorStringFn(result, &text);
  return makeError(Code::Failure, "{}: {} ({})", what, name ? name : "?", text ? text : "?");
}

Result<std::unique_ptr<Device>> Device::open(int ordinal) {
  std::unique_ptr<Device> device(new Device);
  device->api = std::make_unique<DriverApi>();
  MOEC_TRY(loadApi(*device->api));
  MOEC_TRY(device->initialise(ordinal));
  return device;
}

Status Device::initialise(int ordinal) {
  MOEC_TRY(check(api->cuInitFn(0), "cuInit"));
  MOEC_TRY(check(api->cuDriverGetVersionFn(&version), "cuDriverGetVersion"));
  MOEC_TRY(check(api->cuDeviceGetFn(&device, ordinal), "cuDeviceGet"));
  char text[256] = {};
  MOEC_TRY(check(api->cuDeviceGetNameFn(text, sizeof(text), device), "cuDeviceGetName"));
  deviceName = text;
  const auto attribute = [&](CUdevice_attribute which, int &value) {
    return check(api->cuDeviceGetAttributeFn(&value, which, device), "cuDeviceGetAttribute");
  };
  int major = 0, minor = 0, processors = 0, cache = 0;
  MOEC_TRY(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, major));
  MOEC_TRY(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, minor));
  MOEC_TRY(attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, processors));
  MOEC_TRY(attribute(CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, cache));
  capability = major * 10 + minor;
  numMultiprocessors = static_cast<uint32_t>(processors);
  l2Bytes = static_cast<uint64_t>(cache);
  MOEC_TRY(check(api->cuDevicePrimaryCtxRetainFn(&context, device), "cuDevicePrimaryCtxRetain"));
  MOEC_TRY(check(api->cuCtxSetCurrentFn(context), "cuCtxSetCurrent"));
  MOEC_TRY(check(api->cuStreamCreateFn(&stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate"));
  for (CUevent &event : events)
    MOEC_TRY(check(api->cuEventCreateFn(&event, CU_EVENT_DEFAULT), "cuEventCreate"));
  return {};
}

Device::~Device() {
  for (CUevent event : events)
    if (event)
      api->cuEventDestroyFn(event);
  if (stream)
    api->cuStreamDestroyFn(stream);
  for (CUlibrary library : libraries)
    api->cuLibraryUnloadFn(library);
  if (context)
    api->cuDevicePrimaryCtxReleaseFn(device);
}

Buffer::~Buffer() {
  if (pointer)
    device->api->cuMemFreeFn(pointer);
}

HostBuffer::~HostBuffer() {
  if (pointer)
    device->api->cuMemFreeHostFn(pointer);
}

Result<HostBuffer> Device::allocateHost(size_t bytes) {
  void *pointer = nullptr;
  if (Status status = check(api->cuMemAllocHostFn(&pointer, bytes), "cuMemAllocHost"); !status.ok())
    return status.withContext("{} bytes", bytes);
  std::memset(pointer, 0, bytes);
  return HostBuffer(this, pointer);
}

Result<Buffer> Device::allocate(size_t bytes) {
  CUdeviceptr pointer = 0;
  if (Status status = check(api->cuMemAllocFn(&pointer, bytes), "cuMemAlloc"); !status.ok())
    return status.withContext("{} bytes", bytes);
  return Buffer(this, pointer, bytes);
}

Status Device::upload(const Buffer &to, const void *from, size_t bytes, size_t offset) {
  MOEC_TRY(check(api->cuMemcpyHtoDAsyncFn(to.address() + offset, from, bytes, stream), "cuMemcpyHtoDAsync"));
  return synchronise();
}

Status Device::download(void *to, const Buffer &from, size_t bytes, size_t offset) {
  MOEC_TRY(check(api->cuMemcpyDtoHAsyncFn(to, from.address() + offset, bytes, stream), "cuMemcpyDtoHAsync"));
  return synchronise();
}

Status Device::copy(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return check(api->cuMemcpyDtoDAsyncFn(to, from, bytes, stream), "cuMemcpyDtoDAsync");
}

Status Device::fill(const Buffer &buffer, uint8_t value) {
  return check(api->cuMemsetD8AsyncFn(buffer.address(), value, buffer.bytes(), stream), "cuMemsetD8Async");
}

Result<Kernel> Device::load(const std::vector<uint8_t> &cubin, const std::string &loweredName, uint32_t sharedBytes) {
  CUlibrary library = nullptr;
  MOEC_TRY(check(api->cuLibraryLoadDataFn(&library, cubin.data(), nullptr, nullptr, 0, nullptr, nullptr, 0),
                 "cuLibraryLoadData"));
  libraries.push_back(library);
  CUkernel kernel = nullptr;
  MOEC_TRY(check(api->cuLibraryGetKernelFn(&kernel, library, loweredName.c_str()), "cuLibraryGetKernel"));
  Kernel loaded;
  loaded.sharedBytes = sharedBytes;
  MOEC_TRY(check(api->cuKernelGetFunctionFn(&loaded.function, kernel), "cuKernelGetFunction"));
  MOEC_TRY(check(api->cuFuncLoadFn(loaded.function), "cuFuncLoad"));
  if (sharedBytes > 0)
    MOEC_TRY(check(api->cuFuncSetAttributeFn(loaded.function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                             static_cast<int>(sharedBytes)),
                   "cuFuncSetAttribute"));
  return loaded;
}

Status Device::launch(const Kernel &kernel, const LaunchShape &shape, void **parameters) {
  CUlaunchAttribute attribute{};
  CUlaunchConfig config{};
  config.gridDimX = shape.blocks;
  config.blockDimX = shape.threads;
  config.gridDimY = config.gridDimZ = config.blockDimY = config.blockDimZ = 1;
  config.sharedMemBytes = kernel.sharedBytes;
  config.hStream = stream;
  config.attrs = &attribute;
  if (shape.overlaps) {
    config.numAttrs = 1;
    attribute.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
    attribute.value.programmaticStreamSerializationAllowed = 1;
  }
  return check(api->cuLaunchKernelExFn(&config, kernel.function, parameters, nullptr), "cuLaunchKernelEx");
}

Status Device::synchronise() { return check(api->cuStreamSynchronizeFn(stream), "cuStreamSynchronize"); }

Result<CUtensorMap> Device::tensorMap(const CudaTensor &tensor) {
  CUtensorMap map{};
  const cuuint32_t steps[CudaTensor::maxRank] = {1, 1, 1, 1, 1};
  MOEC_TRY(check(api->cuTensorMapEncodeTiledFn(
                     &map, tensor.element == Element::BF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
                     tensor.rank, reinterpret_cast<void *>(tensor.address), tensor.sizes.data(), tensor.strides.data(),
                     tensor.box.data(), steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                     CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
                 "cuTensorMapEncodeTiled"));
  return map;
}

Status Device::beginCapture() {
  return check(api->cuStreamBeginCaptureFn(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL), "cuStreamBeginCapture");
}

Result<Graph> Device::endCapture() {
  CUgraph graph = nullptr;
  MOEC_TRY(check(api->cuStreamEndCaptureFn(stream, &graph), "cuStreamEndCapture"));
  CUgraphExec exec = nullptr;
  const Status status = check(api->cuGraphInstantiateWithFlagsFn(&exec, graph, 0), "cuGraphInstantiateWithFlags");
  api->cuGraphDestroyFn(graph);
  MOEC_TRY(status);
  return Graph(this, exec);
}

Graph::~Graph() {
  if (exec)
    device->api->cuGraphExecDestroyFn(exec);
}

Status Graph::launch() { return device->check(device->api->cuGraphLaunchFn(exec, device->stream), "cuGraphLaunch"); }

Status Device::recordEvent(int which) { return check(api->cuEventRecordFn(events[which], stream), "cuEventRecord"); }

Result<double> Device::elapsedMicroseconds() {
  MOEC_TRY(check(api->cuEventSynchronizeFn(events[1]), "cuEventSynchronize"));
  float milliseconds = 0;
  MOEC_TRY(check(api->cuEventElapsedTimeFn(&milliseconds, events[0], events[1]), "cuEventElapsedTime"));
  return static_cast<double>(milliseconds) * 1000;
}

} // namespace moec::bench
