#include "tests/conformance/CheckLayers.h"
#include "tests/unit/Catch.h"

using namespace moec::conformance;

namespace {

// Between the products rows are rounded to the layer's dtype, and so is each expert's output before combine adds them.
// The router's sums are f32 in another order than the reference's.
constexpr Bounds gpuBounds{.bf16 = 1.5e-2, .f16 = 2e-3, .margin = 1e-5, .skipF32 = true};

} // namespace

TEST_CASE("random layers compute on a GPU what the reference computes", "[conformance]") {
  checkLayers(0, 120, "cuda:0", gpuBounds);
}
