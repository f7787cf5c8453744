// compile() for GPU targets: packages with a cubin a kernel.
#include "compiler/Compile.h"
#include "compiler/core/CudaLaunch.h"
#include "compiler/core/PlanCuda.h"
#include "compiler/import/Activation.h"
#include "tests/unit/Catch.h"
#include "tests/unit/compiler/Models.h"

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>
#include <set>

using namespace moec;
using tests::tinyModel;

namespace {

const LayerShape tiny{.hidden = 64, .intermediate = 32, .experts = 4, .topK = 2, .dtype = DType::BF16};

CompileRequest requestFor(const std::string &model, const std::string &target) {
  CompileRequest request;
  request.model = model;
  Result<TargetFacts> facts = targetByName(target, {});
  REQUIRE(facts.ok());
  request.target = *facts;
  request.calibration = Calibration::assumed(*facts, DType::BF16);
  request.jit.threads = 2;
  return request;
}

struct FakeCache {
  std::map<std::string, std::vector<uint8_t>> entries;
  int puts = 0;

  CompileHooks hooks() {
    CompileHooks hooks;
    hooks.findImage = [this](const std::string &key) -> std::optional<std::vector<uint8_t>> {
      auto found = entries.find(key);
      return found == entries.end() ? std::nullopt : std::optional(found->second);
    };
    hooks.putImage = [this](const std::string &key, const std::vector<uint8_t> &bytes) {
      ++puts;
      entries[key] = bytes;
    };
    return hooks;
  }
};

/// Kernels are shared by the tests of this file: most of them ask for the same ones.
FakeCache &sharedCache() {
  static FakeCache cache;
  return cache;
}

std::map<LaunchKind, Launch> byKind(const LayerPackage &layer) {
  std::map<LaunchKind, Launch> launches;
  for (const Launch &launch : layer.launches)
    launches[launch.kind] = launch;
  return launches;
}

/// The model's package for sm_90a with this tile for gate-up and down of layer 0.
Package compiledWith(const std::string &model, const std::string &tile) {
  CompileRequest request = requestFor(model, "sm_90a");
  const Result<Package> planned = compile(request, sharedCache().hooks());
  INFO(planned.status().message());
  REQUIRE(planned.ok());
  request.plans[0] = planned->layers[0].plan;
  request.plans[0].config.cuda.gateUp = request.plans[0].config.cuda.down = *CudaTile::parse(tile);
  Result<Package> package = compile(request, sharedCache().hooks());
  INFO(package.status().message());
  REQUIRE(package.ok());
  return std::move(*package);
}

std::string replaced(std::string text, const std::string &what, const std::string &with) {
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + with.size()))
    text.replace(at, what.size(), with);
  return text;
}

} // namespace

TEST_CASE("a GPU package has a kernel for every launch, each in a cubin of its own", "[compiler][cuda]") {
  Result<Package> package = compile(requestFor(tinyModel(tiny), "sm_90a"), sharedCache().hooks());
  INFO(package.status().message());
  REQUIRE(package.ok());
  REQUIRE(package->layers.size() == 1);
  std::map<LaunchKind, Launch> launches = byKind(package->layers[0]);
  CHECK(launches.size() == 6);
  CHECK(launches[LaunchKind::Router].kernels.size() >= 2);
  CHECK(launches[LaunchKind::Router].kernels.back().maxTokens == UINT32_MAX);
  CHECK(launches[LaunchKind::Route].kernels.size() == 1);
  CHECK(launches[LaunchKind::Dispatch].kernels.size() == dispatchSteps("sm_90a").size());
  CHECK(launches[LaunchKind::Store].kernels.size() == 1);
  const CudaConfig &config = package->layers[0].plan.config.cuda;
  for (auto [kind, tile] : {std::pair{LaunchKind::GateUp, config.gateUp}, std::pair{LaunchKind::Down, config.down}}) {
    REQUIRE(launches[kind].kernels.size() == 1);
    CHECK(launches[kind].kernels[0].rows == tile.tokens);
    CHECK(launches[kind].kernels[0].columns == tile.weights);
  }
  CHECK(launches[LaunchKind::GateUp].k == 64);
  CHECK(launches[LaunchKind::GateUp].columns == 32);
  CHECK(launches[LaunchKind::Down].k == 32);
  for (const Launch &launch : package->layers[0].launches)
    for (const KernelRef &kernel : launch.kernels) {
      REQUIRE(kernel.image < package->images.size());
      const Image &image = package->images[kernel.image];
      CAPTURE(image.name);
      CHECK(std::string(image.bytes.begin(), image.bytes.end()).find(kernel.symbol) != std::string::npos);
      CHECK(image.resources.threads >= 128);
      CHECK(image.resources.registers > 0);
      CHECK(image.key.find("-arch=sm_90a") != std::string::npos);
    }
  Result<Package> back = Package::parse(package->serialise());
  REQUIRE(back.ok());
  CHECK(back->images == package->images);
  CHECK(back->layers == package->layers);
}

