#include "tests/emulation/machine/Cuda.h"

#include "tests/emulation/Schedules.h"
#include "tests/emulation/hardware/layouts.cuh"
#include "tests/emulation/machine/TensorMap.h"

#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

using namespace moec;
using namespace moec::emulation;

namespace {

using Words = std::vector<int32_t>;

template <class Kernel> Words emulate(uint32_t threads, uint32_t words, uint32_t sharedBytes, Kernel kernel) {
  DeviceMemory device;
  int32_t *out = device.output<int32_t>(words);
  const LaunchShape shape{.blocks = 1, .threads = threads, .sharedBytes = sharedBytes, .dynamicShared = unaligned};
  const auto failure = launch(device, shape, 1, [&] { kernel(device, out); });
  INFO(messageOf(failure));
  REQUIRE_FALSE(failure);
  return DeviceMemory::values(out, words);
}

template <Element E, uint32_t N> Words emulateWgmma() {
  return emulate(128, 64 * N, layouts::wgmmaRows * 128 + 1024,
                 [](DeviceMemory &, int32_t *out) { layoutWgmma<E, N>(out); });
}

Box boxes(const uint16_t *from, std::initializer_list<uint64_t> strides, std::initializer_list<uint32_t> sizes,
          std::initializer_list<uint16_t> box) {
  Box made{.magic = boxMagic, .base = reinterpret_cast<const uint8_t *>(from)};
  std::copy(strides.begin(), strides.end(), made.stride);
  std::copy(sizes.begin(), sizes.end(), made.size);
  std::copy(box.begin(), box.end(), made.box);
  made.rank = static_cast<uint16_t>(sizes.size());
  return made;
}

template <layouts::Boxes B> Words emulateTma() {
  using namespace layouts;
  DeviceMemory device;
  std::vector<uint16_t> elements(tmaK * tmaRows * tmaExperts);
  for (size_t i = 0; i < elements.size(); ++i)
    elements[i] = static_cast<uint16_t>(i);
  const uint16_t *from = device.constant(elements);
  constexpr uint64_t row = tmaK * 2, matrix = row * tmaRows;
  const TensorMap map =
      tensorMap<TensorMap>(B == Boxes::Experts ? boxes(from, {2, row, matrix}, {tmaK, tmaRows, tmaExperts}, {64, 16, 1})
                           : B == Boxes::Rows  ? boxes(from, {2, row}, {tmaK, tmaRows * tmaExperts}, {64, 16})
                                               : boxes(from, {2, row, matrix, 8 * row, 2 * matrix},
                                                       {tmaK, 8, 2, tmaPairRows / 8, 1}, {64, 8, 2, 2, 1}));
  const uint32_t words = 2 * boxRows(B) * 32;
  uint32_t *out = device.output<uint32_t>(words);
  const LaunchShape shape{
      .blocks = 1, .threads = 128, .sharedBytes = 2 * boxRows(B) * 128 + 1024, .dynamicShared = unaligned};
  const auto failure = launch(device, shape, 1, [&] { layoutTma<B>(map, out); });
  INFO(messageOf(failure));
  REQUIRE_FALSE(failure);
  return {out, out + words};
}

Words emulateTmaStore() {
  using namespace layouts;
  DeviceMemory device;
  const uint32_t words = tmaRows * tmaK / 2;
  uint32_t *out = device.output<uint32_t>(words);
  const TensorMap map =
      tensorMap<TensorMap>(boxes(reinterpret_cast<const uint16_t *>(out), {2, tmaK * 2}, {tmaK, tmaRows}, {64, 16}));
  const LaunchShape shape{.blocks = 1, .threads = 128, .sharedBytes = 2 * 16 * 128 + 1024, .dynamicShared = unaligned};
  const auto failure = launch(device, shape, 1, [&] { layoutTmaStore(map, out); });
  INFO(messageOf(failure));
  REQUIRE_FALSE(failure);
  return {out, out + words};
}

uint32_t *asWords(int32_t *out) { return reinterpret_cast<uint32_t *>(out); }

/// What tools/bench/gpu/Layouts.cpp dumps on a GPU, under the same names.
std::map<std::string, Words> emulateAll() {
  constexpr Element BF16 = Element::BF16, F16 = Element::F16;
  return {{"ldmatrix", emulate(32, 128, 0, [](DeviceMemory &, int32_t *out) { layoutLdmatrix(asWords(out)); })},
          {"movmatrix", emulate(32, 32, 0, [](DeviceMemory &, int32_t *out) { layoutMovmatrix(asWords(out)); })},
          {"mma-BF16", emulate(32, 128, 0, [](DeviceMemory &, int32_t *out) { layoutMma<Element::BF16>(out); })},
          {"mma-F16", emulate(32, 128, 0, [](DeviceMemory &, int32_t *out) { layoutMma<Element::F16>(out); })},
          {"wgmma-BF16-n8", emulateWgmma<BF16, 8>()},
          {"wgmma-BF16-n16", emulateWgmma<BF16, 16>()},
          {"wgmma-BF16-n32", emulateWgmma<BF16, 32>()},
          {"wgmma-BF16-n64", emulateWgmma<BF16, 64>()},
          {"wgmma-F16-n64", emulateWgmma<F16, 64>()},
          {"wgmma-BF16-n128", emulateWgmma<BF16, 128>()},
          {"wgmma-BF16-n256", emulateWgmma<BF16, 256>()},
          {"stmatrix-2", emulate(32, 128, 0, [](DeviceMemory &, int32_t *out) { layoutStmatrix<2>(asWords(out)); })},
          {"stmatrix-4", emulate(32, 128, 0, [](DeviceMemory &, int32_t *out) { layoutStmatrix<4>(asWords(out)); })},
          {"wgmma-BF16-n48", emulateWgmma<BF16, 48>()},
          {"wgmma-BF16-n208", emulateWgmma<BF16, 208>()},
          {"tma", emulateTma<layouts::Boxes::Experts>()},
          {"tma-rows", emulateTma<layouts::Boxes::Rows>()},
          {"tma-interleaved", emulateTma<layouts::Boxes::Interleaved>()},
          {"tma-store", emulateTmaStore()}};
}

} // namespace

