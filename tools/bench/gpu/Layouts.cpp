#include "tools/bench/gpu/Layouts.h"

#include "compiler/jit/EmbeddedKernels.h"
#include "compiler/jit/Nvrtc.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace moec {

std::span<const EmbeddedHeader> embeddedLayouts(); // made by EmbedKernels.cmake

namespace bench {
namespace {

enum class Map : uint8_t { None, Experts, Rows, Interleaved, Out };

struct Layout {
  std::string name, kernel;
  uint32_t threads, words, sharedBytes = 0;
  Map map = Map::None;
};

// Of every Wgmma in ptx/Wgmma.cuh; the widest first: the others are told by it (encode).
constexpr uint32_t wgmmaWidths[] = {256, 240, 224, 208, 192, 176, 160, 144, 128, 112, 96, 80, 64, 48, 32, 16, 8};
constexpr uint32_t tmaK = 72, tmaRows = 20, tmaExperts = 2, tmaPairRows = 16; // layouts.cuh

std::vector<Layout> allLayouts() {
  std::vector<Layout> all = {{"ldmatrix", "moec::layoutLdmatrix", 32, 128},
                             {"stmatrix-2", "moec::layoutStmatrix<2u>", 32, 128},
                             {"stmatrix-4", "moec::layoutStmatrix<4u>", 32, 128},
                             {"movmatrix", "moec::layoutMovmatrix", 32, 32}};
  for (const char *element : {"BF16", "F16"}) {
    all.push_back(
        {fmt::format("mma-{}", element), fmt::format("moec::layoutMma<moec::Element::{}>", element), 32, 128});
    for (uint32_t n : wgmmaWidths)
      all.push_back({fmt::format("wgmma-{}-n{}", element, n),
                     fmt::format("moec::layoutWgmma<moec::Element::{}, {}u>", element, n), 128, 64 * n,
                     320 * 128 + 1024});
  }
  const auto boxes = [&](const char *name, const char *form, uint32_t rows, Map map) {
    all.push_back({name, fmt::format("moec::layoutTma<moec::layouts::Boxes::{}>", form), 128, 2 * rows * 32,
                   2 * rows * 128 + 1024, map});
  };
  boxes("tma", "Experts", 16, Map::Experts);
  boxes("tma-rows", "Rows", 16, Map::Rows);
  boxes("tma-interleaved", "Interleaved", 32, Map::Interleaved);
  all.push_back({"tma-store", "moec::layoutTmaStore", 128, tmaRows * tmaK / 2, 2 * 16 * 128 + 1024, Map::Out});
  return all;
}

/// The elements that boxes are read from: number i has the bits i.
Result<Buffer> tmaElements(Device &device) {
  std::vector<uint16_t> elements(tmaK * tmaRows * tmaExperts);
  for (size_t i = 0; i < elements.size(); ++i)
    elements[i] = static_cast<uint16_t>(i);
  return device.uploaded(elements);
}

Result<CUtensorMap> makeMap(Device &device, Map map, const Buffer &elements, const Buffer &out) {
  const uint64_t from = elements.address();
  constexpr uint64_t matrix = uint64_t{tmaK} * tmaRows;
  switch (map) {
  case Map::None: return CUtensorMap{};
  case Map::Experts: return device.tensorMap(weightTensor(Element::BF16, from, tmaK, tmaRows, tmaExperts, matrix, 16));
  case Map::Rows: return device.tensorMap(rowTensor(Element::BF16, from, tmaK, tmaRows * tmaExperts, 16));
  case Map::Interleaved:
    return device.tensorMap(
        interleavedTensor(Element::BF16, from, from + matrix * 2, tmaK, tmaPairRows, 1, 2 * matrix, 2));
  case Map::Out: return device.tensorMap(rowTensor(Element::BF16, out.address(), tmaK, tmaRows, 16));
  }
  return CUtensorMap{};
}

Result<std::vector<int32_t>> runLayout(Device &device, Bundle &bundle, const Layout &layout) {
  Result<Kernel> kernel = bundle.kernel("layout-" + layout.name, layout.sharedBytes);
  MOEC_TRY(kernel.status());
  Result<Buffer> out = device.uploaded(std::vector<int32_t>(layout.words, -1)), elements = tmaElements(device);
  MOEC_TRY(out.status());
  MOEC_TRY(elements.status());
  Result<CUtensorMap> map = makeMap(device, layout.map, *elements, *out);
  MOEC_TRY(map.status());
  void *address = out->as<void>();
  void *mapAndOut[] = {&*map, &address}, *outAlone[] = {&address};
  MOEC_TRY(device.launch(*kernel, {1, layout.threads}, layout.map == Map::None ? outAlone : mapAndOut));
  MOEC_TRY(device.synchronise());
  return device.downloaded<int32_t>(*out, layout.words);
}

/// Whether each thread's words are the first ones of what it has in `longer`.
bool beginsLike(const std::vector<int32_t> &words, const std::vector<int32_t> &longer, uint32_t threads) {
  const size_t mine = words.size() / threads, theirs = longer.size() / threads;
  if (mine > theirs)
    return false;
  for (uint32_t t = 0; t < threads; ++t)
    if (!std::equal(words.begin() + t * mine, words.begin() + (t + 1) * mine, longer.begin() + t * theirs))
      return false;
  return true;
}

/// A layout's words as JSON: all of them, or in which kernel of as many threads each thread has the same and then more.
/// So the sums of wgmma, in which neither the width nor the type changes a number, take one array and not 34.
std::string encode(const Layout &layout, const std::vector<int32_t> &words,
                   const std::vector<std::pair<Layout, std::vector<int32_t>>> &inFull) {
  for (const auto &[other, longer] : inFull)
    if (other.threads == layout.threads && beginsLike(words, longer, layout.threads))
      return fmt::format("{{\"like\": \"{}\", \"threads\": {}, \"words\": {}}}", other.name, layout.threads,
                         words.size());
  return fmt::format("[{}]", fmt::join(words, ","));
}

} // namespace

Status buildLayouts(const std::string &folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error)
    return makeError(Code::Failure, "cannot make {}: {}", folder, error.message());
  Result<Nvrtc> nvrtc = Nvrtc::open();
  MOEC_TRY(nvrtc.status());
  const std::vector<Layout> layouts = allLayouts();
  for (const Layout &layout : layouts) {
    KernelUnit unit;
    unit.kernels = {layout.kernel};
    NvrtcOptions options{.target = "sm_90a", .ptx = false};
    options.moreHeaders = embeddedLayouts();
    Result<CompiledUnit> compiled = nvrtc->compile(unit, options);
    MOEC_TRY(compiled.status());
    MOEC_TRY(writeKernel(folder, "layout-" + layout.name, compiled->cubin, compiled->loweredNames[0]));
  }
  fmt::print("{} layout kernels\n", layouts.size());
  return {};
}

Status dumpLayouts(Device &device, Bundle &bundle, const std::string &jsonPath) {
  if (device.computeCapability() != 90)
    return makeError(Code::DeviceMissing, "layouts are those of sm_90; this is an sm_{}", device.computeCapability());
  std::ofstream file(jsonPath);
  file << fmt::format("{{\"schema\": \"moec.layouts\", \"schema_version\": 2, \"device\": \"{}\"", device.name());
  std::vector<std::pair<Layout, std::vector<int32_t>>> inFull;
  for (const Layout &layout : allLayouts()) {
    Result<std::vector<int32_t>> words = runLayout(device, bundle, layout);
    if (!words)
      return words.status().withContext("{}", layout.name);
    const std::string encoded = encode(layout, *words, inFull);
    file << fmt::format(",\n\"{}\": {}", layout.name, encoded);
    if (encoded.front() == '[')
      inFull.emplace_back(layout, std::move(*words));
  }
  file << "}\n";
  file.close();
  return file ? Status() : makeError(Code::Failure, "cannot write {}", jsonPath);
}

} // namespace bench
} // namespace moec
