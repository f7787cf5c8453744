// What tests of gate-up of few tokens have in common.
#pragma once

#include "compiler/kernels/gateUpFewFp8.cuh"

#include <algorithm>
#include <set>

namespace moec::emulation {

/// Weight rows of gateUpFewFp8's products that count, of 64: a product of fewer than four units reads what lies behind.
inline uint32_t rowsThatCount(const GateUpFewFp8Args &args, uint32_t blocks) {
  const FewPairs &few = args.few;
  std::set<uint32_t> asked(few.ids, few.ids + few.numTokens * few.topK);
  std::erase_if(asked, [&](uint32_t id) { return id >= few.numExperts; }); // of padding
  const auto experts = static_cast<uint32_t>(few.joined + asked.size());
  const uint32_t most = ceilDivide(experts * (args.n / kGateUpFewColumns), blocks);
  const uint32_t products = std::max(ceilDivide(most, kGateUpFewUnits), 1u);
  return std::max(ceilDivide(most, products), 1u) * 2 * kGateUpFewColumns;
}

} // namespace moec::emulation
