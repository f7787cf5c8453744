#include "tools/bench/gpu/Layouts.h"

#include "compiler/jit/EmbeddedKernels.h"
#include "compiler/jit/Nvrtc.h"

#include <filesystem>
#include <fstream>

namespace moec {

std::span<const EmbeddedHeader> embeddedLayouts(); // made by EmbedKernels.cmake

namespace bench {
namespace {

struct Layout {
  std::string name, kernel;
  uint32_t threads, words, sharedBytes = 0;
};

std::vector<Layout> allLayouts() {
  std::vector<Layout> all = {{"ldmatrix", "moec::layoutLdmatrix", 32, 128},
                             {"movmatrix", "moec::layoutMovmatrix", 32, 32}};
  for (const char *element : {"BF16", "F16"}) {
    all.push_back(
        {fmt::format("mma-{}", element), fmt::format("moec::layoutMma<moec::Element::{}>", element), 32, 128});
    for (uint32_t n : {8u, 16u, 32u, 64u, 128u, 256u})
      if (element == std::string("BF16") || n == 64) // the type changes no place: once is enough
        all.push_back({fmt::format("wgmma-{}-n{}", element, n),
                       fmt::format("moec::layoutWgmma<moec::Element::{}, {}u>", element, n), 128, 64 * n,
                       320 * 128 + 1024});
  }
  all.push_back({"tma", "moec::layoutTma", 128, 2 * 16 * 32, 2 * 16 * 128 + 1024});
  return all;
}

/// The tensor that `tma` reads (layouts.cuh): element i has the bits i.
Result<Buffer> tmaTensor(Device &device, CUtensorMap &map) {
  constexpr uint32_t k = 72, rows = 20, experts = 2, boxRows = 16;
  std::vector<uint16_t> elements(k * rows * experts);
  for (size_t i = 0; i < elements.size(); ++i)
    elements[i] = static_cast<uint16_t>(i);
  Result<Buffer> buffer = device.uploaded(elements);
  MOEC_TRY(buffer.status());
  Result<CUtensorMap> made = device.weightMap(buffer->as<void>(), true, k, rows, experts, int64_t{k} * rows, boxRows);
  MOEC_TRY(made.status());
  map = *made;
  return buffer;
}

Result<std::vector<int32_t>> runLayout(Device &device, Bundle &bundle, const Layout &layout) {
  Result<Kernel> kernel = bundle.kernel("layout-" + layout.name, layout.sharedBytes);
  MOEC_TRY(kernel.status());
  Result<Buffer> out = device.uploaded(std::vector<int32_t>(layout.words, -1));
  MOEC_TRY(out.status());
  CUtensorMap map{};
  Result<Buffer> tensor = tmaTensor(device, map);
  MOEC_TRY(tensor.status());
  void *address = out->as<void>();
  void *mapAndOut[] = {&map, &address}, *outAlone[] = {&address};
  MOEC_TRY(device.launch(*kernel, {1, layout.threads}, layout.name == "tma" ? mapAndOut : outAlone));
  MOEC_TRY(device.synchronise());
  return device.downloaded<int32_t>(*out, layout.words);
}

} // namespace

Status buildLayouts(const std::string &folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error)
    return makeError(Code::Failure, "cannot make {}: {}", folder, error.message());
  Result<Nvrtc> nvrtc = Nvrtc::open();
  MOEC_TRY(nvrtc.status());
  KernelUnit unit;
  const std::vector<Layout> layouts = allLayouts();
  for (const Layout &layout : layouts)
    unit.kernels.push_back(layout.kernel);
  NvrtcOptions options{.target = "sm_90a", .ptx = false};
  options.moreHeaders = embeddedLayouts();
  Result<CompiledUnit> compiled = nvrtc->compile(unit, options);
  MOEC_TRY(compiled.status());
  for (size_t i = 0; i < layouts.size(); ++i)
    MOEC_TRY(writeKernel(folder, "layout-" + layouts[i].name, compiled->cubin, compiled->loweredNames[i]));
  fmt::print("{} layout kernels\n", layouts.size());
  return {};
}

Status dumpLayouts(Device &device, Bundle &bundle, const std::string &jsonPath) {
  if (device.computeCapability() != 90)
    return makeError(Code::DeviceMissing, "layouts are those of sm_90; this is an sm_{}", device.computeCapability());
  std::ofstream file(jsonPath);
  file << fmt::format("{{\"schema\": \"moec.layouts\", \"schema_version\": 1, \"device\": \"{}\"", device.name());
  for (const Layout &layout : allLayouts()) {
    Result<std::vector<int32_t>> words = runLayout(device, bundle, layout);
    if (!words)
      return words.status().withContext("{}", layout.name);
    file << fmt::format(",\n\"{}\": [{}]", layout.name, fmt::join(*words, ","));
  }
  file << "}\n";
  file.close();
  return file ? Status() : makeError(Code::Failure, "cannot write {}", jsonPath);
}

} // namespace bench
} // namespace moec
