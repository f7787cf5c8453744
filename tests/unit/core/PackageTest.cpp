#include "compiler/core/Package.h"
#include "compiler/core/Bytes.h"
#include "compiler/core/Digest.h"
#include "tests/unit/Catch.h"
#include "tests/unit/core/Fixtures.h"

#include <limits>

using namespace moec;
using namespace moec::test;

namespace {

// Values that lose bits in careless JSON.
constexpr double awkward[] = {
    0.1, 1.0 / 3, 1e-300, -0.0, 5e-324, std::numeric_limits<double>::max(), 123456789.12345679, 1.0000000000000002,
    3.0};

WeightRef weight(Random &random, const std::string &name) {
  return {.name = "model.layers.0.\"" + name + "\".{e}\\\n\u00e9",
          .shape = {random.below(1000), INT64_MAX, 0},
          .dtype = static_cast<DType>(random.below(3)),
          .format = static_cast<WeightFormat>(random.below(2))};
}

CudaTile randomTile(Random &random) {
  const auto family = static_cast<GemmFamily>(random.below(3));
  return {.family = family,
          .swapAB = family == GemmFamily::Fitted,
          .tokens = static_cast<uint16_t>(1 + random.below(300)),
          .weights = static_cast<uint16_t>(1 + random.below(300)),
          .stages = static_cast<uint16_t>(1 + random.below(20)),
          .warpsTokens = static_cast<uint16_t>(1 + random.below(9)),
          .warpsWeights = static_cast<uint16_t>(1 + random.below(9)),
          .blocksPerSm = static_cast<uint16_t>(1 + random.below(9))};
}

LayerConfig randomConfig(Random &random, DeviceKind device) {
  if (device == DeviceKind::Cpu)
    return CpuConfig{.isa = static_cast<CpuIsa>(random.below(3)),
                     .compute = static_cast<DType>(random.below(3)),
                     .tileRows = {14, 7, 1}};
  return CudaConfig{.element = static_cast<DType>(random.below(3)),
                    .gateUp = randomTile(random),
                    .down = randomTile(random),
                    .sharedGateUp = randomTile(random),
                    .sharedDown = randomTile(random)};
}

/// Every field differs from its default in some layer; two layers never agree by accident.
LayerPackage randomLayer(Random &random, uint32_t number) {
  LayerPackage layer;
  layer.layer = number;
  uint32_t experts = 1 + random.below(6);
  layer.shape = {.hidden = random.below(9000),
                 .intermediate = random.below(9000),
                 .experts = experts,
                 .topK = random.below(9),
                 .dtype = static_cast<DType>(random.below(3)),
                 .sharedIntermediate = random.below(100),
                 .sharedGate = random.below(2) == 0,
                 .sharedAlike = random.below(2) == 0,
                 .expertBias = random.below(2) == 0,
                 .weightOnInput = random.below(2) == 0,
                 .expertFormat = static_cast<WeightFormat>(random.below(2))};
  layer.router = {.before = static_cast<Scoring>(random.below(3)),
                  .after = static_cast<Scoring>(random.below(3)),
                  .correctionBias = random.below(2) == 0,
                  .routerBias = random.below(2) == 0,
                  .groups = random.below(9),
                  .groupsPicked = random.below(9),
                  .renormalise = random.below(2) == 0,
                  .epsilon = awkward[random.below(9)],
                  .scale = awkward[random.below(9)]};
  LayerWeights &weights = layer.weights;
  for (auto field :
       {&LayerWeights::router, &LayerWeights::routerBias, &LayerWeights::correctionBias, &LayerWeights::gate,
        &LayerWeights::up, &LayerWeights::down, &LayerWeights::gateBias, &LayerWeights::upBias, &LayerWeights::downBias,
        &LayerWeights::sharedGate, &LayerWeights::sharedUp, &LayerWeights::sharedDown, &LayerWeights::sharedRouter})
    weights.*field = weight(random, fmt::format("w{}", random.next()));
  layer.plan.config = randomConfig(random, number == 0 ? DeviceKind::Cpu : DeviceKind::Cuda);
  layer.plan.predictedNs = awkward[random.below(9)];
  layer.plannedFor.tokens = UINT32_MAX;
  for (uint32_t expert = 0; expert < experts; ++expert) {
    layer.plan.table.slots.push_back(static_cast<uint32_t>(random.next()));
    layer.plan.table.packed.push_back(static_cast<uint8_t>(random.below(2)));
    layer.plan.table.order.push_back(static_cast<uint16_t>(experts - 1 - expert));
    layer.plannedFor.pairs.push_back(static_cast<uint32_t>(random.next()));
  }
  for (int kind = 0; kind <= static_cast<int>(LaunchKind::Store); ++kind)
    layer.launches.push_back({.kind = static_cast<LaunchKind>(kind),
                              .k = random.below(9000),
                              .columns = random.below(9000),
                              .kernels = {{14, fmt::format("k{}", random.next()), 1}, {1, "one"}},
                              .pack = {0, random.below(2) ? "pack" : ""}});
  layer.image = random.below(2);
  return layer;
}

Package randomPackage(uint64_t seed) {
  Random random(seed);
  Package package;
  package.modelName = "a \"model\"\t\u4e16";
  package.modelText = std::string("module {\n\0\xff raw bytes \"}\n", 25);
  package.requestKey = "moec request 1\nmodel: x\n";
  package.target = {.name = "cpu-avx2", .isa = CpuIsa::Avx512Bf16, .threads = 3, .l2Bytes = UINT64_MAX};
  if (random.below(2))
    package.target = {.device = DeviceKind::Cuda,
                      .name = "h200",
                      .gpu = {.model = "H200",
                              .multiprocessors = 132,
                              .sharedBytesPerBlock = 227 << 10,
                              .l2Bytes = 1,
                              .memoryBytesPerNs = 4800,
                              .matrixFlopsPerNs = 1e6},
                      .arch = "sm_90a"};
  package.compileMs = {{"passes", 0.1}, {"llvm", 1234.5678901234567}, {"a.b", 0}};
  package.kernelsBuilt = UINT32_MAX;
  package.layers = {randomLayer(random, 0), randomLayer(random, 61)};
  package.images = {{"key one\nconfig: x\n", {1, 2, 3, 0, 255}}, {"empty", {}}};
  return package;
}

void checkEqual(const Package &a, const Package &b) {
  CHECK(a.modelName == b.modelName);
  CHECK(a.modelText == b.modelText);
  CHECK(a.requestKey == b.requestKey);
  CHECK(a.target == b.target);
  CHECK(a.compileMs == b.compileMs);
  CHECK(a.kernelsBuilt == b.kernelsBuilt);
  CHECK(a.layers == b.layers);
  CHECK(a.images == b.images);
}

/// Makes the checksum right again, as an attacker would.
void reseal(std::vector<uint8_t> &bytes) {
  size_t covered = bytes.size() - sizeof(DigestBytes);
  DigestBytes digest = digestBytes(std::span(bytes).first(covered));
  std::copy(digest.begin(), digest.end(), bytes.begin() + static_cast<std::ptrdiff_t>(covered));
}

std::string errorOf(std::span<const uint8_t> bytes, Code code = Code::CacheCorrupt) {
  Result<Package> package = Package::parse(bytes);
  REQUIRE_FALSE(package.ok());
  CHECK(package.status().code() == code);
  return package.status().message();
}

constexpr size_t headerBytes = 8 + 4 + 4 * 8; // magic, version, four lengths

/// The package's file with one text of its manifest replaced.
std::vector<uint8_t> withManifestEdit(const Package &package, const std::string &from, const std::string &to) {
  std::vector<uint8_t> bytes = package.serialise();
  ByteReader lengths{std::span(bytes).subspan(12)};
  uint64_t manifestBytes = lengths.u64(), textBytes = lengths.u64(), keyBytes = lengths.u64(),
           imageBytes = lengths.u64();
  std::string manifest = asText(std::span(bytes).subspan(headerBytes, manifestBytes));
  size_t at = manifest.find(from);
  REQUIRE(at != std::string::npos);
  manifest.replace(at, from.size(), to);
  ByteWriter writer;
  writer.raw(std::span(bytes).first(12));
  for (uint64_t length : {uint64_t{manifest.size()}, textBytes, keyBytes, imageBytes})
    writer.u64(length);
  writer.raw(manifest);
  writer.raw(std::span(bytes).subspan(headerBytes + manifestBytes));
  std::vector<uint8_t> edited = writer.take();
  reseal(edited);
  return edited;
}

} // namespace