TEST_CASE("layers alike share their kernels, and a compile that was done builds none", "[compiler][cuda]") {
  FakeCache cache;
  const CompileRequest request = requestFor(tinyModel(tiny), "sm_80");
  Result<Package> first = compile(request, cache.hooks());
  REQUIRE(first.ok());
  CHECK(first->kernelsBuilt == first->images.size());
  CHECK(cache.puts == static_cast<int>(first->images.size()));
  Result<Package> second = compile(request, cache.hooks());
  REQUIRE(second.ok());
  CHECK(second->kernelsBuilt == 0);
  CHECK(second->images == first->images);
  CHECK(second->layers == first->layers);
}

TEST_CASE("a layer with biases gets products that add them, and shares all other kernels", "[compiler][cuda]") {
  LayerShape shape = tiny;
  shape.expertBias = true;
  for (const char *target : {"sm_80", "sm_90a"}) {
    Result<Package> plain = compile(requestFor(tinyModel(tiny), target), sharedCache().hooks());
    Result<Package> biased = compile(requestFor(tinyModel(shape), target), sharedCache().hooks());
    REQUIRE(plain.ok());
    INFO(biased.status().message());
    REQUIRE(biased.ok());
    CHECK(biased->layers[0].shape.expertBias);
    CHECK(biased->layers[0].weights.downBias.name == "layers.0.experts.{e}.down_proj.bias");
    CHECK(requestFor(tinyModel(shape), target).keyText("b") != requestFor(tinyModel(tiny), target).keyText("b"));
    REQUIRE(biased->images.size() == plain->images.size());
    for (size_t i = 0; i < plain->images.size(); ++i) {
      const Image &image = biased->images[i];
      CAPTURE(image.name);
      const bool product = image.key.find(".biased = true") != std::string::npos;
      CHECK(product == (image.name.find("-bias") != std::string::npos));
      CHECK(product == (image.key != plain->images[i].key));
    }
    CHECK(std::count_if(biased->images.begin(), biased->images.end(),
                        [](const Image &image) { return image.name.find("-bias") != std::string::npos; }) == 2);
  }
}

TEST_CASE("a layer with weights on its input gets a gate-up that weighs and a sum that does not", "[compiler][cuda]") {
  LayerShape shape = tiny;
  shape.weightOnInput = true;
  for (const char *target : {"sm_80", "sm_90a"}) {
    Result<Package> plain = compile(requestFor(tinyModel(tiny), target), sharedCache().hooks());
    Result<Package> weighted = compile(requestFor(tinyModel(shape), target), sharedCache().hooks());
    REQUIRE(plain.ok());
    INFO(weighted.status().message());
    REQUIRE(weighted.ok());
    CHECK(weighted->layers[0].shape.weightOnInput);
    CHECK(requestFor(tinyModel(shape), target).keyText("b") != requestFor(tinyModel(tiny), target).keyText("b"));
    REQUIRE(weighted->images.size() == plain->images.size());
    std::vector<std::string> changed;
    for (size_t i = 0; i < plain->images.size(); ++i)
      if (weighted->images[i].key != plain->images[i].key)
        changed.push_back(weighted->images[i].name);
    INFO(fmt::format("{}", fmt::join(changed, " ")));
    REQUIRE(changed.size() == 2);
    for (auto [name, part] : {std::pair{"-gateup-", "-weighted"}, std::pair{"combine-", "-unweighted"}})
      CHECK(std::count_if(changed.begin(), changed.end(), [&](const std::string &image) {
              return image.find(name) != std::string::npos && image.find(part) != std::string::npos;
            }) == 1);
  }
}

