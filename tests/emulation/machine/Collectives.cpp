#include "tests/emulation/machine/Collectives.h"

#include "tests/emulation/machine/Instructions.h"
#include "tests/emulation/machine/Plants.h"

#include <bit>
#include <cstring>
#include <fmt/format.h>

namespace moec::emulation {
namespace {

uint32_t planting(uint32_t mask) {
  return isPlanted(Bug::LostLane) && Block::current().self().lane != 31 ? mask & 0x7fffffffu : mask;
}

[[noreturn]] void differ(Block &block, const char *instruction) {
  block.fail(Fault::Collective, fmt::format("the lanes of {} disagree about its operands", instruction));
}

} // namespace

void meet(const char *instruction, uint32_t mask, void *operands, MeetingAct act) {
  Block &block = Block::current();
  Thread &thread = block.self();
  Warp &warp = block.warps[thread.warp];
  const uint32_t mine = 1u << thread.lane;
  if (!(mask & mine))
    block.fail(Fault::Collective,
               fmt::format("{} with mask {:#x}, which leaves out its own lane {}", instruction, mask, thread.lane));
  block.pause();
  auto meeting = warp.meetings.begin();
  for (; meeting != warp.meetings.end(); ++meeting) {
    if (meeting->mask == mask && !(meeting->arrived & mine))
      break;
    if (meeting->mask & mask)
      block.fail(Fault::Collective, fmt::format("{} with mask {:#x} while lanes wait in {} with mask {:#x}",
                                                instruction, mask, meeting->instruction, meeting->mask));
  }
  if (meeting == warp.meetings.end()) {
    warp.meetings.push_back({instruction, mask, 0, {}});
    meeting = warp.meetings.end() - 1;
  }
  if (std::strcmp(meeting->instruction, instruction) != 0)
    block.fail(Fault::Collective,
               fmt::format("{} while other lanes of the warp execute {}", instruction, meeting->instruction));
  meeting->arrived |= mine;
  meeting->operands[thread.lane] = operands;
  if (meeting->arrived != mask)
    return block.wait({instruction, mask, 0});
  Meeting complete = *meeting;
  warp.meetings.erase(meeting);
  act(block, warp, complete.operands);
  for (uint32_t lane = 0; lane < 32; ++lane)
    if ((mask & ~mine) >> lane & 1)
      block.wake(block.threads[thread.warp * 32 + lane]);
}

namespace {

struct ShuffleOperands {
  uint32_t value, lane, result;
};

/// Lane that lane `self` reads. PTX ISA, "shfl.sync", for segments of 32 lanes; itself where that is outside.
template <Shuffle Kind> uint32_t sourceLane(uint32_t self, uint32_t by) {
  switch (Kind) {
  case Shuffle::Index: return by % 32;
  case Shuffle::Up: return self >= by ? self - by : self;
  case Shuffle::Down: return self + by < 32 ? self + by : self;
  case Shuffle::Xor: return (self ^ by) < 32 ? self ^ by : self;
  }
}

template <Shuffle Kind> void shuffleAct(Block &block, Warp &, void *(&operands)[32]) {
  for (uint32_t lane = 0; lane < 32; ++lane) {
    auto *mine = static_cast<ShuffleOperands *>(operands[lane]);
    if (!mine)
      continue;
    auto *source = static_cast<ShuffleOperands *>(operands[sourceLane<Kind>(lane, mine->lane)]);
    if (!source)
      block.fail(Fault::Collective, fmt::format("lane {} shuffles from a lane outside of the mask", lane));
    mine->result = source->value;
  }
}

struct VoteOperands {
  uint32_t value, result;
};

void ballotAct(Block &, Warp &, void *(&operands)[32]) {
  uint32_t votes = 0;
  for (uint32_t lane = 0; lane < 32; ++lane)
    if (auto *mine = static_cast<VoteOperands *>(operands[lane]))
      votes |= (mine->value ? 1u : 0u) << lane;
  for (void *operand : operands)
    if (operand)
      static_cast<VoteOperands *>(operand)->result = votes;
}

void matchAct(Block &, Warp &, void *(&operands)[32]) {
  for (void *operand : operands) {
    auto *mine = static_cast<VoteOperands *>(operand);
    if (!mine)
      continue;
    mine->result = 0;
    for (uint32_t lane = 0; lane < 32; ++lane)
      if (auto *other = static_cast<VoteOperands *>(operands[lane]))
        mine->result |= (other->value == mine->value ? 1u : 0u) << lane;
  }
}

struct ReduceOperands {
  uint32_t value, result;
  Reduce kind;
  bool isSigned;
};

uint32_t combine(Reduce kind, bool isSigned, uint32_t a, uint32_t b) {
  const bool less = isSigned ? static_cast<int32_t>(a) < static_cast<int32_t>(b) : a < b;
  switch (kind) {
  case Reduce::Max: return less ? b : a;
  case Reduce::Min: return less ? a : b;
  case Reduce::Add: return a + b;
  case Reduce::And: return a & b;
  case Reduce::Or: return a | b;
  case Reduce::Xor: return a ^ b;
  }
  return 0;
}

void reduceAct(Block &block, Warp &, void *(&operands)[32]) {
  const ReduceOperands *first = nullptr;
  uint32_t result = 0;
  for (uint32_t lane = 0; lane < (isPlanted(Bug::ReduceMask) ? 16 : 32); ++lane) {
    const auto *mine = static_cast<ReduceOperands *>(operands[lane]);
    if (!mine)
      continue;
    if (first && (mine->kind != first->kind || mine->isSigned != first->isSigned))
      differ(block, "redux.sync");
    result = first ? combine(mine->kind, mine->isSigned, result, mine->value) : mine->value;
    first = mine;
  }
  for (void *operand : operands)
    if (operand)
      static_cast<ReduceOperands *>(operand)->result = result;
}

/// bar.warp.sync orders memory among the lanes; the other collectives do not.
void syncAct(Block &block, Warp &, void *(&operands)[32]) {
  Knowledge known;
  for (void *operand : operands)
    if (operand)
      block.release(*static_cast<Thread *>(operand), known);
  for (void *operand : operands)
    if (operand)
      static_cast<Thread *>(operand)->known.join(known);
}

} // namespace

uint32_t shuffle(Shuffle kind, uint32_t mask, uint32_t value, uint32_t lane) {
  if (kind == Shuffle::Xor && isPlanted(Bug::ShuffleStep))
    lane = lane * 2 % 32;
  ShuffleOperands operands{value, lane, 0};
  switch (kind) {
  case Shuffle::Index: meet("shfl.sync.idx", planting(mask), &operands, shuffleAct<Shuffle::Index>); break;
  case Shuffle::Up: meet("shfl.sync.up", planting(mask), &operands, shuffleAct<Shuffle::Up>); break;
  case Shuffle::Down: meet("shfl.sync.down", planting(mask), &operands, shuffleAct<Shuffle::Down>); break;
  case Shuffle::Xor: meet("shfl.sync.bfly", planting(mask), &operands, shuffleAct<Shuffle::Xor>); break;
  }
  return operands.result;
}

uint32_t ballot(uint32_t mask, bool predicate) {
  VoteOperands operands{predicate, 0};
  meet("vote.sync", mask, &operands, ballotAct);
  return operands.result;
}

uint32_t matchAny(uint32_t mask, uint32_t value) {
  VoteOperands operands{value, 0};
  meet("match.any.sync", mask, &operands, matchAct);
  return operands.result;
}

uint32_t reduce(Reduce kind, bool isSigned, uint32_t mask, uint32_t value) {
  ReduceOperands operands{value, 0, kind, isSigned};
  meet("redux.sync", mask, &operands, reduceAct);
  return operands.result;
}

void syncWarp(uint32_t mask) {
  if (isPlanted(Bug::SkipSyncWarp))
    return;
  meet("bar.warp.sync", mask, &Block::current().self(), syncAct);
}

uint32_t activeMask() {
  Block &block = Block::current();
  return 1u << block.self().lane; // all that can be relied on
}

} // namespace moec::emulation
