#include "compiler/core/Plan.h"
#include "tests/unit/Catch.h"
#include "tests/unit/core/Fixtures.h"

using namespace moec;
using namespace moec::test;

namespace {

/// H = 32, I = 16, two experts, f32 on AVX2 (8 lanes) and one thread. Worked out by hand:
///
///   gate-up: K = 32 steps, ceil(16/8) = 2 panels, so a cover of c ns costs c * 64; 2 * 32*16*4 B =
///   4096 B down:    K = 16 steps, ceil(32/16) = 2 panels, so c * 32;                      2 *
///   16*16*4 B = 2048 B router:  K = 32 steps, ceil(2/16) = 1 panel, so c * 32; 32*16*4 B = 2048 B
///   packed
struct Tiny {
  LayerShape shape{.hidden = 32, .intermediate = 16, .experts = 2, .topK = 1, .dtype = DType::F32};
  TargetFacts target = facts(CpuIsa::Avx2, 1);
  Calibration calibration;
  LayerPlan plan;

  Tiny() {
    calibration.tileNsPerStep[6] = 6;
    calibration.tileNsPerStep[1] = 2;
    plan.config = CpuConfig{.isa = CpuIsa::Avx2, .compute = DType::F32, .tileRows = {6, 1}};
    plan.table = {.slots = {8, 8}, .packed = {1, 1}, .order = {0, 1}};
  }
  double predict(std::vector<uint32_t> pairs, const LayerConfig &spill) const {
    return predictLayer(shape, plan, spill, {8, std::move(pairs)}, target, calibration);
  }
  double predict(std::vector<uint32_t> pairs) const { return predict(std::move(pairs), plan.config); }
  // 8 tokens: covers 6+1+1 = 10 ns and 6+6 = 12 ns; the router takes 10 * 32.
  static constexpr double routerNs = 320;
};

} // namespace

TEST_CASE("compute is tiles times steps times panels", "[core][plan]") {
  Tiny tiny;
  // 7 pairs: 6+1, 8 ns, times 64 + 32. 1 pair: 2 ns times 96.
  CHECK(tiny.predict({7, 1}) == Tiny::routerNs + 8 * 96 + 2 * 96);
}

TEST_CASE("threads share compute, packing and copies but not the rate of memory", "[core][plan]") {
  Tiny tiny;
  tiny.target.threads = 4;
  CHECK(tiny.predict({7, 1}) == (Tiny::routerNs + 10 * 96) / 4);
  tiny.calibration.streamNsPerByte = 1; // slower than all compute
  // Router 2048, expert 0 and 1 each 4096 + 2048.
  CHECK(tiny.predict({7, 1}) == 2048 + 2 * 6144);
}

TEST_CASE("each GEMM of an expert takes the longer of compute and memory", "[core][plan]") {
  Tiny tiny;
  tiny.calibration.streamNsPerByte = 0.125; // router 256, gate-up 512, down 256
  // Expert 0 with 7 pairs: compute 512 and 256, as long as memory. Expert 1 with 1 pair: memory,
  // 512 + 256. The router computes 320 > 256.
  CHECK(tiny.predict({7, 1}) == Tiny::routerNs + 768 + 768);
  // With 8 pairs (10 ns) compute wins: 640 + 320.
  CHECK(tiny.predict({8, 0}) == Tiny::routerNs + 960);
}

TEST_CASE("what does not hide of the shorter adds to the longer", "[core][plan]") {
  Tiny tiny;
  tiny.calibration.streamNsPerByte = 0.125; // router 256, gate-up 512, down 256
  tiny.calibration.overlap = 0.75;
  // 7 pairs (8 ns): as long as memory, 512 and 256, so a quarter shows.
  double router = 320 + 0.25 * 256 * (512 / 576.0);
  CHECK(tiny.predict({7, 0}) == Approx(router + 768 + 192));
  // 1 pair (2 ns): 128 and 64 beside 512 and 256. Of a quarter of the other the tenth shows.
  CHECK(tiny.predict({0, 1}) == Approx(router + 768 + 0.25 * 0.4 * 192));
}

TEST_CASE("an idle expert costs nothing, packed or not", "[core][plan]") {
  Tiny tiny;
  tiny.calibration.streamNsPerByte = 1;
  tiny.calibration.packNsPerByte = 1;
  tiny.plan.table.packed = {1, 0};
  CHECK(tiny.predict({8, 0}) == 2048 + 6144);
}

