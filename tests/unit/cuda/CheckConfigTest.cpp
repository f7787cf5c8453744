// Which plans a GPU takes.
#include "tests/unit/cuda/CudaBench.h"

using namespace moec;
using namespace moec::test;

TEST_CASE("plans of tiles that the GPU or the product has not are refused by the tile's name", "[cuda]") {
  const auto shape = [](uint32_t shared) {
    return describeLayer(0, {.hidden = 44,
                             .intermediate = 24,
                             .experts = 6,
                             .topK = 2,
                             .dtype = DType::BF16,
                             .sharedIntermediate = shared});
  };
  const CudaTile fitted = *CudaTile::parse("fitted-192x256-s4-w2x1-b1");
  CudaTile unknown = fitted;
  unknown.tokens = 72;
  for (uint32_t shared : {0u, 32u}) {
    CudaBench bench({}, {shape(shared)});
    bench.mustOpen();
    const auto build = [&](const std::function<void(CudaConfig &)> &change) {
      LayerPlan plan = bench.plan(1);
      change(plan.config.cuda);
      return bench.session->host().build({{0, plan}}, {}, {}).status();
    };
    const auto refused = [&](const std::function<void(CudaConfig &)> &change, const CudaTile &tile) {
      const Status status = build(change);
      INFO(shared << " " << status.message());
      CHECK(status.code() == Code::InvalidArgument);
      CHECK(status.message().find("no tile " + tile.text()) != std::string::npos);
    };
    CHECK(build([](CudaConfig &) {}).ok());
    refused([&](CudaConfig &config) { config.gateUp = config.down = unknown; }, unknown);
    // Of no meaning without a shared expert; with one, fitted tiles have no form for rows that are all a step's.
    for (CudaTile CudaConfig::*tile : {&CudaConfig::sharedGateUp, &CudaConfig::sharedDown})
      for (const CudaTile &wrong : {unknown, fitted}) {
        const auto change = [&](CudaConfig &config) { config.*tile = wrong; };
        if (shared)
          refused(change, wrong);
        else
          CHECK(build(change).ok());
      }
  }
}