TEST_CASE("down combines where tokens have one expert and no shared one adds to it", "[compiler][cuda]") {
  const auto combining = [](uint32_t topK, uint32_t sharedIntermediate, WeightFormat format, const char *target) {
    LayerShape shape = tiny;
    shape.topK = topK;
    shape.sharedIntermediate = sharedIntermediate;
    shape.expertFormat = format;
    Result<Package> package = compile(requestFor(tinyModel(shape), target), sharedCache().hooks());
    INFO(package.status().message());
    REQUIRE(package.ok());
    size_t found = 0;
    for (const Image &image : package->images) {
      const bool named = image.name.find("-combining") != std::string::npos;
      CHECK(named == (image.key.find(".combines = true") != std::string::npos));
      CHECK((!named || image.name.find("-down-") != std::string::npos));
      found += named;
    }
    return found;
  };
  CHECK(combining(1, 0, WeightFormat::Plain, "sm_90a") == 1);
  CHECK(combining(1, 0, WeightFormat::BlockE4M3, "sm_90a") > 0);
  CHECK(combining(2, 0, WeightFormat::Plain, "sm_90a") == 0);
  CHECK(combining(1, 16, WeightFormat::Plain, "sm_90a") == 0);                // a shared expert of another size
  CHECK(combining(1, tiny.intermediate, WeightFormat::Plain, "sm_90a") == 0); // one that joins the routed ones
  CHECK(combining(1, 0, WeightFormat::Plain, "sm_80") == 0);                  // portable tiles have no such form
}

TEST_CASE("a shared expert like the routed ones has no launches of its own on a GPU, and joins their kernels",
          "[compiler][cuda]") {
  for (WeightFormat format : {WeightFormat::Plain, WeightFormat::BlockE4M3}) {
    LayerShape shape = tiny;
    shape.expertFormat = format;
    shape.sharedIntermediate = shape.intermediate;
    shape.sharedAlike = true;
    Result<Package> package = compile(requestFor(tinyModel(shape), "sm_90a"), sharedCache().hooks());
    INFO(package.status().message());
    REQUIRE(package.ok());
    const LayerPackage &layer = package->layers[0];
    CHECK(layer.shape == shape);
    std::vector<std::string> joined, products;
    for (const Launch &launch : layer.launches) {
      CHECK(launch.kind != LaunchKind::SharedGateUp);
      CHECK(launch.kind != LaunchKind::SharedDown);
      for (const KernelRef &kernel : launch.kernels) {
        const std::string &name = package->images[kernel.image].name;
        if (name.ends_with("-joined"))
          joined.push_back(name);
        else if (name.find("gateup-") != std::string::npos || name.find("down-") != std::string::npos)
          products.push_back(package->images[kernel.image].key);
      }
    }
    const std::string experts = fmt::format("-e{}-joined", shape.experts);
    std::vector<std::string> expected;
    for (const char *step : dispatchSteps("sm_90a"))
      expected.push_back("dispatch" + (step + experts));
    if (format == WeightFormat::BlockE4M3)
      expected.push_back("quantise-bf16-joined");
    CHECK(joined == expected);
    // The products know nothing of it: a layer without has the same ones.
    LayerShape without = shape;
    without.sharedIntermediate = 0;
    without.sharedAlike = false;
    CompileRequest request = requestFor(tinyModel(without), "sm_90a");
    request.plans[0] = layer.plan;
    Result<Package> plain = compile(request, sharedCache().hooks());
    INFO(plain.status().message());
    REQUIRE(plain.ok());
    for (const std::string &key : products)
      CHECK(std::count_if(plain->images.begin(), plain->images.end(),
                          [&](const Image &image) { return image.key == key; }) == 1);
    CHECK(products.size() == 2);
  }
}