TEST_CASE("an expert that is not packed pays for packing on the fly", "[core][plan]") {
  Tiny tiny;
  tiny.calibration.packNsPerByte = 0.5;
  double packed = tiny.predict({7, 1});
  tiny.plan.table.packed = {0, 1};
  CHECK(tiny.predict({7, 1}) == packed + 6144 * 0.5);
}

TEST_CASE("an f16 checkpoint streams half the bytes unpacked, and packs into f32", "[core][plan]") {
  Tiny tiny;
  tiny.shape.dtype = DType::F16;
  tiny.calibration.streamNsPerByte = 1;
  CHECK(tiny.predict({1, 0}) == 2048 + 6144);
  tiny.plan.table.packed = {0, 0};
  CHECK(tiny.predict({1, 0}) == 2048 + 6144 / 2);
  tiny.calibration.packNsPerByte = 0.25;
  CHECK(tiny.predict({1, 0}) == 2048 + 6144 / 2 + 6144 * 0.25);
}

TEST_CASE("bf16 takes a step for two of K and half the bytes", "[core][plan]") {
  Tiny tiny;
  tiny.shape.dtype = DType::BF16;
  tiny.plan.config.cpu.compute = DType::BF16;
  CHECK(tiny.predict({7, 1}) == (Tiny::routerNs + 10 * 96) / 2);
  CHECK(packedExpertBytes(tiny.shape, tiny.target) == 3072);
  tiny.shape.intermediate = 15; // an odd K is padded to a pair: nothing changes, as 2 panels hold 16 columns
  CHECK(packedExpertBytes(tiny.shape, tiny.target) == 3072);
}

TEST_CASE("biases are an f32 for each of a panel's columns", "[core][plan]") {
  Tiny tiny;
  tiny.shape.expertBias = true;
  CHECK(packedExpertBytes(tiny.shape, tiny.target) == 6144 + 4 * 16 * 4); // 2 panels and 2
  CHECK(panelBytes(32, 8, DType::BF16, true) == panelBytes(32, 8, DType::BF16) + 64);
  tiny.calibration.streamNsPerByte = 1;
  CHECK(tiny.predict({1, 0}) == 2048 + 6144 + 256);
  // Stored: 2 * 16 of gate and up, 32 of down.
  tiny.plan.table.packed = {0, 0};
  CHECK(tiny.predict({1, 0}) == 2048 + 6144 + 64 * 4);
}

TEST_CASE("gathered pairs and stored tokens are copied, and five sections start", "[core][plan]") {
  Tiny tiny;
  double without = tiny.predict({7, 1});
  tiny.calibration.copyNsPerByte = 1;
  tiny.calibration.sectionNs = 1000;
  // (8 pairs + 8 tokens) * 32 * 4 B
  CHECK(tiny.predict({7, 1}) == without + 16 * 128 + 5000);
}

TEST_CASE("a shared expert takes every token", "[core][plan]") {
  Tiny tiny;
  double without = tiny.predict({7, 1});
  tiny.shape.sharedIntermediate = 16;
  CHECK(tiny.predict({7, 1}) == without + 10 * 96);
}

TEST_CASE("an expert that overflows its slots is charged wholly on the spill config", "[core][plan]") {
  Tiny tiny;
  CpuConfig spill = tiny.plan.config.cpu;
  spill.tileRows = {1};
  tiny.plan.table.slots = {7, 8};
  // Expert 0 fits with exactly 7 pairs: 6+1. With 8 it does not, and all 8 rows are tiles of 1 row
  // (16 ns).
  CHECK(tiny.predict({7, 0}, spill) == Tiny::routerNs + 8 * 96);
  CHECK(tiny.predict({8, 0}, spill) == Tiny::routerNs + 16 * 96);
  CHECK(tiny.predict({0, 8}, spill) == Tiny::routerNs + 10 * 96);
}

TEST_CASE("a histogram of more experts than the plan has is charged as spill", "[core][plan]") {
  Tiny tiny;
  CpuConfig spill = tiny.plan.config.cpu;
  spill.tileRows = {1};
  CHECK(tiny.predict({0, 0, 2}, spill) == Tiny::routerNs + 4 * 96);
}

TEST_CASE("a layer without tokens costs its sections only", "[core][plan]") {
  Tiny tiny;
  tiny.calibration.sectionNs = 10;
  tiny.calibration.streamNsPerByte = 1;
  CHECK(predictLayer(tiny.shape, tiny.plan, tiny.plan.config, {0, {0, 0}}, tiny.target, tiny.calibration) == 50);
}
