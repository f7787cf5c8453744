#include "tools/bench/gpu/Facts.h"

#include "tools/bench/gpu/FactsDriver.h"
#include "tools/bench/gpu/FactsNvrtc.h"
#include "tools/bench/gpu/FactsUnderLoad.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <functional>

namespace moec::bench {
namespace {

// `spin` keeps a stream busy until the device's clock has moved on by so many nanoseconds. `mark` writes a value, so
// that one can see which function a node ran. `publish` is what counting costs a step: E counts to pinned host memory.
constexpr const char *kernelText = R"(
extern "C" __global__ void spin(unsigned long long ns) {
  unsigned long long start, now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(start));
  do asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now)); while (now - start < ns);
}
extern "C" __global__ void stamp(unsigned long long ns, unsigned long long *beginEnd) {
  unsigned long long start, now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(start));
  beginEnd[0] = start;
  do asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now)); while (now - start < ns);
  beginEnd[1] = now;
}
extern "C" __global__ void mark(int *where, int value) { where[0] = value; }
extern "C" __global__ void markTwice(int *where, int value) { where[0] = 2 * value; }
extern "C" __global__ void count(const int *counts, int *kept) { kept[threadIdx.x] = counts[threadIdx.x]; }
extern "C" __global__ void publish(const int *counts, int *kept, volatile int *ring, int *sequence) {
  kept[threadIdx.x] = counts[threadIdx.x];
  ring[threadIdx.x] = counts[threadIdx.x];
  __threadfence_system();
  __syncthreads();
  if (threadIdx.x == 0) *(volatile int *)sequence = 1;
}
)";

constexpr unsigned long long spinNs = 200'000'000;

class Experiments {
public:
  Status run(const std::string &jsonPath);

private:
  Status open();
  Status compileTexts();
  Status load(const std::vector<uint8_t> &cubin, CUlibrary &library);
  Status function(CUlibrary library, const char *name, CUfunction &found);
  Status launch(CUfunction kernel, CUstream stream, std::vector<void *> arguments, uint32_t threads = 1);
  /// Times `what` while the other stream spins, and says whether it came back before the spinning ended.
  Status whileSpinning(const char *name, const std::function<Status()> &what);
  Status loading();
  Status graphUpdates();
  Status instantiation();
  Status growth();
  Status counting();
  Status underLoad();
  Status growthUnderLoad();
  Status disturbed(const char *name, const std::function<Status()> &call);
  Status nvrtcCache();

  void say(const std::string &name, double value, const char *unit, const std::string &meaning) {
    fmt::print("{:44} {:12.1f} {:3} {}\n", name, value, unit, meaning);
    facts[name] = {{"value", value}, {"unit", unit}, {"meaning", meaning}};
  }

  DriverApi api;
  CUdevice device = 0;
  CUcontext context = nullptr;
  CUstream busy = nullptr, side = nullptr;
  std::vector<uint8_t> cubin;
  CUlibrary library = nullptr;
  CUfunction spin = nullptr, mark = nullptr, markTwice = nullptr, stamp = nullptr, count = nullptr, publish = nullptr;
  nlohmann::ordered_json facts;
};

Status Experiments::open() {
  MOEC_TRY(api.load());
  MOEC_CALL(api, cuInit, 0);
  MOEC_CALL(api, cuDeviceGet, &device, 0);
  char name[256] = {};
  int version = 0;
  MOEC_CALL(api, cuDeviceGetName, name, sizeof(name), device);
  MOEC_CALL(api, cuDriverGetVersion, &version);
  const char *loading = std::getenv("CUDA_MODULE_LOADING");
  fmt::print("{}, driver for CUDA {}.{}, CUDA_MODULE_LOADING={}\n", name, version / 1000, version % 1000 / 10,
             loading ? loading : "");
  facts["device"] = name;
  facts["driver"] = version;
  MOEC_CALL(api, cuDevicePrimaryCtxRetain, &context, device);
  MOEC_CALL(api, cuCtxSetCurrent, context);
  MOEC_CALL(api, cuStreamCreate, &busy, CU_STREAM_NON_BLOCKING);
  MOEC_CALL(api, cuStreamCreate, &side, CU_STREAM_NON_BLOCKING);
  return {};
}

