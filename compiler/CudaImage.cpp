#include "compiler/CudaImage.h"

#include "compiler/codegen/cuda/LayerKernels.h"
#include "compiler/jit/KernelBuild.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>
#include <set>

using namespace mlir;

namespace moec {
namespace {

/// What stays the same between two kernels that may share an image.
using KernelText = std::pair<std::string, std::string>; // source, instantiation

/// The distinct kernels of a compile, in the order in which launches first name them.
struct Kernels {
  std::vector<KernelJob> jobs;
  std::vector<std::vector<Launch>> launches; // [layers]; `image` of a kernel is the index of its job

  Status add(func::FuncOp layer, const std::string &arch) {
    Result<codegen::CudaLayerCode> code = codegen::cudaCodeOf(layer, arch);
    if (!code)
      return code.status();
    for (size_t launch = 0; launch < code->launches.size(); ++launch)
      for (codegen::LaunchKernel &kernel : code->kernels[launch]) {
        Result<uint32_t> index = indexOf(std::move(kernel.job));
        if (!index)
          return index.status();
        kernel.ref.image = *index;
        code->launches[launch].kernels.push_back(std::move(kernel.ref));
      }
    launches.push_back(std::move(code->launches));
    return {};
  }

private:
  Result<uint32_t> indexOf(KernelJob job) {
    Result<std::string> source = unitSource(job.unit);
    if (!source)
      return source.status();
    auto [known, isNew] =
        indices.try_emplace(KernelText(*source, job.unit.kernels.at(0)), static_cast<uint32_t>(jobs.size()));
    if (isNew) {
      makeUnique(job.name);
      jobs.push_back(std::move(job));
    }
    return known->second;
  }

  /// Kernels that differ in their activation alone have one name, and files are named after it.
  void makeUnique(std::string &name) {
    const std::string plain = name;
    for (int number = 2; !names.insert(name).second; ++number)
      name = fmt::format("{}-{}", plain, number);
  }

  std::map<KernelText, uint32_t> indices;
  std::set<std::string> names;
};

Result<Kernels> kernelsOf(const std::vector<func::FuncOp> &layers, const std::string &arch) {
  Kernels kernels;
  for (func::FuncOp layer : layers)
    if (Status status = kernels.add(layer, arch); !status.ok())
      return status.withContext("{}", layer.getName().str());
  return kernels;
}

KernelBuildHooks buildHooks(const CompileHooks &hooks) {
  return {hooks.cancelled, hooks.findImage, hooks.putImage, hooks.findNvrtc, hooks.putNvrtc};
}

/// The unit as NVRTC gets it, and what it is asked to instantiate.
Result<std::string> cudaText(const KernelJob &job) {
  Result<std::string> source = unitSource(job.unit);
  if (!source)
    return source;
  return fmt::format("// {}: {} threads, {} bytes of dynamic shared memory.\n{}// Instantiated: {}\n", job.name,
                     job.threads, job.dynamicSharedBytes, *source, job.unit.kernels.at(0));
}

} // namespace

Status buildCudaImages(const std::vector<func::FuncOp> &layers, const CompileRequest &request,
                       const CompileHooks &hooks, Package &package) {
  Result<Kernels> kernels = kernelsOf(layers, request.target.arch);
  if (!kernels)
    return kernels.status();
  Result<std::vector<BuiltKernel>> built =
      buildKernels(kernels->jobs, request.target.arch, request.jit, buildHooks(hooks));
  if (!built)
    return built.status();
  for (size_t i = 0; i < built->size(); ++i) {
    BuiltKernel &kernel = (*built)[i];
    if (kernel.built) {
      ++package.kernelsBuilt;
      package.compileMs["nvrtc"] += kernel.resources.compileMs;
    }
    package.images.push_back({.key = std::move(kernel.key),
                              .bytes = std::move(kernel.cubin),
                              .name = kernels->jobs[i].name,
                              .resources = kernel.resources});
  }
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    for (Launch &launch : kernels->launches[layer])
      for (KernelRef &kernel : launch.kernels)
        kernel.symbol = (*built)[kernel.image].symbol;
    package.layers[layer].launches = std::move(kernels->launches[layer]);
  }
  return {};
}

Result<std::string> emitCuda(const std::vector<func::FuncOp> &layers, const CompileRequest &request) {
  Result<Kernels> kernels = kernelsOf(layers, request.target.arch);
  if (!kernels)
    return kernels.status();
  nlohmann::json files = nlohmann::json::array();
  const bool cuda = request.emit == "cuda";
  for (const KernelJob &job : kernels->jobs) {
    Result<std::string> text = cuda ? cudaText(job) : kernelPtx(job, request.target.arch, request.jit);
    if (!text)
      return text;
    files.push_back({{"name", job.name + (cuda ? ".cu" : ".ptx")}, {"text", std::move(*text)}});
  }
  const nlohmann::json json = {{"schema", "moec.emitted-files"}, {"schema_version", 1}, {"files", std::move(files)}};
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

} // namespace moec
