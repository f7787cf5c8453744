// Weights stored as e4m3 with scales and as MXFP4: what `read` makes of them, by the formats'
// definitions in double.
#include "runtime/weights/Convert.h"
#include "runtime/weights/WeightSource.h"
#include "tests/unit/Catch.h"
#include "tests/unit/weights/RawFile.h"

#include <cmath>
#include <limits>

using namespace moec;
using namespace moec::test;
using Catch::Matchers::Contains;

namespace {

constexpr double e2m1[16] = {0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6};

std::vector<float> read(const WeightSource &source, const WeightRef &ref, uint32_t expert) {
  std::vector<float> values(*numPartElements(ref));
  const Status status = source.read(ref, expert, DType::F32, std::as_writable_bytes(std::span(values)));
  INFO(status.message());
  REQUIRE(status.ok());
  return values;
}

Status readStatus(const WeightSource &source, const WeightRef &ref) {
  std::vector<float> values(*numPartElements(ref));
  return source.read(ref, 0, DType::F32, std::as_writable_bytes(std::span(values)));
}

} // namespace

TEST_CASE("every e4m3, e2m1 and e8m0 is the number that its format defines", "[weights][convert]") {
  for (uint32_t bits = 0; bits < 256; ++bits) {
    const auto byte = static_cast<uint8_t>(bits);
    INFO(bits);
    if (std::isnan(e4m3(byte)))
      CHECK(std::isnan(e4m3ToF32(byte)));
    else
      CHECK(static_cast<double>(e4m3ToF32(byte)) == e4m3(byte));
    if (bits == 255)
      CHECK(std::isnan(e8m0ToF32(byte)));
    else
      CHECK(static_cast<double>(e8m0ToF32(byte)) == std::ldexp(1.0, static_cast<int>(bits) - 127));
  }
  CHECK(std::signbit(e4m3ToF32(0x80)));
  CHECK(e4m3ToF32(0x7e) == 448.0f);
  for (uint8_t bits = 0; bits < 16; ++bits)
    CHECK(static_cast<double>(e2m1ToF32(bits)) == e2m1[bits]);
}

TEST_CASE("e4m3 matrices are read times the scales of their blocks", "[weights][source]") {
  constexpr int64_t E = 2, N = 130, K = 300; // two and three blocks, the last ones cut
  for (const ReadMode mode : {ReadMode::Map, ReadMode::Pread}) {
    RawFile file;
    for (int64_t e = 0; e < E; ++e) {
      const std::string name = "m.experts." + std::to_string(e) + ".up_proj.weight";
      std::vector<float> scales = scalesFor(6);
      scales[0] += static_cast<float>(e);
      file.add(name, "F8_E4M3", {N, K}, pattern(N * K, e)).add(name + "_scale_inv", "F32", {2, 3}, scales);
    }
    const auto source = file.open(mode);
    const WeightRef ref{"m.experts.{e}.up_proj.weight", {E, N, K}};
    CHECK(source->check(ref).ok());
    CHECK(source->view(ref, 0, DType::F32) == nullptr);
    for (int64_t e = 0; e < E; ++e) {
      const std::vector<float> values = read(*source, ref, e), scales = scalesFor(6);
      const Bytes stored = pattern(N * K, e);
      for (int64_t n = 0; n < N * K; ++n) {
        const int64_t block = n / K / 128 * 3 + n % K / 128;
        const float scale = scales[block] + (block == 0 ? static_cast<float>(e) : 0.0f);
        REQUIRE(values[n] == static_cast<float>(e4m3(stored[n])) * scale);
      }
    }
    // Narrower, it is rounded once.
    std::vector<uint16_t> brain(N * K);
    REQUIRE(source->read(ref, 1, DType::BF16, std::as_writable_bytes(std::span(brain))).ok());
    const std::vector<float> exact = read(*source, ref, 1);
    for (int64_t n = 0; n < N * K; ++n)
      REQUIRE(brain[n] == f32ToBf16(exact[n]));
  }
}