TEST_CASE("a layer of e4m3 experts gets e4m3 products and the kernel that quantises for them, where there are some",
          "[compiler][cuda]") {
  LayerShape shape = tiny;
  shape.expertFormat = WeightFormat::BlockE4M3;
  const auto compiled = [](const LayerShape &of, const char *target) {
    Result<Package> package = compile(requestFor(tinyModel(of), target), sharedCache().hooks());
    INFO(package.status().message());
    REQUIRE(package.ok());
    return std::move(*package);
  };
  const Package planned = compiled(shape, "sm_90a");
  // Narrow tiles of which both products quantise few rows themselves, and of which gate-up gives its own quantised.
  for (const auto &[gateUp, forms] : {std::pair{"fp8-16x64-s5-w1x2-b2", true}, {"fp8-16x256-s6-w2x1-b1", false}}) {
    CAPTURE(gateUp);
    CompileRequest request = requestFor(tinyModel(shape), "sm_90a");
    LayerPlan plan = planned.layers[0].plan;
    plan.config.cuda.gateUp = *CudaTile::parse(gateUp);
    plan.config.cuda.down = *CudaTile::parse("fp8-16x64-s5-w1x2-b2");
    request.plans[0] = plan;
    const Result<Package> compiledPlan = compile(request, sharedCache().hooks());
    INFO(compiledPlan.status().message());
    REQUIRE(compiledPlan.ok());
    const Package &package = *compiledPlan;
    const LayerPackage &layer = package.layers[0];
    CHECK(layer.shape.expertFormat == WeightFormat::BlockE4M3);
    CHECK(layer.weights.down.format == WeightFormat::BlockE4M3);
    CHECK(layer.weights.router.format == WeightFormat::Plain);
    CHECK(layer.plan.config.cuda.gateUp.family == GemmFamily::Fp8);
    for (const Launch &launch : layer.launches) {
      const auto name = [&](size_t kernel) { return package.images[launch.kernels[kernel].image].name; };
      if (launch.kind == LaunchKind::GateUp) {
        REQUIRE(launch.kernels.size() == (forms ? 3 : 2)); // and for few tokens
        CHECK(name(0).starts_with("fp8-gateup-"));
        CHECK(name(1) == "quantise-bf16");
        CHECK(package.images[launch.kernels[0].image].resources.dynamicSharedBytes ==
              sharedBytes(layer.plan.config.cuda.gateUp));
      }
      if (launch.kind == LaunchKind::Down) {
        REQUIRE(launch.kernels.size() == (forms ? 2 : 1));
        CHECK(name(0).starts_with("fp8-down-"));
      }
      if (forms && (launch.kind == LaunchKind::GateUp || launch.kind == LaunchKind::Down))
        CHECK(name(launch.kernels.size() - 1).ends_with("-few"));
    }
  }
  CHECK(requestFor(tinyModel(shape), "sm_90a").keyText("b") != requestFor(tinyModel(tiny), "sm_90a").keyText("b"));
  // Elsewhere nothing but the marks differs: the weights are read as numbers.
  const Package marked = compiled(shape, "sm_80"), plain = compiled(tiny, "sm_80");
  CHECK(marked.layers[0].plan.config == plain.layers[0].plan.config);
  REQUIRE(marked.images.size() == plain.images.size());
  for (size_t i = 0; i < plain.images.size(); ++i)
    CHECK(marked.images[i].key == plain.images[i].key);
}

TEST_CASE("a layer that has another down for few tokens gets it as down's last kernel", "[compiler][cuda]") {
  struct Layer {
    WeightFormat format;
    const char *tile;
    std::vector<std::string> down; // parts of its kernels' names
    uint32_t sharedBytes;          // of the last
  };
  const LayerShape shape{.hidden = 64, .intermediate = 128, .experts = 4, .topK = 4, .dtype = DType::BF16};
  for (const Layer &expected : {Layer{WeightFormat::Plain,
                                      "fitted-16x64-s5-w1x2-b2",
                                      {"fitted-down-", "downfew-bf16-k4"},
                                      kDownFewMostSharedBytes},
                                Layer{WeightFormat::BlockE4M3,
                                      "fp8-16x64-s5-w1x4-b1",
                                      {"fp8-down-", "downfew-fp8-k4"},
                                      kDownFewFp8MostSharedBytes},
                                Layer{WeightFormat::BlockE4M3,
                                      "fp8-16x64-s5-w1x2-b2",
                                      {"fp8-down-", "downfew-fp8-k4"},
                                      kDownFewFp8MostSharedBytes}}) {
    CAPTURE(expected.tile);
    LayerShape of = shape;
    of.expertFormat = expected.format;
    const Package package = compiledWith(tinyModel(of), expected.tile);
    const Launch down = byKind(package.layers[0]).at(LaunchKind::Down);
    REQUIRE(down.kernels.size() == expected.down.size());
    for (size_t i = 0; i < down.kernels.size(); ++i)
      CHECK(package.images[down.kernels[i].image].name.find(expected.down[i]) != std::string::npos);
    const KernelResources &few = package.images[down.kernels.back().image].resources;
    CHECK((few.threads == kDownFewThreads && few.dynamicSharedBytes == expected.sharedBytes));
  }
}

