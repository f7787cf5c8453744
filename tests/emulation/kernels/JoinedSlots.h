// Where rows lie when an expert is joined that takes all tokens.
#pragma once

#include "tools/bench/gpu/Reference.h"

namespace moec::emulation {

/// The slots of the routed experts behind those of a joined one, which is number 0: row t of it is token t's.
inline bench::ReferenceSlots joinedSlots(bench::ReferenceSlots slots, uint32_t tokens, uint32_t topK) {
  for (std::vector<int32_t> *table : {&slots.expertBegin, &slots.slotOfPair})
    for (int32_t &slot : *table)
      slot += slot < 0 ? 0 : static_cast<int32_t>(tokens);
  slots.expertBegin.insert(slots.expertBegin.begin(), 0);
  std::vector<int32_t> firstPairs;
  for (uint32_t token = 0; token < tokens; ++token)
    firstPairs.push_back(static_cast<int32_t>(token * topK));
  slots.slotPair.insert(slots.slotPair.begin(), firstPairs.begin(), firstPairs.end());
  return slots;
}

} // namespace moec::emulation
