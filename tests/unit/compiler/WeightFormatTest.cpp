// How a checkpoint stores experts: from the model text to layer, weights and keys.
#include "compiler/Compile.h"
#include "tests/unit/Catch.h"
#include "tests/unit/compiler/Models.h"

using namespace moec;

namespace {

const LayerShape plain{.hidden = 64, .intermediate = 32, .experts = 4, .topK = 2, .dtype = DType::BF16};

LayerShape marked() {
  LayerShape shape = plain;
  shape.expertFormat = WeightFormat::BlockE4M3;
  return shape;
}

LayerDescription described(const std::string &model) {
  Result<ModelDescription> description = describe(model);
  INFO(description.status().message());
  REQUIRE(description.ok());
  REQUIRE(description->layers.size() == 1);
  // What goes from the compiler's library to the runtime.
  Result<ModelDescription> read = ModelDescription::fromJson(description->toJson());
  REQUIRE(read.ok());
  CHECK(read->layers == description->layers);
  return read->layers[0];
}

CompileRequest requestFor(const std::string &model) {
  CompileRequest request;
  request.model = model;
  request.target.name = "cpu-avx2";
  request.calibration = Calibration::assumed(request.target, computeDType(plain));
  return request;
}

Package compiled(const LayerShape &shape) {
  Result<Package> package = compile(requestFor(tests::tinyModel(shape)));
  INFO(package.status().message());
  REQUIRE(package.ok());
  return std::move(*package);
}

} // namespace

TEST_CASE("a shared expert is like the routed ones where its activation and the format of its weights are theirs",
          "[compiler]") {
  for (WeightFormat format : {WeightFormat::Plain, WeightFormat::BlockE4M3})
    for (bool alike : {false, true}) {
      LayerShape shape = plain;
      shape.expertFormat = format;
      shape.sharedIntermediate = 32;
      shape.sharedAlike = alike;
      const std::string model = tests::tinyModel(shape);
      CHECK(described(model).shape == shape);
      std::string other = model; // of one of the two activations, silu(gate) * up, becomes silu(gate) + up
      const std::string product = "arith.mulf", sum = "arith.addf";
      REQUIRE(other.find(product) != std::string::npos);
      other.replace(other.find(product), product.size(), sum);
      CHECK_FALSE(described(other).shape.sharedAlike);
    }
}

TEST_CASE("a layer's experts are e4m3 where gate, up and down all are", "[compiler]") {
  CHECK(described(tests::tinyModel(plain)).shape == plain);
  const std::string model = tests::tinyModel(marked());
  const LayerDescription layer = described(model);
  CHECK(layer.shape == marked());
  CHECK(layer.weights.router.format == WeightFormat::Plain);
  for (const WeightRef *ref : {&layer.weights.gate, &layer.weights.up, &layer.weights.down})
    CHECK(ref->format == WeightFormat::BlockE4M3);

  const WeightRef LayerWeights::*parts[] = {&LayerWeights::gate, &LayerWeights::up, &LayerWeights::down};
  for (const char *part : {"gate_proj", "up_proj", "down_proj"}) {
    std::string one = model;
    const std::string mark = std::string(part) + ".weight\" {block_e4m3}";
    REQUIRE(one.find(mark) != std::string::npos);
    one.replace(one.find(mark), mark.size(), std::string(part) + ".weight\"");
    const LayerDescription mixed = described(one);
    CHECK(mixed.shape == plain);
    for (auto ref : parts)
      CHECK(((mixed.weights.*ref).format == WeightFormat::Plain) ==
            ((mixed.weights.*ref).name.find(part) != std::string::npos));
  }
}

TEST_CASE("on a CPU e4m3 experts get the kernels and the plan that others get", "[compiler]") {
  const Package other = compiled(plain), package = compiled(marked());
  CHECK(package.layers[0].shape == marked());
  CHECK(package.layers[0].plan == other.layers[0].plan);
  REQUIRE(package.images.size() == other.images.size());
  for (size_t i = 0; i < package.images.size(); ++i)
    CHECK(package.images[i].key == other.images[i].key);
  CHECK(requestFor(tests::tinyModel(marked())).keyText("b") != requestFor(tests::tinyModel(plain)).keyText("b"));
}
