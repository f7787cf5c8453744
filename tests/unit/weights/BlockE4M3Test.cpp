// Weights as e4m3 with the scales of 128 by 128 elements: as stored, quantised from what is stored otherwise, and
// drawn.
#include "runtime/weights/CheckpointWeights.h"
#include "runtime/weights/Convert.h"
#include "runtime/weights/RandomWeights.h"
#include "tests/unit/weights/E4M3Blocks.h"

#include <filesystem>
#include <initializer_list>
#include <thread>

using namespace moec;
using namespace moec::test;
using Catch::Matchers::Contains;

namespace {

Blocks readBlocks(const WeightSource &source, const WeightRef &ref, uint32_t expert) {
  Blocks blocks = roomFor(ref);
  const Status status = source.readBlockE4M3(ref, expert, blocks.elements, blocks.scales);
  INFO(status.message());
  REQUIRE(status.ok());
  return blocks;
}

template <typename T = float>
std::vector<T> read(const WeightSource &source, const WeightRef &ref, uint32_t expert, DType want = DType::F32) {
  std::vector<T> values(*numPartElements(ref));
  const Status status = source.read(ref, expert, want, std::as_writable_bytes(std::span(values)));
  INFO(status.message());
  REQUIRE(status.ok());
  return values;
}

WeightRef marked(WeightRef ref) {
  ref.format = WeightFormat::BlockE4M3;
  return ref;
}

std::vector<uint16_t> asBf16(const std::vector<float> &values) {
  std::vector<uint16_t> narrow(values.size());
  std::transform(values.begin(), values.end(), narrow.begin(), f32ToBf16);
  return narrow;
}

} // namespace

TEST_CASE("an e4m3 checkpoint's codes and scales are delivered bit by bit", "[weights][source]") {
  const auto folder = std::filesystem::path(__FILE__).parent_path() / "../../golden/deepseek_v3_fp8";
  for (const ReadMode mode : {ReadMode::Map, ReadMode::Pread}) {
    const auto source = openWeights(folder.string(), mode);
    const Result<Checkpoint> checkpoint = Checkpoint::open(folder.string(), {.mode = mode});
    REQUIRE(source);
    REQUIRE(checkpoint);
    const auto bytesOfTensor = [&](const std::string &name) {
      const std::optional<TensorSpan> tensor = checkpoint->find(name);
      REQUIRE(tensor);
      std::vector<std::byte> bytes(tensor->byteSize);
      REQUIRE(tensor->read(0, bytes).ok());
      return bytes;
    };
    for (const auto &[role, shape] : {std::pair<std::string, std::vector<int64_t>>{"gate", {3, 128, 256}},
                                      {"up", {3, 128, 256}},
                                      {"down", {3, 256, 128}}})
      for (const WeightFormat format : {WeightFormat::Plain, WeightFormat::BlockE4M3})
        for (uint32_t expert = 0; expert < 3; ++expert) {
          const WeightRef ref{"model.layers.0.mlp.experts.{e}." + role + "_proj.weight", shape, DType::BF16, format};
          CHECK((*source)->check(ref).ok());
          const Blocks blocks = readBlocks(**source, ref, expert);
          const std::vector<std::byte> stored = bytesOfTensor(tensorName(ref, expert)),
                                       scales = bytesOfTensor(tensorName(ref, expert) + "_scale_inv");
          CHECK(std::ranges::equal(std::as_bytes(std::span(blocks.elements)), stored));
          CHECK(std::ranges::equal(std::as_bytes(std::span(blocks.scales)), scales));
          const std::vector<float> values = read(**source, ref, expert);
          for (uint64_t n = 0; n < values.size(); ++n)
            REQUIRE(values[n] == blocks.value(n));
        }
  }
}

TEST_CASE("stored scales of other dtypes or of a whole matrix serve as they are", "[weights][source]") {
  constexpr int64_t N = 200, K = 300; // 2 by 3 blocks
  Bytes stored = pattern(N * K, 1);
  stored[7] = 0xff; // NaN, with its sign
  std::vector<float> scales(6);
  for (size_t n = 0; n < 6; ++n)
    scales[n] = std::ldexp(1.0f + static_cast<float>(n) / 8, -static_cast<int>(n));
  std::vector<uint16_t> brain = asBf16(scales), half(6);
  std::transform(scales.begin(), scales.end(), half.begin(), f32ToF16);
  RawFile file;
  file.add("brain", "F8_E4M3", {N, K}, stored).add("brain_scale_inv", "BF16", {2, 3}, brain);
  file.add("half", "F8_E4M3", {N, K}, stored).add("half_scale", "F16", {2, 3}, half);
  file.add("all", "F8_E4M3", {N, K}, stored).add("all_scale", "F32", {}, std::vector<float>{3});
  file.add("cols", "F8_E4M3", {N, K}, stored).add("cols_scale", "F32", {1, 3}, std::vector<float>{5, 6, 7});
  file.add("rows", "F8_E4M3", {N, K}, stored).add("rows_scale", "F32", {2, 1}, std::vector<float>{8, 9});
  const auto source = file.open();
  const auto scalesRead = [&](const char *name) {
    const Blocks blocks = readBlocks(*source, {name, {N, K}}, 0);
    CHECK(blocks.elements == stored);
    return blocks.scales;
  };
  CHECK(scalesRead("brain") == scales);
  CHECK(scalesRead("half") == scales);
  CHECK(scalesRead("all") == std::vector<float>(6, 3));
  CHECK(scalesRead("cols") == std::vector<float>{5, 6, 7, 5, 6, 7});
  CHECK(scalesRead("rows") == std::vector<float>{8, 8, 8, 9, 9, 9});
}