TEST_CASE("one scale may serve a row or all of a matrix", "[weights][source]") {
  const Bytes stored = pattern(6, 1);
  RawFile file;
  file.add("row", "F8_E4M3", {2, 3}, stored)
      .add("row_scale", "BF16", {2, 1}, std::vector<uint16_t>{f32ToBf16(2), f32ToBf16(0.5)});
  file.add("all", "F8_E4M3", {2, 3}, stored).add("all_scale", "F32", {}, std::vector<float>{3});
  file.add("one", "F8_E4M3", {2, 3}, stored).add("one_scale_inv", "F32", {1}, std::vector<float>{4});
  const auto source = file.open();
  const auto row = read(*source, {"row", {2, 3}}, 0), all = read(*source, {"all", {2, 3}}, 0),
             one = read(*source, {"one", {2, 3}}, 0);
  for (size_t n = 0; n < 6; ++n) {
    const auto value = static_cast<float>(e4m3(stored[n]));
    CHECK(row[n] == value * (n < 3 ? 2.0f : 0.5f));
    CHECK(all[n] == value * 3.0f);
    CHECK(one[n] == value * 4.0f);
  }
}

TEST_CASE("fused e4m3 matrices have their scales fused too", "[weights][source]") {
  constexpr int64_t E = 3, H = 140, I = 100; // up begins amid a block of rows
  const Bytes gateUp = pattern(E * 2 * I * H, 2), down = pattern(E * H * I, 3);
  const std::vector<float> gateUpScales = scalesFor(E * 2 * 2), downScales = scalesFor(E * 2 * 1);
  RawFile file;
  file.add("m.experts.gate_up_proj", "F8_E4M3", {E, 2 * I, H}, gateUp)
      .add("m.experts.gate_up_proj_scale_inv", "F32", {E, 2, 2}, gateUpScales);
  file.add("m.experts.down_proj", "F8_E4M3", {E, H, I}, down)
      .add("m.experts.down_proj_scale_inv", "F32", {E, 2, 1}, downScales);
  const auto source = file.open();
  for (int64_t e = 0; e < E; ++e) {
    for (const bool up : {false, true}) {
      const auto values =
          read(*source, {up ? "m.experts.{e}.up_proj.weight" : "m.experts.{e}.gate_proj.weight", {E, I, H}}, e);
      for (int64_t n = 0; n < I * H; ++n) {
        const int64_t row = n / H + (up ? I : 0), col = n % H;
        const auto value = static_cast<float>(e4m3(gateUp[(e * 2 * I + row) * H + col]));
        REQUIRE(values[n] == value * gateUpScales[e * 4 + row / 128 * 2 + col / 128]);
      }
    }
    const auto values = read(*source, {"m.experts.{e}.down_proj.weight", {E, H, I}}, e);
    for (int64_t n = 0; n < H * I; ++n)
      REQUIRE(values[n] == static_cast<float>(e4m3(down[e * H * I + n])) * downScales[e * 2 + n / I / 128]);
  }
}

