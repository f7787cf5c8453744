#include "runtime/device/cuda/Driver.h"

#include <charconv>
#include <chrono>
#include <optional>
#include <string_view>
#include <thread>

namespace moec {
namespace {

/// The ordinal in "cuda" or "cuda:N".
std::optional<int> ordinalOf(std::string_view name) {
  constexpr std::string_view prefix = "cuda";
  if (!name.starts_with(prefix))
    return std::nullopt;
  name.remove_prefix(prefix.size());
  if (name.empty())
    return 0;
  int ordinal = -1;
  const auto [end, problem] = std::from_chars(name.data() + 1, name.data() + name.size(), ordinal);
  if (name.front() != ':' || problem != std::errc() || end != name.data() + name.size() || ordinal < 0)
    return std::nullopt;
  return ordinal;
}

/// After these the context answers every call with the same error, and the process has to start again.
bool losesDevice(CUresult result) {
  switch (result) {
  case CUDA_ERROR_ILLEGAL_ADDRESS:
  case CUDA_ERROR_LAUNCH_FAILED:
  case CUDA_ERROR_LAUNCH_TIMEOUT:
  case CUDA_ERROR_HARDWARE_STACK_ERROR:
  case CUDA_ERROR_ILLEGAL_INSTRUCTION:
  case CUDA_ERROR_MISALIGNED_ADDRESS:
  case CUDA_ERROR_INVALID_ADDRESS_SPACE:
  case CUDA_ERROR_INVALID_PC:
  case CUDA_ERROR_ASSERT:
  case CUDA_ERROR_ECC_UNCORRECTABLE:
  case CUDA_ERROR_NVLINK_UNCORRECTABLE:
#if CUDA_VERSION >= 13000
  case CUDA_ERROR_CONTAINED:
  case CUDA_ERROR_TENSOR_MEMORY_LEAK:
#endif
  case CUDA_ERROR_CONTEXT_IS_DESTROYED: return true;
  default: return false;
  }
}

Code codeOf(CUresult result) {
  if (losesDevice(result))
    return Code::DeviceLost;
  switch (result) {
  case CUDA_ERROR_OUT_OF_MEMORY: return Code::ResourceExhausted;
  case CUDA_ERROR_NO_DEVICE:
  case CUDA_ERROR_INVALID_DEVICE:
  case CUDA_ERROR_DEVICE_UNAVAILABLE:
  case CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
  case CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE: return Code::DeviceMissing;
  default: return Code::Failure;
  }
}

} // namespace

Status CudaDriver::error(CUresult result, const char *call, const std::string &about) const {
  const char *name = nullptr, *text = nullptr;
  if (functions->cuGetErrorNameFn(result, &name) != CUDA_SUCCESS || !name)
    name = "an unknown error";
  if (functions->cuGetErrorStringFn(result, &text) != CUDA_SUCCESS || !text)
    text = "no description";
  return makeError(codeOf(result), "{}: {}: {} ({}, {})", about, call, name, static_cast<int>(result), text);
}

Result<std::shared_ptr<CudaDriver>> CudaDriver::open(const std::string &name, std::shared_ptr<const CudaApi> api) {
  std::shared_ptr<CudaDriver> driver(new CudaDriver(std::move(api)));
  if (Status status = driver->choose(name); !status.ok())
    return status.withContext("device {}", name);
  return driver;
}

Status CudaDriver::choose(const std::string &name) {
  const std::optional<int> ordinal = ordinalOf(name);
  if (!ordinal)
    return makeError(Code::InvalidArgument, "expected cuda or cuda:N");
  MOEC_CUDA(*this, cuInit, (0), "starting the driver");
  int count = 0;
  MOEC_CUDA(*this, cuDeviceGetCount, (&count), "counting GPUs");
  if (*ordinal >= count)
    return makeError(Code::DeviceMissing, "this machine has {} GPU{}", count, count == 1 ? "" : "s");
  MOEC_CUDA(*this, cuDeviceGet, (&device, *ordinal), "choosing GPU {}", *ordinal);
  char text[256] = {};
  MOEC_CUDA(*this, cuDeviceGetName, (text, sizeof(text), device), "naming GPU {}", *ordinal);
  model = text;
  MOEC_CUDA(*this, cuDevicePrimaryCtxRetain, (&primary, device), "taking the primary context of GPU {}", *ordinal);
  return {};
}

CudaDriver::~CudaDriver() {
  if (primary)
    (void)functions->cuDevicePrimaryCtxReleaseFn(device);
}

Result<int> CudaDriver::attribute(CUdevice_attribute which) const {
  int value = 0;
  MOEC_CUDA(*this, cuDeviceGetAttribute, (&value, which, device), "attribute {} of {}", static_cast<int>(which), model);
  return value;
}

ContextScope::ContextScope(const CudaDriver &driver) : driver(driver) {
  CUcontext current = nullptr;
  if (driver.api().cuCtxGetCurrentFn(&current) == CUDA_SUCCESS && current == driver.context())
    return;
  const CUresult result = driver.api().cuCtxPushCurrentFn(driver.context());
  pushed = result == CUDA_SUCCESS;
  if (!pushed)
    entered = driver.error(result, "cuCtxPushCurrent", "entering the context");
}

ContextScope::~ContextScope() {
  CUcontext popped = nullptr;
  if (pushed)
    (void)driver.api().cuCtxPopCurrentFn(&popped);
}

BackgroundScope::BackgroundScope(const CudaDriver &driver) : driver(driver), context(driver) {
  if (driver.api().cuThreadExchangeStreamCaptureModeFn(&before) != CUDA_SUCCESS)
    before = CU_STREAM_CAPTURE_MODE_RELAXED;
}

BackgroundScope::~BackgroundScope() { (void)driver.api().cuThreadExchangeStreamCaptureModeFn(&before); }

Result<CudaEvent> makeEvent(const std::shared_ptr<const CudaDriver> &driver, bool timed) {
  CUevent event = nullptr;
  MOEC_CUDA(*driver, cuEventCreate, (&event, timed ? CU_EVENT_DEFAULT : CU_EVENT_DISABLE_TIMING), "making an event");
  return CudaEvent(driver, event);
}

Result<CudaStream> makeStream(const std::shared_ptr<const CudaDriver> &driver) {
  CUstream stream = nullptr;
  MOEC_CUDA(*driver, cuStreamCreate, (&stream, CU_STREAM_NON_BLOCKING), "making a stream");
  return CudaStream(driver, stream);
}

Result<bool> isDone(const CudaDriver &driver, CUevent event) {
  const CUresult result = driver.api().cuEventQueryFn(event);
  if (result == CUDA_ERROR_NOT_READY)
    return false;
  if (result != CUDA_SUCCESS)
    return driver.error(result, "cuEventQuery", "asking for work on the GPU");
  return true;
}

Status waitFor(const CudaDriver &driver, CUevent event) {
  constexpr auto pause = std::chrono::microseconds(50);
  while (true) {
    Result<bool> done = isDone(driver, event);
    if (!done)
      return done.status();
    if (*done)
      return {};
    std::this_thread::sleep_for(pause);
  }
}

} // namespace moec
