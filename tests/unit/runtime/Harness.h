// A session on fake kernels and the reference beside it.
#pragma once

#include "runtime/weights/Convert.h"
#include "tests/unit/Catch.h"
#include "tests/unit/runtime/ReferenceMoe.h"

#include <algorithm>
#include <random>

namespace moec::test {

/// Hidden states or outputs in a layer's dtype, with their values.
struct Tensor {
  Tensor(uint32_t rows, uint32_t columns, DType dtype)
      : rows(rows), columns(columns), dtype(dtype),
        bytes(std::max<uint64_t>(1, uint64_t{rows} * columns * byteSize(dtype))) {}

  static Tensor random(uint32_t rows, uint32_t columns, DType dtype, uint32_t seed) {
    Tensor tensor(rows, columns, dtype);
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal;
    std::vector<float> values(uint64_t{rows} * columns);
    for (float &value : values)
      value = normal(generator);
    tensor.set(values);
    return tensor;
  }

  void set(const std::vector<float> &values) { convert(values.data(), DType::F32, bytes.data(), dtype, values.size()); }
  std::vector<float> values() const {
    std::vector<float> result(uint64_t{rows} * columns);
    convert(bytes.data(), dtype, result.data(), DType::F32, result.size());
    return result;
  }
  TensorView view() { return {bytes.data(), dtype, rows, columns}; }

  uint32_t rows, columns;
  DType dtype;
  std::vector<std::byte> bytes;
};

inline double toleranceOf(DType dtype) { return dtype == DType::BF16 ? 1e-2 : dtype == DType::F16 ? 2e-3 : 1e-5; }

struct Harness {
  explicit Harness(std::vector<LayerDescription> described, std::function<void(SessionOptions &)> change = {},
                   std::shared_ptr<CacheStore> cache = nullptr)
      : layers(std::move(described)), model(makeModel(compiler, layers, std::move(cache))) {
    SessionOptions options = fakeOptions(weights);
    if (change)
      change(options);
    auto opened = Session::open(model, options);
    INFO(opened.status().message());
    REQUIRE(opened.ok());
    session.emplace(std::move(*opened));
  }

  /// One step of layer `index` by its own router.
  Tensor forward(Tensor &hidden, size_t index = 0) {
    const LayerDescription &layer = layers[index];
    Tensor output(hidden.rows, hidden.columns, hidden.dtype);
    auto step = session->begin({.tokens = hidden.rows});
    REQUIRE(step.ok());
    Status status = step->layer(layer.layer).forward(hidden.view(), output.view());
    INFO(status.message());
    REQUIRE(status.ok());
    return output;
  }

  /// A plan of `heights` with everything packed that `packed` says and roomy slots.
  LayerPlan plan(size_t index, std::vector<uint16_t> heights, bool packed = true, uint32_t slots = 1u << 20) {
    const LayerDescription &layer = layers[index];
    GenerationHost &host = session->host();
    LayerPlan plan = host.livePlan(layer.layer);
    plan.config.cpu.tileRows = std::move(heights);
    plan.table.slots.assign(layer.shape.experts, slots);
    plan.table.packed.assign(layer.shape.experts, packed);
    std::reverse(plan.table.order.begin(), plan.table.order.end());
    return plan;
  }

  FakeCompiler compiler;
  std::shared_ptr<MadeUpWeights> weights = std::make_shared<MadeUpWeights>();
  std::vector<LayerDescription> layers;
  std::shared_ptr<const Model> model;
  std::optional<Session> session;
};

} // namespace moec::test