TEST_CASE("every field of a package survives writing and reading", "[core][package]") {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    Package package = randomPackage(seed);
    Result<Package> read = Package::parse(package.serialise());
    INFO(read.status().message());
    REQUIRE(read.ok());
    checkEqual(package, *read);
    // operator== takes -0.0 for 0.0: the bytes tell them apart.
    CHECK(read->serialise() == package.serialise());
  }
}

TEST_CASE("an empty package is a package", "[core][package]") {
  Result<Package> read = Package::parse(Package{}.serialise());
  REQUIRE(read.ok());
  checkEqual(Package{}, *read);
}

TEST_CASE("a package truncated at any byte is an error", "[core][package]") {
  std::vector<uint8_t> bytes = randomPackage(1).serialise();
  for (size_t length = 0; length < bytes.size(); ++length) {
    // A copy of exactly this length, so that the sanitizer sees a read past its end.
    std::vector<uint8_t> cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length));
    Result<Package> package = Package::parse(cut);
    REQUIRE_FALSE(package.ok());
    REQUIRE(package.status().code() == Code::CacheCorrupt);
    REQUIRE(package.status().message().find("truncated") != std::string::npos);
  }
}

TEST_CASE("a package with any bits flipped is an error", "[core][package]") {
  const std::vector<uint8_t> bytes = randomPackage(2).serialise();
  Random random(3);
  for (int round = 0; round < 2000; ++round) {
    std::vector<uint8_t> damaged = bytes;
    size_t byte = round < static_cast<int>(headerBytes) ? static_cast<size_t>(round)
                                                        : random.below(static_cast<uint32_t>(bytes.size()));
    damaged[byte] ^= static_cast<uint8_t>(1u << random.below(8));
    CAPTURE(byte);
    REQUIRE_FALSE(Package::parse(damaged).ok());
  }
}

