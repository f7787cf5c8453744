#include "tools/bench/gpu/Driver.h"

#include "tools/bench/gpu/DriverApi.h"

#include <cstring>

namespace moec::bench {

Status Device::check(CUresult result, const char *what) const { return api->check(result, what); }

Result<std::unique_ptr<Device>> Device::open(int ordinal) {
  std::unique_ptr<Device> device(new Device);
  device->api = std::make_unique<DriverApi>();
  MOEC_TRY(device->api->load());
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
    MOEC_TRY(allowShared(loaded, sharedBytes));
  return loaded;
}

Status Device::allowShared(const Kernel &kernel, uint32_t bytes) {
  return check(api->cuFuncSetAttributeFn(kernel.function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                         static_cast<int>(bytes)),
               "cuFuncSetAttribute");
}

Status Device::preferShared(const Kernel &kernel) {
  return check(api->cuFuncSetAttributeFn(kernel.function, CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT,
                                         CU_SHAREDMEM_CARVEOUT_MAX_SHARED),
               "cuFuncSetAttribute");
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
  MOEC_TRY(check(api->cuTensorMapEncodeTiledFn(&map,
                                               tensor.elementBytes == 1          ? CU_TENSOR_MAP_DATA_TYPE_UINT8
                                               : tensor.element == Element::BF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                                                                 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
                                               tensor.rank, reinterpret_cast<void *>(tensor.address),
                                               tensor.sizes.data(), tensor.strides.data(), tensor.box.data(), steps,
                                               CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
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
