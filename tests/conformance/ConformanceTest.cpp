// Random layers through the whole path (text, phases, LLVM, session) against the float64 reference.
#include "tests/conformance/CheckLayers.h"
#include "tests/unit/Catch.h"

using moec::conformance::checkLayers;

// Two halves, so that ctest can run them side by side.
TEST_CASE("1,000 random layers compute what the reference computes", "[first]") { checkLayers(0, 1000, "cpu", {}); }

TEST_CASE("1,000 more random layers compute what the reference computes", "[second]") {
  checkLayers(1000, 1000, "cpu", {});
}

TEST_CASE("random layers compute the same on the AVX2 target", "[second]") { checkLayers(5000, 200, "cpu-avx2", {}); }
