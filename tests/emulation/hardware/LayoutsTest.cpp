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

using Dumps = std::map<std::string, Words>;

template <Element E, uint32_t... N> void emulateWgmmas(Dumps &all, std::integer_sequence<uint32_t, N...>) {
  const char *element = E == Element::BF16 ? "BF16" : "F16";
  ((all[fmt::format("wgmma-{}-n{}", element, N)] = emulateWgmma<E, N>()), ...);
}

template <Element E> void emulateElement(Dumps &all) {
  // Every Wgmma of ptx/Wgmma.cuh.
  emulateWgmmas<E>(
      all,
      std::integer_sequence<uint32_t, 8, 16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256>());
  all[E == Element::BF16 ? "mma-BF16" : "mma-F16"] =
      emulate(32, 128, 0, [](DeviceMemory &, int32_t *out) { layoutMma<E>(out); });
}

/// What tools/bench/gpu/Layouts.cpp dumps on a GPU, under the same names.
Dumps emulateAll() {
  Dumps all = {
      {"ldmatrix", emulate(32, 128, 0, [](DeviceMemory &, int32_t *out) { layoutLdmatrix(asWords(out)); })},
      {"movmatrix", emulate(32, 32, 0, [](DeviceMemory &, int32_t *out) { layoutMovmatrix(asWords(out)); })},
      {"stmatrix-2", emulate(32, 128, 0, [](DeviceMemory &, int32_t *out) { layoutStmatrix<2>(asWords(out)); })},
      {"stmatrix-4", emulate(32, 128, 0, [](DeviceMemory &, int32_t *out) { layoutStmatrix<4>(asWords(out)); })},
      {"tma", emulateTma<layouts::Boxes::Experts>()},
      {"tma-rows", emulateTma<layouts::Boxes::Rows>()},
      {"tma-interleaved", emulateTma<layouts::Boxes::Interleaved>()},
      {"tma-store", emulateTmaStore()}};
  emulateElement<Element::BF16>(all);
  emulateElement<Element::F16>(all);
  return all;
}

/// A layout's words in `dump`: an array, or the first words of each thread of another (README.md).
Words wordsOf(const nlohmann::json &dump, const std::string &name) {
  const nlohmann::json &entry = dump.at(name);
  if (entry.is_array())
    return entry.get<Words>();
  const Words longer = dump.at(entry.at("like").get<std::string>()).get<Words>();
  const size_t threads = entry.at("threads"), mine = entry.at("words").get<size_t>() / threads;
  Words words;
  for (size_t t = 0; t < threads; ++t) {
    const auto first = longer.begin() + t * (longer.size() / threads);
    words.insert(words.end(), first, first + mine);
  }
  return words;
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
  const Dumps emulated = emulateAll();
  std::set<std::string> missing; // from every dump: an older one has fewer layouts
  for (const auto &[name, words] : emulated)
    missing.insert(name);
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
    REQUIRE(dump["schema_version"] == 2);
    for (const auto &[name, words] : emulated) {
      INFO(name);
      if (!dump.contains(name))
        continue;
      CHECK(wordsOf(dump, name) == words);
      missing.erase(name);
    }
  }
  CHECK(dumps > 0);
  CHECK(missing.empty());
}
