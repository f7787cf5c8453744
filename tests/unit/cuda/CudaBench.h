// A session on the fake driver, with a compiler that answers with kernels which the fake knows.
#pragma once

#include "runtime/Session.h"
#include "tests/unit/Catch.h"
#include "tests/unit/cuda/FakeCuda.h"
#include "tests/unit/runtime/Fakes.h"

#include <optional>

namespace moec::test {

/// A small layer whose routed experts are in e4m3.
inline constexpr LayerShape e4m3Shape{.hidden = 272,
                                      .intermediate = 144,
                                      .experts = 6,
                                      .topK = 2,
                                      .dtype = DType::BF16,
                                      .expertFormat = WeightFormat::BlockE4M3};

/// Compiles for GPUs; names are those that FakeCuda acts on.
struct CudaCompiler {
  std::atomic<int> compiles{0};
  std::string combine = "combine"; // or "wrongCombine"
  uint64_t wrongFrom = UINT64_MAX; // compiles from this one on have "wrongCombine"
  bool dropStore = false;
  bool sharedApart = false;             // a shared expert has launches of its own where it should join the routed ones
  std::function<void(Package &)> spoil; // what else is done to a package
  CompilerCall call();
};

struct CudaBench {
  explicit CudaBench(std::function<void(SessionOptions &)> change = {}, std::vector<LayerDescription> layers = {},
                     std::shared_ptr<CacheStore> cache = nullptr);

  Result<Session> open();
  void mustOpen();
  /// One step of layer 0; its result.
  Status step(CUstream stream, uint32_t tokens = 20, Phase phase = Phase::Decode);
  /// The live plan with tile class `index` of those that gate-up and down can share.
  LayerPlan plan(uint32_t index);
  /// Builds and publishes a generation with these tiles, and experts in an order that is not their own unless told so.
  void publish(const std::string &gateUp, const std::string &down, bool asNumbered = false);

  FakeCuda cuda;
  CudaCompiler compiler;
  std::vector<LayerDescription> layers;
  std::shared_ptr<const Model> model;
  SessionOptions options;
  std::optional<Session> session;
  std::vector<uint16_t> hidden, output;
};

} // namespace moec::test