Status Experiments::load(const std::vector<uint8_t> &bytes, CUlibrary &loaded) {
  MOEC_CALL(api, cuLibraryLoadData, &loaded, bytes.data(), nullptr, nullptr, 0, nullptr, nullptr, 0);
  return {};
}

Status Experiments::function(CUlibrary from, const char *name, CUfunction &found) {
  CUkernel kernel = nullptr;
  MOEC_CALL(api, cuLibraryGetKernel, &kernel, from, name);
  MOEC_CALL(api, cuKernelGetFunction, &found, kernel);
  MOEC_CALL(api, cuFuncLoad, found);
  return {};
}

Status Experiments::compileTexts() {
  Result<std::vector<uint8_t>> compiled = compileText(kernelText);
  if (!compiled)
    return compiled.status();
  cubin = std::move(*compiled);
  MOEC_TRY(load(cubin, library));
  for (auto [name, kernel] : {std::pair{"spin", &spin}, std::pair{"mark", &mark}, std::pair{"markTwice", &markTwice},
                              std::pair{"stamp", &stamp}, std::pair{"count", &count}, std::pair{"publish", &publish}})
    MOEC_TRY(function(library, name, *kernel));
  return {};
}

Status Experiments::launch(CUfunction kernel, CUstream stream, std::vector<void *> arguments, uint32_t threads) {
  MOEC_CALL(api, cuLaunchKernel, kernel, 1, 1, 1, threads, 1, 1, 0, stream, arguments.data(), nullptr);
  return {};
}

Status Experiments::whileSpinning(const char *name, const std::function<Status()> &what) {
  unsigned long long ns = spinNs;
  MOEC_TRY(launch(spin, busy, {&ns}));
  Status status;
  const double took = microseconds([&] { status = what(); });
  MOEC_TRY(status.ok() ? Status() : status.withContext("{}", name));
  const bool waited = api.cuStreamQueryFn(busy) == CUDA_SUCCESS;
  MOEC_CALL(api, cuStreamSynchronize, busy);
  say(name, took, "us", waited ? "WAITS for the running kernel" : "does not wait for a running kernel");
  return {};
}

Status Experiments::loading() {
  CUlibrary loaded = nullptr;
  CUfunction found = nullptr;
  CUkernel kernel = nullptr;
  MOEC_TRY(whileSpinning("cuLibraryLoadData", [&] { return load(cubin, loaded); }));
  MOEC_TRY(whileSpinning("cuLibraryGetKernel + cuKernelGetFunction", [&]() -> Status {
    MOEC_CALL(api, cuLibraryGetKernel, &kernel, loaded, "mark");
    MOEC_CALL(api, cuKernelGetFunction, &found, kernel);
    return {};
  }));
  MOEC_TRY(whileSpinning("cuFuncLoad (forced load)", [&]() -> Status {
    MOEC_CALL(api, cuFuncLoad, found);
    return {};
  }));
  CUdeviceptr memory = 0;
  MOEC_TRY(whileSpinning("cuMemAlloc of 16 MiB", [&]() -> Status {
    MOEC_CALL(api, cuMemAlloc, &memory, 16 << 20);
    return {};
  }));
  int value = 7;
  MOEC_TRY(
      whileSpinning("first launch of a force-loaded kernel", [&] { return launch(found, side, {&memory, &value}); }));
  MOEC_CALL(api, cuStreamSynchronize, side);
  CUlibrary lazy = nullptr;
  MOEC_TRY(load(cubin, lazy));
  MOEC_CALL(api, cuLibraryGetKernel, &kernel, lazy, "mark");
  MOEC_CALL(api, cuKernelGetFunction, &found, kernel);
  MOEC_TRY(
      whileSpinning("first launch of a lazily loaded kernel", [&] { return launch(found, side, {&memory, &value}); }));
  MOEC_CALL(api, cuStreamSynchronize, side);
  MOEC_TRY(whileSpinning("cuLibraryUnload", [&]() -> Status {
    MOEC_CALL(api, cuLibraryUnload, loaded);
    return {};
  }));
  MOEC_TRY(whileSpinning("cuMemFree of 16 MiB", [&]() -> Status {
    MOEC_CALL(api, cuMemFree, memory);
    return {};
  }));
  MOEC_CALL(api, cuLibraryUnload, lazy);
  return {};
}