TEST_CASE("a layer has the quantising form of a product where a step of few tokens takes it", "[compiler][cuda]") {
  const std::string product = "fp8-down-16x64-s5-b2-k256", quantising = product + "-few", few = "downfew-fp8-k4";
  struct Layer {
    uint32_t hidden, intermediate;
    bool joined;
    std::vector<std::string> down;
  };
  for (const Layer &layer : {Layer{64, 128, false, {product, few}},               // downFewFp8 in all of them
                             Layer{4096, 128, false, {product, quantising, few}}, // in those of two
                             Layer{64, 128, true, {product, quantising}},         // in none
                             Layer{64, 144, false, {product, quantising}}}) {
    CAPTURE(layer.hidden, layer.intermediate, layer.joined);
    const LayerShape shape{.hidden = layer.hidden,
                           .intermediate = layer.intermediate,
                           .experts = 4,
                           .topK = 4,
                           .dtype = DType::BF16,
                           .sharedIntermediate = layer.joined ? layer.intermediate : 0,
                           .sharedAlike = layer.joined,
                           .expertFormat = WeightFormat::BlockE4M3};
    const Package package = compiledWith(tinyModel(shape), "fp8-16x64-s5-w1x2-b2");
    std::vector<std::string> names;
    for (const KernelRef &kernel : byKind(package.layers[0]).at(LaunchKind::Down).kernels)
      names.push_back(package.images[kernel.image].name);
    CHECK(names == layer.down);
  }
}

TEST_CASE("down for few tokens has as many groups of columns as the layer's step launches it for", "[compiler][cuda]") {
  for (const auto &[hidden, name] : {std::pair{6144u, "downfew-fp8-k1-g4"}, std::pair{64u, "downfew-fp8-k1"}}) {
    CAPTURE(hidden);
    const LayerShape shape{.hidden = hidden,
                           .intermediate = 128,
                           .experts = 4,
                           .topK = 1,
                           .dtype = DType::BF16,
                           .expertFormat = WeightFormat::BlockE4M3};
    const Package package = compiledWith(tinyModel(shape), "fp8-16x64-s5-w1x4-b1");
    const Launch down = byKind(package.layers[0]).at(LaunchKind::Down);
    CHECK(package.images[down.kernels.back().image].name == name);
  }
}

TEST_CASE("a layer of e4m3 experts that has another gate-up for few tokens gets it as gate-up's last kernel",
          "[compiler][cuda]") {
  const std::string one = "fp8-16x64-s5-w1x4-b1", two = "fp8-16x64-s5-w1x2-b2"; // which quantises few rows
  struct Layer {
    uint32_t hidden, intermediate, topK;
    std::string tile;
    bool joined, has;
  };
  for (const Layer &layer : {Layer{128, 144, 2, two, false, true}, Layer{128, 144, 2, two, true, true},
                             Layer{128, 144, 2, one, false, false}, Layer{128, 128, 4, one, false, true},
                             Layer{128, 128, 4, one, true, false}, Layer{144, 128, 4, two, false, false}}) {
    CAPTURE(layer.hidden, layer.intermediate, layer.topK, layer.tile, layer.joined);
    const LayerShape shape{.hidden = layer.hidden,
                           .intermediate = layer.intermediate,
                           .experts = 4,
                           .topK = layer.topK,
                           .dtype = DType::BF16,
                           .sharedIntermediate = layer.joined ? layer.intermediate : 0,
                           .sharedAlike = layer.joined,
                           .expertFormat = WeightFormat::BlockE4M3};
    const Package package = compiledWith(tinyModel(shape), layer.tile);
    const Launch gateUp = byKind(package.layers[0]).at(LaunchKind::GateUp);
    // The product and quantise; then one of both for few tokens, where there is one.
    const bool quantises = layer.tile == two && !layer.has;
    REQUIRE(gateUp.kernels.size() == (layer.has || quantises ? 3 : 2));
    const Image &last = package.images[gateUp.kernels.back().image];
    CHECK((last.name == "gateupfew-fp8") == layer.has);
    CHECK(last.name.ends_with("-few") == quantises);
    if (layer.has)
      CHECK((last.resources.threads == kGateUpFewThreads &&
             last.resources.dynamicSharedBytes == kGateUpFewMostSharedBytes));
  }
}

