#include "compiler/jit/KernelBuild.h"

#include "compiler/core/ThreadSafety.h"
#include "compiler/jit/NvrtcIdentity.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <tuple>

namespace moec {

namespace {

using Clock = std::chrono::steady_clock;

// sinf keeps 28 bytes for the range reduction of large arguments. Sums that ended up in local memory take more.
constexpr uint32_t localBytesAllowed = 64;

double millisecondsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// One build: the jobs that the cache lacks, taken by threads until there are none or one failed.
class Build {
public:
  Build(const std::vector<KernelJob> &jobs, const std::string &arch, const JitOptions &options,
        const KernelBuildHooks &hooks)
      : jobs(jobs), arch(arch), options(options), hooks(hooks), kernels(jobs.size()) {}

  /// What the cache has of this version's kernels.
  Status lookUp(NvrtcVersion version) {
    missing.clear();
    for (size_t i = 0; i < jobs.size(); ++i) {
      Result<std::string> key = kernelKey(jobs[i], version, {.target = arch, .ptx = false}, options.nvrtcFlags);
      if (!key)
        return key.status().withContext("kernel {}", jobs[i].name);
      kernels[i].key = std::move(*key);
      std::optional<std::vector<uint8_t>> found = hooks.find ? hooks.find(kernels[i].key) : std::nullopt;
      // A damaged artefact is a miss: it is built again and written over.
      if (!found || !readArtefact(*found, kernels[i]).ok())
        missing.push_back(i);
    }
    // The longest first, so that no thread is left alone with one at the end: tiles with much shared memory.
    std::sort(missing.begin(), missing.end(), [&](size_t a, size_t b) {
      return std::tuple(jobs[b].dynamicSharedBytes, a) < std::tuple(jobs[a].dynamicSharedBytes, b);
    });
    return {};
  }

  bool isComplete() const { return missing.empty(); }

  /// Builds what is missing; used once.
  Result<std::vector<BuiltKernel>> run(const Nvrtc *with) {
    nvrtc = with;
    const uint32_t fitting = std::max(1u, options.memoryMib / kJitMibPerThread);
    const size_t numThreads = std::min<size_t>({std::max(1u, options.threads), fitting, missing.size()});
    std::vector<std::thread> others;
    for (size_t i = 1; i < numThreads; ++i)
      others.emplace_back([this] { work(); });
    work();
    for (std::thread &thread : others)
      thread.join();
    Lock lock(mutex);
    if (!error.ok())
      return error;
    return std::move(kernels);
  }

private:
  void work() {
    for (size_t i = next++; i < missing.size() && !failed; i = next++) {
      const size_t index = missing[i];
      Status status = build(jobs[index], kernels[index]);
      Lock lock(mutex);
      if (status.ok() && hooks.put)
        hooks.put(kernels[index].key, writeArtefact(kernels[index]));
      // Another's failure cancels this one; the first is what is told.
      if (!status.ok() && error.ok())
        error = status.withContext("kernel {}", jobs[index].name);
      failed = failed || !status.ok();
    }
  }

  bool cancelled() const { return hooks.cancelled && hooks.cancelled(); }

  Status build(const KernelJob &job, BuiltKernel &kernel) {
    const Clock::time_point start = Clock::now();
    const auto late = [&] { return options.timeoutMs > 0 && millisecondsSince(start) > options.timeoutMs; };
    const NvrtcOptions nvrtcOptions{
        .target = arch, .ptx = false, .cancelled = [&] { return failed || late() || cancelled(); }};
    Result<CompiledUnit> compiled = nvrtc->compile(job.unit, nvrtcOptions);
    if (!compiled && compiled.status().code() == Code::Cancelled && late() && !cancelled())
      return makeError(Code::CompileFailed, "took more than {} ms", options.timeoutMs);
    if (!compiled)
      return compiled.status();
    if (std::string wrong = unfitness(*compiled); !wrong.empty())
      return makeError(Code::CompileFailed, "{} for {} {}", job.unit.kernels.at(0), arch, wrong);
    const ResourceUse &use = compiled->resources.at(0);
    kernel.symbol = compiled->loweredNames.at(0);
    kernel.resources = {.threads = job.threads,
                        .dynamicSharedBytes = job.dynamicSharedBytes,
                        .staticSharedBytes = use.staticSharedBytes,
                        .registers = use.registers,
                        .localBytes = use.stackBytes,
                        .compileMs = millisecondsSince(start)};
    kernel.cubin = std::move(compiled->cubin);
    kernel.built = true;
    return {};
  }

