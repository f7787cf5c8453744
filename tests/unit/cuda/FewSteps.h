// What tests of steps of few pairs and of few tokens share.
#pragma once

#include "tests/unit/cuda/CudaBench.h"

namespace moec::test {

inline const std::string wide = "fitted-192x256-s4-w2x1-b1", narrow = "fitted-16x64-s5-w1x4-b1",
                         two = "fitted-16x64-s5-w1x2-b2"; // blocks a multiprocessor

/// Launches of a step of `tokens` on such tiles, whose products are kept.
inline size_t launchesOf(CudaBench &bench, const std::string &gateUp, const std::string &down, uint32_t tokens) {
  bench.publish(gateUp, down);
  bench.cuda.forget();
  REQUIRE(bench.step(bench.cuda.stream(), tokens).ok());
  return bench.cuda.count("cuLaunchKernelEx");
}

/// Of tokens of two experts each, of six.
inline void checkFew(const FewPairs &few, uint32_t tokens, uint32_t joined = 0) {
  REQUIRE(few.ids);
  CHECK((few.numTokens == tokens && few.topK == 2 && few.numExperts == 6 && few.joined == joined));
}

} // namespace moec::test