TEST_CASE("gate-up for few tokens has the layer's own activation", "[compiler][cuda]") {
  using importer::Activation;
  const LayerShape shape{.hidden = 128,
                         .intermediate = 144,
                         .experts = 4,
                         .topK = 2,
                         .dtype = DType::BF16,
                         .expertFormat = WeightFormat::BlockE4M3};
  const std::string model = tinyModel(shape);
  std::set<std::string> keys;
  for (Activation activation : {Activation::Silu, Activation::GeluTanh, Activation::ClampedSwiglu}) {
    CAPTURE(static_cast<int>(activation));
    const std::string region = fmt::format(" activation {{\n{}    }}\n", importer::activationBlock(activation));
    const Package package =
        compiledWith(replaced(model, tests::siluRegion(), region), "fp8-16x64-s5-w1x2-b2"); // a spill is an error
    const Launch gateUp = byKind(package.layers[0]).at(LaunchKind::GateUp);
    const Image &last = package.images[gateUp.kernels.back().image];
    CHECK(last.name == "gateupfew-fp8");
    keys.insert(last.key);
  }
  CHECK(keys.size() == 3);
}

TEST_CASE("names of a model reach no CUDA", "[compiler][cuda]") {
  // Every text that a model brings: its own name, its weights' (without control characters, which the dialect refuses
  // there) and its functions'.
  const std::string plain = tinyModel(tiny);
  const std::string hostile = R"(\22\0A#include \22/etc/passwd\22\0A*/ asm volatile(\22trap;\22); //)";
  std::string renamed = replaced(plain, "moe.model = \"tiny\"", "moe.model = \"" + hostile + "\"");
  const std::string oneLine = R"(\22 */ #include \22/etc/passwd\22 asm volatile(\22trap;\22); //)";
  renamed = replaced(renamed, "\"layers.0.gate.weight\"", "\"" + oneLine + "\"");
  renamed = replaced(renamed, "\"layers.0.experts.{e}.gate_proj.weight\"", "\"{e}" + oneLine + "\"");
  renamed = replaced(renamed, "@layer_0", "@\"" + hostile + "\"");
  REQUIRE(renamed != plain);
  CompileRequest request = requestFor(plain, "sm_90a");
  request.emit = "cuda";
  Result<std::string> expected = compileToText(request);
  INFO(expected.status().message());
  REQUIRE(expected.ok());
  request.model = renamed;
  Result<std::string> text = compileToText(request);
  INFO(text.status().message());
  REQUIRE(text.ok());
  CHECK(*text == *expected);
  CHECK(text->find("passwd") == std::string::npos);
  // And the kernels are found by the same keys.
  FakeCache &cache = sharedCache();
  REQUIRE(compile(requestFor(plain, "sm_90a"), cache.hooks()).ok());
  const int puts = cache.puts;
  REQUIRE(compile(requestFor(renamed, "sm_90a"), cache.hooks()).ok());
  CHECK(cache.puts == puts);
}