TEST_CASE("MXFP4 experts are read as gpt-oss publishes them", "[weights][source]") {
  constexpr int64_t E = 2, H = 64, I = 32;
  Bytes gateUp = pattern(E * 2 * I * H / 2, 4), down = pattern(E * H * I / 2, 5);
  Bytes gateUpScales(E * 2 * I * H / 32), downScales(E * H * I / 32);
  for (size_t n = 0; n < gateUpScales.size(); ++n)
    gateUpScales[n] = static_cast<uint8_t>(120 + n % 9);
  for (size_t n = 0; n < downScales.size(); ++n)
    downScales[n] = static_cast<uint8_t>(119 + n % 7);
  const auto element = [](const Bytes &blocks, const Bytes &scales, int64_t n) {
    const uint8_t four = n % 2 ? blocks[n / 2] >> 4 : blocks[n / 2] & 15;
    return static_cast<float>(std::ldexp(e2m1[four], scales[n / 32] - 127));
  };
  RawFile file;
  file.add("m.experts.gate_up_proj_blocks", "U8", {E, 2 * I, H / 32, 16}, gateUp)
      .add("m.experts.gate_up_proj_scales", "U8", {E, 2 * I, H / 32}, gateUpScales);
  file.add("m.experts.down_proj_blocks", "U8", {E, H, I / 32, 16}, down)
      .add("m.experts.down_proj_scales", "U8", {E, H, I / 32}, downScales);
  for (const ReadMode mode : {ReadMode::Map, ReadMode::Pread}) {
    const auto source = file.open(mode);
    for (int64_t e = 0; e < E; ++e) {
      for (const bool up : {false, true}) {
        const auto values =
            read(*source, {up ? "m.experts.{e}.up_proj.weight" : "m.experts.{e}.gate_proj.weight", {E, I, H}}, e);
        for (int64_t n = 0; n < I * H; ++n) // gate's and up's rows alternate
          REQUIRE(values[n] == element(gateUp, gateUpScales, (e * 2 * I + n / H * 2 + (up ? 1 : 0)) * H + n % H));
      }
      const auto values = read(*source, {"m.experts.{e}.down_proj.weight", {E, H, I}}, e);
      for (int64_t n = 0; n < H * I; ++n)
        REQUIRE(values[n] == element(down, downScales, e * H * I + n));
    }
  }
}

TEST_CASE("quantised weights that do not fit are named", "[weights][source]") {
  RawFile file;
  file.add("bare", "F8_E4M3", {2, 3}, Bytes(6));
  file.add("wrong", "F8_E4M3", {2, 300}, Bytes(600)).add("wrong_scale_inv", "F32", {1, 2}, std::vector<float>(2));
  file.add("bits", "F8_E4M3", {2, 3}, Bytes(6)).add("bits_scale_inv", "U8", {1, 1}, Bytes(1));
  file.add("row", "F8_E4M3", {6}, Bytes(6)).add("row_scale_inv", "F32", {1}, std::vector<float>(1));
  file.add("m.experts.down_proj_blocks", "U8", {2, 4, 1, 16}, Bytes(128));
  file.add("m.experts.gate_up_proj_blocks", "U8", {2, 4, 1, 15}, Bytes(120))
      .add("m.experts.gate_up_proj_scales", "U8", {2, 4, 1}, Bytes(8));
  const auto source = file.open();
  const auto message = [&](const WeightRef &ref) {
    const Status status = readStatus(*source, ref);
    CHECK(status.code() == Code::InvalidModel);
    CHECK(source->check(ref).message() == status.message());
    return status.message();
  };
  CHECK_THAT(message({"bare", {2, 3}}),
             Contains("tensor 'bare'") && Contains("neither 'bare_scale_inv' nor 'bare_scale' is there"));
  CHECK_THAT(message({"wrong", {2, 300}}),
             Contains("tensor 'wrong'") &&
                 Contains("[2, 300] has scales of shape [1, 2]: expected one for 128 by 128 elements"));
  CHECK_THAT(message({"bits", {2, 3}}), Contains("has scales of dtype U8: expected F32, BF16 or F16"));
  CHECK_THAT(message({"row", {6}}), Contains("tensor 'row' has dtype F8_E4M3: expected"));
  CHECK_THAT(message({"m.experts.{e}.down_proj.weight", {2, 4, 32}}),
             Contains("has no tensor 'm.experts.down_proj_scales'"));
  CHECK_THAT(message({"m.experts.{e}.up_proj.weight", {2, 2, 32}}),
             Contains("'m.experts.gate_up_proj_blocks'") &&
                 Contains("expected U8 of shape [2, 4, 1, 16], found U8 of shape [2, 4, 1, 15]"));
  CHECK_THAT(message({"m.experts.{e}.up_proj.weight", {2, 2, 33}}), Contains("blocks of 32, and 33 is no multiple"));
}