TEST_CASE("a damaged manifest with a right checksum is read or refused, never trusted", "[core][package]") {
  const Package package = randomPackage(4);
  const std::vector<uint8_t> bytes = package.serialise();
  Random random(5);
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::vector<uint8_t> damaged = bytes;
    for (uint32_t edits = 1 + random.below(3); edits > 0; --edits)
      damaged[8 + random.below(static_cast<uint32_t>(bytes.size() - 24))] =
          static_cast<uint8_t>(random.below(2) ? random.next() : "0123456789-[]{},\"e."[random.below(19)]);
    reseal(damaged);
    Result<Package> read = Package::parse(damaged);
    refused += !read.ok();
    if (!read.ok())
      continue;
    for (const LayerPackage &layer : read->layers) {
      REQUIRE(layer.plan.table.slots.size() == layer.shape.experts);
      REQUIRE(layer.plan.table.packed.size() == layer.shape.experts);
      REQUIRE(layer.plan.table.order.size() == layer.shape.experts);
      for (uint16_t expert : layer.plan.table.order)
        REQUIRE(expert < layer.shape.experts);
      REQUIRE(layer.image < read->images.size());
    }
  }
  CHECK(refused > 1000);
}

TEST_CASE("lengths that claim more than there is allocate nothing", "[core][package]") {
  const std::vector<uint8_t> bytes = randomPackage(6).serialise();
  for (size_t field = 0; field < 4; ++field)
    for (uint64_t claim : {uint64_t{UINT64_MAX}, uint64_t{1} << 63, uint64_t{1} << 40}) {
      std::vector<uint8_t> forged = bytes;
      for (size_t byte = 0; byte < 8; ++byte)
        forged[12 + 8 * field + byte] = static_cast<uint8_t>(claim >> (8 * byte));
      reseal(forged);
      CHECK(errorOf(forged).find("truncated") != std::string::npos);
    }
}