  const std::vector<KernelJob> &jobs;
  const std::string &arch;
  const JitOptions &options;
  const KernelBuildHooks &hooks;
  const Nvrtc *nvrtc = nullptr;
  std::vector<BuiltKernel> kernels; // each written by the thread that took it
  std::vector<size_t> missing;      // fixed before threads start
  std::atomic<size_t> next = 0;
  std::atomic<bool> failed = false;
  Mutex mutex;
  Status error MOEC_GUARDED_BY(mutex);
};

} // namespace

std::string unfitness(const CompiledUnit &compiled) {
  for (const ResourceUse &use : compiled.resources) {
    if (use.spillStoreBytes + use.spillLoadBytes > 0)
      return fmt::format("spills {} bytes to local memory and loads {} back, with {} registers a thread",
                         use.spillStoreBytes, use.spillLoadBytes, use.registers);
    if (use.stackBytes > localBytesAllowed)
      return fmt::format("keeps {} bytes a thread in local memory, with {} registers", use.stackBytes, use.registers);
  }
  return compiled.wgmmaSerialised ? "has wgmma instructions that ptxas serialised" : "";
}

Result<Nvrtc> openNvrtc(const JitOptions &options) {
  Result<Nvrtc> nvrtc = Nvrtc::open({options.nvrtcOnly, options.nvrtcAlso});
  if (nvrtc)
    return nvrtc;
  return makeError(Code::DeviceMissing,
                   "compiling for a GPU needs NVRTC (CUDA 12 or 13): {}; install the toolkit or the Python package "
                   "nvidia-cuda-nvrtc, or say in MOEC_NVRTC_PATH where it is",
                   nvrtc.status().message());
}

Result<std::vector<BuiltKernel>> buildKernels(const std::vector<KernelJob> &jobs, const std::string &arch,
                                              const JitOptions &options, const KernelBuildHooks &hooks) {
  Build build(jobs, arch, options, hooks);
  const std::optional<std::string> searchKey =
      hooks.findNvrtc ? nvrtcSearchKey({options.nvrtcOnly, options.nvrtcAlso}) : std::nullopt;
  std::optional<NvrtcVersion> known;
  if (const auto answer = searchKey ? hooks.findNvrtc(*searchKey) : std::nullopt)
    known = readNvrtcAnswer(*answer);
  if (known) {
    if (Status status = build.lookUp(*known); !status.ok())
      return status;
    if (build.isComplete())
      return build.run(nullptr);
  }
  Result<Nvrtc> nvrtc = openNvrtc(options);
  if (!nvrtc)
    return nvrtc.status();
  if (searchKey && known != nvrtc->version() && hooks.putNvrtc)
    hooks.putNvrtc(*searchKey, writeNvrtcAnswer(*nvrtc));
  if (known != nvrtc->version())
    if (Status status = build.lookUp(nvrtc->version()); !status.ok())
      return status;
  return build.run(&*nvrtc);
}

Result<std::string> kernelPtx(const KernelJob &job, const std::string &arch, const JitOptions &options) {
  Result<Nvrtc> nvrtc = openNvrtc(options);
  if (!nvrtc)
    return nvrtc.status();
  Result<CompiledUnit> compiled = nvrtc->compile(job.unit, {.target = arch, .cubin = false});
  if (!compiled)
    return compiled.status().withContext("kernel {}", job.name);
  return std::move(compiled->ptx);
}

} // namespace moec