Status Experiments::graphUpdates() {
  CUdeviceptr where = 0;
  int value = 5, seen = 0;
  MOEC_CALL(api, cuMemAlloc, &where, 16);
  MOEC_CALL(api, cuStreamBeginCapture, side, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
  for (int i = 0; i < 6; ++i)
    MOEC_TRY(launch(mark, side, {&where, &value}));
  CUgraph graph = nullptr;
  CUgraphExec exec = nullptr;
  MOEC_CALL(api, cuStreamEndCapture, side, &graph);
  MOEC_CALL(api, cuGraphInstantiateWithFlags, &exec, graph, 0);
  CUgraphNode nodes[6];
  size_t numNodes = 6;
  MOEC_CALL(api, cuGraphGetNodes, graph, nodes, &numNodes);
  void *arguments[] = {&where, &value};
  CUDA_KERNEL_NODE_PARAMS parameters{};
  parameters.gridDimX = parameters.gridDimY = parameters.gridDimZ = 1;
  parameters.blockDimX = parameters.blockDimY = parameters.blockDimZ = 1;
  parameters.kernelParams = arguments;
  parameters.ctx = nullptr;

  // A launch that is queued behind a spinning kernel must keep the function that it was launched with.
  unsigned long long ns = spinNs;
  MOEC_TRY(launch(spin, side, {&ns}));
  MOEC_CALL(api, cuGraphLaunch, exec, side);
  std::vector<double> times;
  for (int round = 0; round < 200; ++round)
    for (size_t i = 0; i < numNodes; ++i) {
      parameters.func = round % 2 ? mark : markTwice;
      Status status;
      times.push_back(microseconds([&] {
        status = api.check(api.cuGraphExecKernelNodeSetParamsFn(exec, nodes[i], &parameters),
                           "cuGraphExecKernelNodeSetParams");
      }));
      MOEC_TRY(status);
    }
  for (size_t i = 0; i < numNodes; ++i) {
    parameters.func = markTwice;
    MOEC_CALL(api, cuGraphExecKernelNodeSetParams, exec, nodes[i], &parameters);
  }
  const bool waited = api.cuStreamQueryFn(side) == CUDA_SUCCESS;
  MOEC_CALL(api, cuStreamSynchronize, side);
  MOEC_CALL(api, cuMemcpyDtoH, &seen, where, 4);
  std::sort(times.begin(), times.end());
  say("kernel-node update, median", times[times.size() / 2], "us",
      waited ? "WAITS for the graph's launch" : "does not wait for the graph's launch");
  say("kernel-node update, p99", times[times.size() * 99 / 100], "us", "");
  say("value that the queued launch wrote", seen, "", seen == 5 ? "kept its function" : "took the NEW function");
  MOEC_CALL(api, cuGraphLaunch, exec, side);
  MOEC_CALL(api, cuStreamSynchronize, side);
  MOEC_CALL(api, cuMemcpyDtoH, &seen, where, 4);
  say("value that the next launch wrote", seen, "", seen == 10 ? "took the new function" : "kept the OLD function");
  MOEC_CALL(api, cuGraphExecDestroy, exec);
  MOEC_CALL(api, cuGraphDestroy, graph);
  MOEC_CALL(api, cuMemFree, where);
  return {};
}

Status Experiments::instantiation() {
  CUdeviceptr where = 0;
  int value = 5;
  MOEC_CALL(api, cuMemAlloc, &where, 16);
  for (int numNodes : {6, 96, 480}) {
    MOEC_CALL(api, cuStreamBeginCapture, side, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    for (int i = 0; i < numNodes; ++i)
      MOEC_TRY(launch(mark, side, {&where, &value}));
    CUgraph graph = nullptr;
    CUgraphExec exec = nullptr;
    MOEC_CALL(api, cuStreamEndCapture, side, &graph);
    MOEC_TRY(whileSpinning(fmt::format("instantiating a graph of {} kernels", numNodes).c_str(), [&]() -> Status {
      MOEC_CALL(api, cuGraphInstantiateWithFlags, &exec, graph, 0);
      return {};
    }));
    MOEC_TRY(whileSpinning(fmt::format("first launch of a graph of {} kernels", numNodes).c_str(), [&]() -> Status {
      MOEC_CALL(api, cuGraphLaunch, exec, side);
      return {};
    }));
    MOEC_CALL(api, cuStreamSynchronize, side);
    MOEC_TRY(
        whileSpinning(fmt::format("destroying an executable graph of {} kernels", numNodes).c_str(), [&]() -> Status {
          MOEC_CALL(api, cuGraphExecDestroy, exec);
          return {};
        }));
    MOEC_CALL(api, cuGraphDestroy, graph);
  }
  MOEC_CALL(api, cuMemFree, where);
  return {};
}

/// Reserved address space grows under a captured graph: addresses stay, so the graph need not change.
Status Experiments::growth() {
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device};
  size_t granularity = 0;
  MOEC_CALL(api, cuMemGetAllocationGranularity, &granularity, &properties, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED);
  const size_t chunk = (64u << 20) / granularity * granularity;
  CUdeviceptr range = 0;
  MOEC_CALL(api, cuMemAddressReserve, &range, 16 * chunk, 0, 0, 0);
  const CUmemAccessDesc access{properties.location, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
  CUmemGenericAllocationHandle parts[2];
  const auto grow = [&](int part) -> Status {
    MOEC_CALL(api, cuMemCreate, &parts[part], chunk, &properties, 0);
    MOEC_CALL(api, cuMemMap, range + part * chunk, chunk, 0, parts[part], 0);
    MOEC_CALL(api, cuMemSetAccess, range + part * chunk, chunk, &access, 1);
    return {};
  };
  MOEC_TRY(grow(0));
  int value = 3, seen = 0;
  MOEC_CALL(api, cuStreamBeginCapture, side, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
  MOEC_TRY(launch(mark, side, {&range, &value}));
  CUgraph graph = nullptr;
  CUgraphExec exec = nullptr;
  MOEC_CALL(api, cuStreamEndCapture, side, &graph);
  MOEC_CALL(api, cuGraphInstantiateWithFlags, &exec, graph, 0);
  MOEC_TRY(whileSpinning("mapping 64 MiB more of a reserved range", [&] { return grow(1); }));
  MOEC_CALL(api, cuGraphLaunch, exec, side);
  CUdeviceptr added = range + chunk;
  MOEC_TRY(launch(markTwice, side, {&added, &value}));
  MOEC_CALL(api, cuStreamSynchronize, side);
  MOEC_CALL(api, cuMemcpyDtoH, &seen, range, 4);
  int grown = 0;
  MOEC_CALL(api, cuMemcpyDtoH, &grown, added, 4);
  say("graph captured before the growth", seen, "",
      seen == 3 && grown == 6 ? "still runs; the new part too" : "BROKEN");
  MOEC_CALL(api, cuGraphExecDestroy, exec);
  MOEC_CALL(api, cuGraphDestroy, graph);
  MOEC_TRY(whileSpinning("unmapping 64 MiB", [&]() -> Status {
    MOEC_CALL(api, cuMemUnmap, range + chunk, chunk);
    MOEC_CALL(api, cuMemRelease, parts[1]);
    return {};
  }));
  MOEC_CALL(api, cuMemUnmap, range, chunk);
  MOEC_CALL(api, cuMemRelease, parts[0]);
  MOEC_CALL(api, cuMemAddressFree, range, 16 * chunk);
  return {};
}

/// What a step pays to hand its counts to the host: the same small kernel with and without the pinned ring.
Status Experiments::counting() {
  CUdeviceptr counts = 0, kept = 0;
  void *pinned = nullptr;
  MOEC_CALL(api, cuMemAlloc, &counts, 4096);
  MOEC_CALL(api, cuMemAlloc, &kept, 4096);
  MOEC_CALL(api, cuMemAllocHost, &pinned, 8192);
  int *ring = static_cast<int *>(pinned), *sequence = ring + 1024;
  CUevent begin = nullptr, end = nullptr;
  MOEC_CALL(api, cuEventCreate, &begin, CU_EVENT_DEFAULT);
  MOEC_CALL(api, cuEventCreate, &end, CU_EVENT_DEFAULT);
  double medians[2] = {};
  for (bool publishes : {false, true}) {
    constexpr int launches = 200;
    MOEC_CALL(api, cuStreamBeginCapture, side, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    for (int i = 0; i < launches; ++i)
      MOEC_TRY(publishes ? launch(publish, side, {&counts, &kept, &ring, &sequence}, 256)
                         : launch(count, side, {&counts, &kept}, 256));
    CUgraph graph = nullptr;
    CUgraphExec exec = nullptr;
    MOEC_CALL(api, cuStreamEndCapture, side, &graph);
    MOEC_CALL(api, cuGraphInstantiateWithFlags, &exec, graph, 0);
    std::vector<double> times;
    for (int repeat = 0; repeat < 21; ++repeat) {
      float milliseconds = 0;
      MOEC_CALL(api, cuEventRecord, begin, side);
      MOEC_CALL(api, cuGraphLaunch, exec, side);
      MOEC_CALL(api, cuEventRecord, end, side);
      MOEC_CALL(api, cuEventSynchronize, end);
      MOEC_CALL(api, cuEventElapsedTime, &milliseconds, begin, end);
      times.push_back(milliseconds * 1000.0 / launches);
    }
    std::sort(times.begin(), times.end());
    medians[publishes] = times[times.size() / 2];
    MOEC_CALL(api, cuGraphExecDestroy, exec);
    MOEC_CALL(api, cuGraphDestroy, graph);
  }
  say("small kernel, 256 counts kept on the device", medians[0], "us", "");
  say("the same, and published to pinned memory", medians[1], "us", "");
  say("publishing counts costs", medians[1] - medians[0], "us", "of a step, if nothing overlaps it");
  MOEC_CALL(api, cuEventDestroy, begin);
  MOEC_CALL(api, cuEventDestroy, end);
  MOEC_CALL(api, cuMemFreeHost, pinned);
  MOEC_CALL(api, cuMemFree, counts);
  MOEC_CALL(api, cuMemFree, kept);
  return {};
}

Status Experiments::disturbed(const char *name, const std::function<Status()> &call) {
  Result<Disturbance> seen = disturb(api, context, stamp, 50, 8, 0.6, call);
  if (!seen)
    return seen.status().withContext("{}", name);
  fmt::print("under load: {:46} call {:9.1f} us{}, worst launch {:8.1f} us, worst gap on the device {:8.1f} us\n", name,
             seen->callUs, seen->returned || !call ? "" : " (NOT before the load ended)", seen->worstLaunchUs,
             seen->worstGapUs);
  facts[std::string("under load: ") + name] = {{"call_us", seen->callUs},
                                               {"returned_under_load", seen->returned},
                                               {"worst_launch_us", seen->worstLaunchUs},
                                               {"worst_device_gap_us", seen->worstGapUs}};
  return {};
}

Status Experiments::growthUnderLoad() {
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device};
  const size_t bytes = 64u << 20;
  CUdeviceptr range = 0;
  CUmemGenericAllocationHandle part = 0;
  const CUmemAccessDesc access{properties.location, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
  MOEC_CALL(api, cuMemAddressReserve, &range, bytes, 0, 0, 0);
  MOEC_TRY(disturbed("cuMemCreate + cuMemMap + cuMemSetAccess, 64 MiB", [&]() -> Status {
    MOEC_CALL(api, cuMemCreate, &part, bytes, &properties, 0);
    MOEC_CALL(api, cuMemMap, range, bytes, 0, part, 0);
    MOEC_CALL(api, cuMemSetAccess, range, bytes, &access, 1);
    return {};
  }));
  MOEC_TRY(disturbed("cuMemUnmap + cuMemRelease, 64 MiB", [&]() -> Status {
    MOEC_CALL(api, cuMemUnmap, range, bytes);
    MOEC_CALL(api, cuMemRelease, part);
    return {};
  }));
  MOEC_CALL(api, cuMemAddressFree, range, bytes);
  return {};
}

/// Steps of 50 us, eight of them queued, while another thread does what a background build or a retirement does.
Status Experiments::underLoad() {
  MOEC_TRY(disturbed("nothing", {}));
  MOEC_TRY(disturbed("nothing, again", {}));
  CUlibrary loaded[3] = {};
  CUkernel kernel = nullptr;
  CUfunction found = nullptr;
  int value = 7;
  CUdeviceptr memory = 0;
  MOEC_TRY(disturbed("cuLibraryLoadData", [&] { return load(cubin, loaded[0]); }));
  MOEC_TRY(disturbed("cuLibraryGetKernel", [&]() -> Status {
    MOEC_CALL(api, cuLibraryGetKernel, &kernel, loaded[0], "mark");
    return {};
  }));
  MOEC_TRY(disturbed("cuKernelGetFunction", [&]() -> Status {
    MOEC_CALL(api, cuKernelGetFunction, &found, kernel);
    return {};
  }));
  MOEC_TRY(disturbed("a second function of the same library", [&]() -> Status {
    MOEC_CALL(api, cuLibraryGetKernel, &kernel, loaded[0], "markTwice");
    MOEC_CALL(api, cuKernelGetFunction, &found, kernel);
    return {};
  }));
  MOEC_CALL(api, cuMemAlloc, &memory, 16 << 20);
  MOEC_TRY(load(cubin, loaded[1]));
  MOEC_CALL(api, cuLibraryGetKernel, &kernel, loaded[1], "mark");
  // The driver takes a CUkernel where a CUfunction is wanted, and loads it then.
  MOEC_TRY(disturbed("first launch by CUkernel, not loaded before",
                     [&] { return launch(reinterpret_cast<CUfunction>(kernel), side, {&memory, &value}); }));
  CUmodule module = nullptr;
  MOEC_TRY(disturbed("cuModuleLoadData + cuModuleGetFunction", [&]() -> Status {
    MOEC_CALL(api, cuModuleLoadData, &module, cubin.data());
    MOEC_CALL(api, cuModuleGetFunction, &found, module, "mark");
    MOEC_CALL(api, cuFuncLoad, found);
    return {};
  }));
  MOEC_TRY(disturbed("cuModuleUnload", [&]() -> Status {
    MOEC_CALL(api, cuModuleUnload, module);
    return {};
  }));
  MOEC_TRY(disturbed("cuLibraryUnload", [&]() -> Status {
    MOEC_CALL(api, cuLibraryUnload, loaded[0]);
    return {};
  }));
  MOEC_TRY(disturbed("cuMemFree", [&]() -> Status {
    MOEC_CALL(api, cuMemFree, memory);
    return {};
  }));
  MOEC_TRY(disturbed("cuMemAllocAsync of 64 MiB", [&]() -> Status {
    MOEC_CALL(api, cuMemAllocAsync, &memory, 64 << 20, side);
    return {};
  }));
  MOEC_TRY(disturbed("cuMemFreeAsync", [&]() -> Status {
    MOEC_CALL(api, cuMemFreeAsync, memory, side);
    return {};
  }));
  void *pinned = nullptr;
  MOEC_TRY(disturbed("cuMemAllocHost of 1 MiB", [&]() -> Status {
    MOEC_CALL(api, cuMemAllocHost, &pinned, 1 << 20);
    return {};
  }));
  MOEC_TRY(disturbed("cuMemFreeHost", [&]() -> Status {
    MOEC_CALL(api, cuMemFreeHost, pinned);
    return {};
  }));
  MOEC_TRY(growthUnderLoad());
  MOEC_CALL(api, cuLibraryUnload, loaded[1]);
  return {};
}

/// Compiles the same text again: much faster than at first means that NVRTC has kept it.
Status Experiments::nvrtcCache() {
  // A text of its own, so that no earlier run has left it somewhere; the first compile also warms the library up.
  const std::string text =
      fmt::format("{}\n// {}\n", kernelText, std::chrono::steady_clock::now().time_since_epoch().count());
  for (const char *name : {"NVRTC, a text never seen", "NVRTC, the same text again", "NVRTC, and again"}) {
    Status status;
    const double took = microseconds([&] { status = compileText(text).status(); });
    MOEC_TRY(status);
    say(name, took / 1000, "ms", "");
  }
  return {};
}

Status Experiments::run(const std::string &jsonPath) {
  MOEC_TRY(open());
  MOEC_TRY(compileTexts());
  MOEC_TRY(loading());
  MOEC_TRY(graphUpdates());
  MOEC_TRY(instantiation());
  MOEC_TRY(growth());
  MOEC_TRY(counting());
  MOEC_TRY(underLoad());
  MOEC_TRY(nvrtcCache());
  MOEC_CALL(api, cuLibraryUnload, library);
  MOEC_CALL(api, cuStreamDestroy, busy);
  MOEC_CALL(api, cuStreamDestroy, side);
  MOEC_CALL(api, cuDevicePrimaryCtxRelease, device);
  if (jsonPath.empty())
    return {};
  std::ofstream file(jsonPath);
  file << facts.dump(2) << '\n';
  file.close();
  return file ? Status() : makeError(Code::Failure, "cannot write {}", jsonPath);
}

} // namespace

Status settleFacts(const std::string &jsonPath) { return Experiments().run(jsonPath); }

} // namespace moec::bench