TEST_CASE("what is wrong with a package is said", "[core][package]") {
  std::vector<uint8_t> bytes = randomPackage(7).serialise();
  CHECK(errorOf({}) == "package is truncated: 0 bytes");

  std::vector<uint8_t> other = bytes;
  other[0] = 'X';
  CHECK(errorOf(other) == "not a package: wrong magic");
  other = bytes;
  for (uint32_t version : {kPackageVersion - 1, kPackageVersion + 1}) {
    other[8] = static_cast<uint8_t>(version);
    CHECK(errorOf(other, Code::InvalidArgument) ==
          fmt::format("package version {} is not supported, only {}", version, kPackageVersion));
  }
  other = bytes;
  other.back() ^= 1;
  CHECK(errorOf(other) == "package checksum does not match: the file is damaged");
  other = bytes;
  other.push_back(0);
  CHECK(errorOf(other) == "package has 1 bytes after its end");
}

TEST_CASE("kernels of another ABI are refused", "[core][package]") {
  Package package = randomPackage(9);
  for (DeviceKind device : {DeviceKind::Cpu, DeviceKind::Cuda}) {
    package.target.device = device;
    const uint32_t ours = kernelAbiOf(device);
    REQUIRE(Package::parse(package.serialise()).ok());
    for (uint32_t other : {ours - 1, ours + 1}) {
      const std::string own = fmt::format("\"kernel_abi\":{}", ours), wrong = fmt::format("\"kernel_abi\":{}", other);
      CHECK(errorOf(withManifestEdit(package, own, wrong), Code::InvalidArgument) ==
            fmt::format("the package's kernels have ABI {}, this build's have {}: compile it again", other, ours));
    }
  }
  CHECK(kernelAbiOf(DeviceKind::Cpu) != kernelAbiOf(DeviceKind::Cuda));
}

TEST_CASE("a manifest that contradicts itself is refused with its path", "[core][package]") {
  Package package = randomPackage(8);
  package.layers.resize(1);
  LayerPackage &layer = package.layers[0];
  layer.shape.experts = 2;
  layer.plan.table = {.slots = {8, 8}, .packed = {1, 1}, .order = {1, 0}};
  layer.plannedFor.pairs = {3, 4};
  layer.image = 1;
  REQUIRE(Package::parse(package.serialise()).ok());
  auto edit = [&](const char *from, const char *to) { return errorOf(withManifestEdit(package, from, to)); };
  const std::string at = "package manifest: layers[0]: ";
  CHECK(edit("\"order\":[1,0]", "\"order\":[1,1]") == at + "plan.table.order is not a permutation of the experts");
  CHECK(edit("\"order\":[1,0]", "\"order\":[0]") == at + "plan.table.order has not one entry per expert");
  CHECK(edit("\"slots\":[8,8]", "\"slots\":[8]") == at + "plan.table.slots has not one entry per expert");
  CHECK(edit("\"packed\":[1,1]", "\"packed\":[]") == at + "plan.table.packed has not one entry per expert");
  CHECK(edit("\"pairs\":[3,4]", "\"pairs\":[3,4,5]") == at + "planned_for has not one entry per expert");
  CHECK(edit("\"tile_rows\":[14,7,1]", "\"tile_rows\":[14,14,1]") == at + "plan.config.tile_rows is not descending");
  CHECK(edit("\"image\":1", "\"image\":2") == at + "image is not one of the package's images");
  CHECK(edit("\"kind\":\"store\"", "\"kind\":\"stare\"") ==
        "package manifest: layers[0].launches[7].kind: unknown name 'stare'");
  CHECK(edit("\"slots\":[8,8]", "\"slots\":[8,-8]") ==
        "package manifest: layers[0].plan.table.slots[1]: expected an integer from 0 to "
        "4294967295, found -8");
  CHECK(edit("\"bytes\":5", "\"bytes\":6") == "package image 0 is longer than the images' section");
  CHECK(edit("\"bytes\":5", "\"bytes\":4") == "package has 1 image bytes that belong to no image");
}
