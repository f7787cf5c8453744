#include "tools/bench/gpu/Bundle.h"

#include "compiler/jit/Nvrtc.h"

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <thread>

namespace moec::bench {
namespace {

Status writeFile(const std::string &path, const void *bytes, size_t size) {
  std::ofstream file(path, std::ios::binary);
  file.write(static_cast<const char *>(bytes), static_cast<std::streamsize>(size));
  file.close();
  return file ? Status() : makeError(Code::Failure, "cannot write {}", path);
}

Status buildOne(const Nvrtc &nvrtc, const ShippedKernel &kernel, const std::string &folder, const std::string &target,
                std::string &line) {
  const auto start = std::chrono::steady_clock::now();
  Result<CompiledUnit> unit = nvrtc.compile(kernel.unit, {.target = target, .lineInfo = true, .ptx = false});
  if (!unit)
    return unit.status().withContext("{}", kernel.name);
  const ResourceUse &use = unit->resources[0];
  if (use.spillStoreBytes + use.spillLoadBytes > 0 || unit->wgmmaSerialised)
    return makeError(Code::Failure, "{} spills {} bytes{}", kernel.name, use.spillStoreBytes,
                     unit->wgmmaSerialised ? " and serialises wgmma" : "");
  MOEC_TRY(writeKernel(folder, kernel.name, unit->cubin, unit->loweredNames[0]));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  line = fmt::format("{:44} {:3} registers {:5} B stack {:.2f} s", kernel.name, use.registers, use.stackBytes,
                     seconds.count());
  return {};
}

Result<std::vector<uint8_t>> readFile(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  if (!file)
    return makeError(Code::NotFound, "cannot read {}", path);
  return std::vector<uint8_t>(std::istreambuf_iterator<char>(file), {});
}

} // namespace

Status buildBundle(const std::string &folder, const std::string &target, const std::string &part, uint32_t threads) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error)
    return makeError(Code::Failure, "cannot make {}: {}", folder, error.message());
  Result<Nvrtc> nvrtc = Nvrtc::open();
  if (!nvrtc)
    return nvrtc.status();
  std::vector<ShippedKernel> kernels = shippedKernels(target);
  std::erase_if(kernels, [&](const ShippedKernel &kernel) { return kernel.name.find(part) == std::string::npos; });
  std::atomic<size_t> next = 0;
  std::mutex mutex;
  Status failed;
  const auto work = [&] {
    for (size_t i = next++; i < kernels.size(); i = next++) {
      std::string line;
      const Status status = buildOne(*nvrtc, kernels[i], folder, target, line);
      const std::lock_guard lock(mutex);
      if (!status.ok() && failed.ok())
        failed = status;
      if (!line.empty())
        fmt::print("{}\n", line);
    }
  };
  std::vector<std::thread> pool;
  for (uint32_t i = 0; i < threads; ++i)
    pool.emplace_back(work);
  for (std::thread &thread : pool)
    thread.join();
  return failed;
}

Status writeKernel(const std::string &folder, const std::string &name, const std::vector<uint8_t> &cubin,
                   const std::string &loweredName) {
  MOEC_TRY(writeFile(folder + "/" + name + ".cubin", cubin.data(), cubin.size()));
  return writeFile(folder + "/" + name + ".kernel", loweredName.data(), loweredName.size());
}

Result<Kernel> Bundle::kernel(const std::string &name, uint32_t sharedBytes) {
  if (const auto found = loaded.find(name); found != loaded.end())
    return found->second;
  Result<std::vector<uint8_t>> cubin = readFile(folder + "/" + name + ".cubin");
  if (!cubin)
    return cubin.status();
  Result<std::vector<uint8_t>> lowered = readFile(folder + "/" + name + ".kernel");
  if (!lowered)
    return lowered.status();
  Result<Kernel> kernel = device.load(*cubin, std::string(lowered->begin(), lowered->end()), sharedBytes);
  if (!kernel)
    return kernel.status().withContext("{}", name);
  loaded[name] = *kernel;
  return *kernel;
}

} // namespace moec::bench