TEST_CASE("the layout kernels run under emulation", "[emulation][layouts]") {
  for (const auto &[name, words] : emulateAll()) {
    INFO(name);
    CHECK_FALSE(words.empty());
  }
}

TEST_CASE("a box is swizzled where it lands, and zero outside of its tensor", "[emulation][layouts]") {
  const Words words = emulateTma<layouts::Boxes::Experts>();
  const auto element = [&](uint32_t box, uint32_t row, uint32_t k) {
    const uint32_t index = box * 16 * 64 + row * 64 + (k / 8 ^ row % 8) * 8 + k % 8;
    return words[index / 2] >> (index % 2 * 16) & 0xffff;
  };
  CHECK(element(0, 0, 0) == 2 * 72);
  CHECK(element(0, 5, 63) == 7 * 72 + 63);
  CHECK(element(1, 3, 7) == (20 + 11) * 72 + 71);
  CHECK(element(1, 3, 8) == 0);  // k = 72
  CHECK(element(1, 12, 0) == 0); // row = 20
}

TEST_CASE("the emulator puts elements where GPUs do", "[emulation][layouts]") {
  const std::map<std::string, Words> emulated = emulateAll();
  std::set<std::string> missing;
  uint32_t dumps = 0;
  for (const auto &entry : std::filesystem::directory_iterator("tests/emulation/hardware")) {
    if (entry.path().extension() != ".json")
      continue;
    ++dumps;
    INFO(entry.path());
    std::ifstream file(entry.path());
    const nlohmann::json dump = nlohmann::json::parse(file, nullptr, false);
    REQUIRE(dump.is_object());
    REQUIRE(dump["schema"] == "moec.layouts");
    for (const auto &[name, words] : emulated) {
      INFO(name);
      if (dump.contains(name))
        CHECK(dump[name].get<Words>() == words);
      else
        missing.insert(name);
    }
  }
  CHECK(dumps > 0);
  CHECK(missing.empty());
}