TEST_CASE("fused e4m3 matrices are delivered as stored where up begins with a block", "[weights][source]") {
  constexpr int64_t E = 2, H = 140;
  for (const int64_t I : {100, 128, 256}) {
    INFO("I = " << I);
    const int64_t gateUpBlocks = (2 * I + 127) / 128, downBlocks = (I + 127) / 128;
    const Bytes gateUp = pattern(E * 2 * I * H, 2), down = pattern(E * H * I, 3);
    const std::vector<float> gateUpScales = scalesFor(E * gateUpBlocks * 2), downScales = scalesFor(E * 2 * downBlocks);
    RawFile file;
    file.add("m.experts.gate_up_proj", "F8_E4M3", {E, 2 * I, H}, gateUp)
        .add("m.experts.gate_up_proj_scale_inv", "F32", {E, gateUpBlocks, 2}, gateUpScales);
    file.add("m.experts.down_proj", "F8_E4M3", {E, H, I}, down)
        .add("m.experts.down_proj_scale_inv", "F32", {E, 2, downBlocks}, downScales);
    const auto source = file.open();
    for (int64_t e = 0; e < E; ++e) {
      for (const bool up : {false, true}) {
        const WeightRef ref{up ? "m.experts.{e}.up_proj.weight" : "m.experts.{e}.gate_proj.weight", {E, I, H}};
        const Blocks blocks = readBlocks(*source, ref, e);
        if (up && I % 128) {
          const auto stored = std::span(gateUp).subspan((e * 2 + 1) * I * H, I * H);
          CHECK_FALSE(std::ranges::equal(blocks.elements, stored));
          requireQuantised(blocks, read(*source, ref, e));
          continue;
        }
        const auto numScales = static_cast<std::ptrdiff_t>(blocks.scales.size());
        const auto first = gateUpScales.begin() + e * gateUpBlocks * 2 + (up ? I / 128 * 2 : 0);
        CHECK(blocks.scales == std::vector<float>(first, first + numScales));
        const auto from = gateUp.begin() + (e * 2 + (up ? 1 : 0)) * I * H;
        CHECK(blocks.elements == Bytes(from, from + I * H));
      }
      const Blocks blocks = readBlocks(*source, {"m.experts.{e}.down_proj.weight", {E, H, I}}, e);
      CHECK(blocks.elements == Bytes(down.begin() + e * H * I, down.begin() + (e + 1) * H * I));
      const auto first = downScales.begin() + e * 2 * downBlocks;
      CHECK(blocks.scales == std::vector<float>(first, first + 2 * downBlocks));
    }
  }
}

TEST_CASE("what is stored otherwise is quantised from what is read", "[weights][source]") {
  constexpr int64_t N = 200, K = 160, E = 2, I = 160;
  const std::vector<float> values = drawn(N * K, 4);
  RawFile file;
  file.add("wide", "F32", {N, K}, values).add("brain", "BF16", {N, K}, asBf16(values));
  file.add("row", "F8_E4M3", {N, K}, pattern(N * K, 6)).add("row_scale", "F32", {N, 1}, scalesFor(N));
  file.add("t.experts.gate_up_proj", "BF16", {E, K, 2 * N}, asBf16(drawn(E * K * 2 * N, 9))); // transposed
  Bytes mxScales(E * 2 * I * K / 32);
  for (size_t n = 0; n < mxScales.size(); ++n)
    mxScales[n] = static_cast<uint8_t>(120 + n % 9);
  file.add("x.experts.gate_up_proj_blocks", "U8", {E, 2 * I, K / 32, 16}, pattern(E * I * K, 7))
      .add("x.experts.gate_up_proj_scales", "U8", {E, 2 * I, K / 32}, mxScales);
  for (const ReadMode mode : {ReadMode::Map, ReadMode::Pread}) {
    const auto source = file.open(mode);
    for (const WeightRef &ref :
         {WeightRef{"wide", {N, K}}, WeightRef{"brain", {N, K}}, WeightRef{"row", {N, K}},
          WeightRef{"t.experts.{e}.up_proj.weight", {E, N, K}}, WeightRef{"x.experts.{e}.up_proj.weight", {E, I, K}}})
      for (uint32_t expert = 0; expert < (isPerExpert(ref) ? E : 1); ++expert) {
        INFO(ref.name << " of expert " << expert);
        CHECK(source->check(marked(ref)).ok());
        const std::vector<float> plain = read(*source, ref, expert);
        CHECK(read(*source, marked(ref), expert) == plain); // a mark does not change what a checkpoint holds
        requireQuantised(readBlocks(*source, marked(ref), expert), plain);
        CHECK(readBlocks(*source, ref, expert).elements == readBlocks(*source, marked(ref), expert).elements);
      }
  }
}

