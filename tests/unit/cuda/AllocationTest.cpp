// The step path on a GPU allocates nothing on the host: operator new is counted per thread, outside the fake driver.
//
// Not under sanitizers, which bring an operator new of their own.
#include "runtime/device/cpu/Clones.h"

#if !defined(MOEC_SANITIZED)
#include "tests/unit/cuda/CudaBench.h"

namespace {

thread_local uint64_t allocations = 0;

void counted() {
  if (!moec::test::FakeCuda::inside())
    ++allocations;
}

} // namespace

#include "tests/unit/CountedNew.h"

using namespace moec;
using namespace moec::test;

TEST_CASE("a step on a GPU and its forwards allocate nothing on the host", "[cuda][allocation]") {
  CudaBench bench;
  bench.mustOpen();
  CUstream stream = bench.cuda.stream();
  const std::vector<int32_t> ids = {0, 1, 2, 3, 4, 5, 0, 2};
  const std::vector<float> weights(8, 0.5f);
  REQUIRE(bench.step(stream).ok());
  bench.cuda.forget();
  const uint64_t before = allocations;
  bool ok = true;
  for (int repeat = 0; repeat < 20; ++repeat) {
    auto step = bench.session->begin({.tokens = 4, .stream = stream});
    const TensorView tensor{bench.hidden.data(), DType::BF16, 4, 44}, to{bench.output.data(), DType::BF16, 4, 44};
    ok &= step->layer(0).forward(tensor, to).ok();
    ok &= step->layer(0).forward(tensor, ids.data(), weights.data(), to).ok();
  }
  CHECK(allocations - before == 0);
  CHECK(ok);
  const uint64_t counts = allocations;
  ::operator delete(::operator new(8)); // a new-expression could be left out by the compiler
  CHECK(allocations > counts);          // the counter counts
}

#endif