TEST_CASE("a layer that a GPU cannot run is an invalid model", "[compiler][cuda]") {
  LayerShape f32 = tiny;
  f32.dtype = DType::F32;
  const Status status = compile(requestFor(tinyModel(f32), "h100")).status();
  CHECK(status.code() == Code::InvalidModel);
  CHECK(status.message().find("is f32, but target h100 takes bf16 and f16 layers") != std::string::npos);

  const std::string model = replaced(tinyModel(tiny), "arith.addf %e, %one : f32", "math.sqrt %e : f32");
  CHECK(compile(requestFor(model, "h100"), sharedCache().hooks()).ok());
  const std::string strange = replaced(tinyModel(tiny), "%d = arith.addf %e, %one : f32",
                                       "%c = arith.cmpf olt, %e, %one : f32\n %b = arith.cmpf olt, %u, %one : f32\n"
                                       "%c2 = arith.cmpi ult, %b, %c : i1\n %d = arith.select %c2, %e, %one : f32");
  const Status unknown = compile(requestFor(strange, "h100")).status();
  CHECK(unknown.code() == Code::InvalidModel);
  CHECK(unknown.message().find("'arith.cmpi'") != std::string::npos);
}

TEST_CASE("without NVRTC a GPU package is not made, and its CUDA is", "[compiler][cuda]") {
  CompileRequest request = requestFor(tinyModel(tiny), "sm_80");
  request.jit.nvrtcOnly = {"/nowhere"};
  CHECK(compile(request).status().code() == Code::DeviceMissing);
  request.emit = "ptx";
  CHECK(compileToText(request).status().code() == Code::DeviceMissing);
  request.emit = "cuda";
  CHECK(compileToText(request).ok());
}

TEST_CASE("a target has the texts of its own device", "[compiler][cuda]") {
  for (auto [target, emit] : {std::pair{"sm_80", "llvm"}, std::pair{"sm_80", "kernels"}, std::pair{"cpu-avx2", "ptx"},
                              std::pair{"cpu-avx2", "cuda"}}) {
    CAPTURE(target, emit);
    CompileRequest request = requestFor(tinyModel(tiny), target);
    request.emit = emit;
    const Status status = compileToText(request).status();
    CHECK(status.code() == Code::InvalidArgument);
    CHECK(status.message().find(emit) != std::string::npos);
  }
}

TEST_CASE("emitted files have the names of the package's images", "[compiler][cuda]") {
  CompileRequest request = requestFor(tinyModel(tiny), "sm_90a");
  Result<Package> package = compile(request, sharedCache().hooks());
  request.emit = "cuda";
  Result<std::string> text = compileToText(request);
  REQUIRE(package.ok());
  REQUIRE(text.ok());
  const nlohmann::json files = nlohmann::json::parse(*text, nullptr, false)["files"];
  REQUIRE(files.size() == package->images.size());
  for (size_t i = 0; i < files.size(); ++i) {
    CHECK(files[i]["name"] == package->images[i].name + ".cu");
    CHECK(files[i]["text"].get<std::string>().find("#include \"compiler/kernels/") != std::string::npos);
  }
}

TEST_CASE("a compile for a GPU can be cancelled", "[compiler][cuda]") {
  CompileHooks hooks;
  int asked = 0;
  hooks.cancelled = [&] { return ++asked > 2; };
  CompileRequest request = requestFor(tinyModel(tiny), "sm_90a");
  request.jit.threads = 1;
  CHECK(compile(request, hooks).status().code() == Code::Cancelled);
}

TEST_CASE("a decided plan's tiles are the ones that are compiled", "[compiler][cuda]") {
  CompileRequest request = requestFor(tinyModel(tiny), "sm_90a");
  LayerPlan plan =
      planLayer(tiny, Histogram::uniform(256, tiny.topK, tiny.experts), request.target, request.calibration, {});
  const CudaTile last = cudaTiles(request.target).back();
  REQUIRE(plan.config.cuda.gateUp != last);
  plan.config.cuda.gateUp = plan.config.cuda.down = last;
  request.plans[0] = plan;
  request.emit = "cuda";
  Result<std::string> text = compileToText(request);
  INFO(text.status().message());
  REQUIRE(text.ok());
  CHECK(text->find(fmt::format(".role = moec::GemmRole::GateUp, .tileTokens = {}u, .tileWeights = {}u", last.tokens,
                               last.weights)) != std::string::npos);
}
