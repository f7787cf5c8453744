#include "compiler/core/CudaWork.h"
#include "tests/unit/Catch.h"

using namespace moec;

namespace {

constexpr LayerShape shape{.hidden = 100, .intermediate = 10, .experts = 8, .topK = 2, .dtype = DType::BF16};

} // namespace

TEST_CASE("each launch's bytes and operations are those of its operands", "[core][gpu][work]") {
  // 4 tokens, 8 pairs, 5 experts hit. Elements have 2 bytes, ids and logits 4.
  const auto of = [](LaunchKind kind) { return cudaLaunchWork(kind, shape, 4, 5); };
  CHECK(of(LaunchKind::Router).bytes == 2 * (8 * 100 + 4 * 100) + 4 * 4 * 8);
  CHECK(of(LaunchKind::Router).flops == 2 * 4 * 8 * 100);
  CHECK(of(LaunchKind::Route).bytes == 4 * (4 * 8 + 8 + 8));
  CHECK(of(LaunchKind::Dispatch).bytes == 4 * 3 * 8);
  CHECK(of(LaunchKind::GateUp).bytes == 2 * (5 * 20 * 100 + 4 * 100 + 8 * 10)); // weights, tokens, outputs
  CHECK(of(LaunchKind::GateUp).flops == 2 * 8 * 20 * 100);
  CHECK(of(LaunchKind::Down).bytes == 2 * (5 * 100 * 10 + 8 * 10 + 8 * 100));
  CHECK(of(LaunchKind::Down).flops == 2 * 8 * 100 * 10);
  CHECK(of(LaunchKind::Store).bytes == 2 * (8 * 100 + 4 * 100) + 4 * (8 + 8));
  CHECK(of(LaunchKind::SharedDown).flops == 0); // it has none
  LayerShape with = shape;
  with.sharedIntermediate = 30;
  CHECK(cudaLaunchWork(LaunchKind::SharedGateUp, with, 4, 5).bytes == 2 * (60 * 100 + 4 * 100 + 4 * 30));
  CHECK(cudaLaunchWork(LaunchKind::SharedDown, with, 4, 5).bytes == 2 * (100 * 30 + 4 * 30 + 4 * 100));
  CHECK(cudaLaunchWork(LaunchKind::Store, with, 4, 5).bytes == of(LaunchKind::Store).bytes + 2 * 4 * 100);
}

TEST_CASE("of e4m3 elements weights and quantised rows have one byte, and operations twice the rate",
          "[core][gpu][work]") {
  const CudaWork gateUp = cudaLaunchWork(LaunchKind::GateUp, shape, 4, 5, true);
  CHECK(gateUp.bytes == 5 * 20 * 100 + 8 * 100 + 2 * 8 * 10); // weights, rows, outputs
  CHECK(gateUp.e4m3Flops == gateUp.flops);
  CHECK(gateUp.floorNs(1e9, 10) == Approx(gateUp.flops / 20));
  CHECK(cudaLaunchWork(LaunchKind::Down, shape, 4, 5, true).bytes == 5 * 100 * 10 + 8 * 10 + 2 * 8 * 100);
  CHECK(cudaLaunchWork(LaunchKind::Store, shape, 4, 5, true).bytes ==
        cudaLaunchWork(LaunchKind::Store, shape, 4, 5).bytes);
  CHECK(cudaQuantiseTokensWork(shape, 4).bytes == 2 * 4 * 100 + 8 * 100 + 4 * 8); // tokens, rows, slots
  CHECK(cudaQuantiseActivatedWork(shape, 4).bytes == 3 * 8 * 10);
  LayerShape with = shape; // the shared expert's weights have two bytes
  with.sharedIntermediate = 30;
  const CudaWork layer = cudaLayerWork(with, 4, 5, true);
  CHECK(layer.bytes == 5 * 3 * 10 * 100 + 2 * 3 * 30 * 100 + 2 * 2 * 4 * 100);
  CHECK(layer.flops == cudaLayerWork(with, 4, 5).flops);
  CHECK(layer.flops - layer.e4m3Flops == cudaLaunchWork(LaunchKind::SharedGateUp, with, 4, 5).flops +
                                             cudaLaunchWork(LaunchKind::SharedDown, with, 4, 5).flops);
}

TEST_CASE("a layer reads weights once and keeps what is between its launches", "[core][gpu][work]") {
  const CudaWork layer = cudaLayerWork(shape, 4, 5);
  CHECK(layer.bytes == 2 * (5 * 3 * 10 * 100 + 2 * 4 * 100));
  CHECK(layer.flops ==
        cudaLaunchWork(LaunchKind::GateUp, shape, 4, 5).flops + cudaLaunchWork(LaunchKind::Down, shape, 4, 5).flops);
  CHECK(layer.floorNs(10, 1e9) == Approx(layer.bytes / 10)); // the longer of the two
  CHECK(layer.floorNs(1e9, 10) == Approx(layer.flops / 10));
}
