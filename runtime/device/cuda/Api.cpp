#include "runtime/device/cuda/Api.h"

#include <dlfcn.h>

#include <string>

namespace moec {
namespace {

#define MOEC_TEXT(name) #name
#define MOEC_EXPANDED(name) MOEC_TEXT(name)

/// The function, or under its name without version: cuEventElapsedTime_v2 came with CUDA 12.8 and differs from the
/// first one in what it says of events under capture alone.
void *find(void *library, const char *name) {
  if (void *found = dlsym(library, name))
    return found;
  return std::string(name) == "cuEventElapsedTime_v2" ? dlsym(library, "cuEventElapsedTime") : nullptr;
}

} // namespace

Result<std::shared_ptr<const CudaApi>> CudaApi::load() {
  void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return makeError(Code::DeviceMissing, "no CUDA driver: {}", dlerror());
  auto api = std::make_shared<CudaApi>();
#define MOEC_CUDA_FIND(function)                                                                                       \
  api->function##Fn = reinterpret_cast<decltype(api->function##Fn)>(find(library, MOEC_EXPANDED(function)));           \
  if (!api->function##Fn)                                                                                              \
    return makeError(Code::DeviceMissing, "this CUDA driver is too old: it has no {}", MOEC_EXPANDED(function));
  MOEC_CUDA_FUNCTIONS(MOEC_CUDA_FIND)
  return std::shared_ptr<const CudaApi>(std::move(api));
}

} // namespace moec