TEST_CASE("a part without elements has neither codes nor scales", "[weights][source]") {
  RawFile file;
  file.add("none", "BF16", {0, 5}, std::vector<uint16_t>{})
      .add("thin", "F8_E4M3", {5, 0}, Bytes{})
      .add("thin_scale", "F32", {1, 0}, Bytes{});
  const auto source = file.open();
  CHECK(readBlocks(*source, {"none", {0, 5}}, 0).scales.empty());
  CHECK(readBlocks(*source, {"thin", {5, 0}}, 0).scales.empty());
  CHECK(readBlocks(RandomWeights({.seed = 1}), marked({"any", {0, 5}}), 0).scales.empty());
}

TEST_CASE("a random weight of e4m3 is read as codes times scales, whatever it is read as", "[weights][random]") {
  RandomWeights source({.seed = 3});
  for (const DType dtype : {DType::BF16, DType::F16, DType::F32}) {
    const WeightRef ref = marked({"m.experts.{e}.up_proj.weight", {2, 200, 300}, dtype});
    CHECK(source.check(ref).ok());
    CHECK(source.view(ref, 0, dtype) == nullptr);
    for (uint32_t expert = 0; expert < 2; ++expert) {
      const Blocks blocks = readBlocks(source, ref, expert);
      WeightRef plain = ref;
      plain.format = WeightFormat::Plain;
      requireQuantised(blocks, read(source, plain, expert)); // the draw is that of the plain tensor
      CHECK(readBlocks(source, plain, expert).elements == blocks.elements);
      const std::vector<float> wide = read(source, ref, expert);
      const auto brain = read<uint16_t>(source, ref, expert, DType::BF16),
                 half = read<uint16_t>(source, ref, expert, DType::F16);
      for (uint64_t n = 0; n < wide.size(); ++n) {
        REQUIRE(wide[n] == blocks.value(n));
        REQUIRE(brain[n] == f32ToBf16(blocks.value(n)));
        REQUIRE(half[n] == f32ToF16(blocks.value(n)));
      }
    }
    CHECK(readBlocks(source, ref, 0).elements != readBlocks(source, ref, 1).elements);
    CHECK(readBlocks(source, marked({"m.experts.1.up_proj.weight", {200, 300}, dtype}), 0).elements ==
          readBlocks(source, ref, 1).elements);
  }
}

TEST_CASE("a checkpoint made of a random weight's codes and scales reads as the random weight does",
          "[weights][random]") {
  RandomWeights random({.seed = 21});
  const WeightRef ref = marked({"w", {130, 257}});
  const Blocks blocks = readBlocks(random, ref, 0);
  RawFile file;
  file.add("w", "F8_E4M3", {130, 257}, blocks.elements).add("w_scale_inv", "F32", {2, 3}, blocks.scales);
  const auto source = file.open();
  CHECK(read(*source, ref, 0) == read(random, ref, 0));
  CHECK(read<uint16_t>(*source, ref, 0, DType::BF16) == read<uint16_t>(random, ref, 0, DType::BF16));
  CHECK(readBlocks(*source, ref, 0).scales == blocks.scales);
}

TEST_CASE("threads read the same codes at once", "[weights][source]") {
  const WeightRef ref = marked({"m.experts.{e}.up_proj.weight", {4, 130, 257}});
  RawFile file;
  for (uint32_t e = 0; e < 4; ++e)
    file.add(tensorName(ref, e), "BF16", {130, 257}, asBf16(drawn(130 * 257, e)));
  const auto checkpoint = file.open(ReadMode::Pread);
  const RandomWeights random({.seed = 4});
  for (const WeightSource *source : std::initializer_list<const WeightSource *>{checkpoint.get(), &random}) {
    std::vector<Blocks> inThreads(4, roomFor(ref));
    std::vector<std::thread> threads;
    for (uint32_t e = 0; e < 4; ++e)
      threads.emplace_back(
          [&, e] { (void)source->readBlockE4M3(ref, e, inThreads[e].elements, inThreads[e].scales).ok(); });
    for (std::thread &thread : threads)
      thread.join();
    for (uint32_t e = 0; e < 4; ++e) {
      const Blocks alone = readBlocks(*source, ref, e);
      CHECK(inThreads[e].elements == alone.elements);
      CHECK(inThreads[e].scales == alone.scales);
    }
  }
}

TEST_CASE("a request for codes that fits no part says which weight and why", "[weights][source]") {
  RawFile file;
  file.add("plain", "BF16", {2, 3}, std::vector<uint16_t>(6)).add("bare", "F8_E4M3", {2, 3}, Bytes(6));
  file.add("odd", "I8", {2, 3}, Bytes(6));
  const auto checkpoint = file.open();
  const RandomWeights random({.seed = 1});
  Bytes elements(6);
  std::vector<float> scales(1);
  const auto refused = [&](const WeightSource &source, const WeightRef &ref, uint32_t expert, Code code,
                           size_t numElements = 6, size_t numScales = 1) {
    const Status status =
        source.readBlockE4M3(ref, expert, std::span(elements).first(numElements), std::span(scales).first(numScales));
    CHECK(status.code() == code);
    return status.message();
  };
  for (const WeightSource *source : std::initializer_list<const WeightSource *>{checkpoint.get(), &random}) {
    CHECK_THAT(refused(*source, {"plain", {2, 3}}, 0, Code::InvalidArgument, 5),
               Contains("weight 'plain'") && Contains("6 e4m3 elements and 1 scales, but there is room for 5 and 1"));
    CHECK_THAT(refused(*source, {"plain", {2, 3}}, 0, Code::InvalidArgument, 6, 0), Contains("room for 6 and 0"));
    CHECK_THAT(refused(*source, {"plain", {2, 3}}, 1, Code::InvalidArgument), Contains("weight 'plain' has no part 1"));
    CHECK_THAT(refused(*source, {"flat", {6}}, 0, Code::InvalidArgument),
               Contains("weight 'flat'") && Contains("[6] is no matrix"));
    CHECK_THAT(refused(*source, {"m.{e}", {2, 3}}, 0, Code::InvalidArgument),
               Contains("weight 'm.{e}'") && Contains("[3] is no matrix"));
    CHECK_THAT(refused(*source, {"", {2, 3}}, 0, Code::InvalidArgument), Contains("without a name"));
  }
  CHECK_THAT(refused(*checkpoint, {"gone", {2, 3}}, 0, Code::InvalidModel), Contains("has no tensor 'gone'"));
  CHECK_THAT(refused(*checkpoint, {"plain", {3, 2}}, 0, Code::InvalidModel),
             Contains("tensor 'plain'") && Contains("found [2, 3]"));
  CHECK_THAT(refused(*checkpoint, {"bare", {2, 3}}, 0, Code::InvalidModel),
             Contains("tensor 'bare'") && Contains("no scales"));
  CHECK_THAT(refused(*checkpoint, {"odd", {2, 3}}, 0, Code::InvalidModel), Contains("tensor 'odd' has dtype I8"));
  CHECK(random.check(marked({"flat", {6}})).code() == Code::InvalidArgument);
  std::vector<float> room(6);
  CHECK_THAT(random.read(marked({"flat", {6}}), 0, DType::F32, std::as_writable_bytes(std::span(room))).message(),
             Contains("weight 'flat'") && Contains("is no matrix"));
}

TEST_CASE("a source of somebody's own need not know of codes: what it reads is quantised", "[weights][source]") {
  struct OwnSource : WeightSource {
    RandomWeights numbers{*parseRandomSpec("random:seed=3,std=1")};
    std::string describe() const override { return "own"; }
    Status check(const WeightRef &ref) const override { return numbers.check(ref); }
    const void *view(const WeightRef &, uint32_t, DType) const override { return nullptr; }
    Status read(const WeightRef &ref, uint32_t expert, DType want, std::span<std::byte> to) const override {
      return numbers.read(ref, expert, want, to);
    }
  };
  const OwnSource source;
  const WeightRef ref{"experts.{e}.gate", {3, 200, 300}, DType::BF16};
  const Blocks expected = readBlocks(source.numbers, ref, 2), found = readBlocks(source, ref, 2);
  CHECK(found.elements == expected.elements);
  CHECK(found.scales == expected.scales);
  Blocks small = roomFor(ref);
  small.scales.pop_back();
  CHECK(source.readBlockE4M3(ref, 2, small.elements, small.scales).code() == Code::InvalidArgument);
}
