#include "runtime/Generation.h"

namespace moec {

const DeviceLayer *Generation::find(uint32_t layer) const {
  for (const auto &candidate : layers)
    if (candidate->number == layer)
      return candidate.get();
  return nullptr;
}

GenerationSet::GenerationSet(std::unique_ptr<const Generation> generation, uint32_t slotsWanted, Disposer disposer)
    : first(generation.get()), numSlots(slotsWanted), dispose(std::move(disposer)),
      slots(std::make_unique<Slot[]>(slotsWanted)), current(first), liveId(first->number) {
  uint64_t number = first->number;
  held[number].generation = std::move(generation);
}

uint32_t GenerationSet::takeSlot(uint32_t begin, uint32_t end) {
  for (uint32_t index = begin; index < end; ++index)
    if (std::atomic<bool> &taken = slots[index].taken;
        !taken.load(std::memory_order_relaxed) && !taken.exchange(true, std::memory_order_acquire))
      return index;
  return end;
}

Result<GenerationSet::Pin> GenerationSet::pin(uint32_t begin, uint32_t end) {
  const uint32_t index = takeSlot(begin, end);
  if (index == end)
    return makeError(Code::ResourceExhausted, "all {} steps of this session are in flight", end - begin);
  const bool odd = steps.fetch_add(1, std::memory_order_relaxed) % 2 != 0;
  std::atomic<const Generation *> *source = odd ? &other : &current;
  while (true) {
    const Generation *generation = source->load(std::memory_order_seq_cst);
    if (!generation) { // nothing alternates
      source = &current;
      continue;
    }
    slots[index].pinned.store(generation, std::memory_order_seq_cst);
    if (source->load(std::memory_order_seq_cst) == generation)
      return Pin{index, generation};
  }
}

Result<GenerationSet::Pin> GenerationSet::pinNumber(uint64_t number, uint32_t begin, uint32_t end) {
  Lock lock(mutex); // nothing is reaped meanwhile
  auto found = held.find(number);
  if (found == held.end())
    return makeError(Code::NotFound, "there is no generation {}", number);
  const uint32_t index = takeSlot(begin, end);
  if (index == end)
    return makeError(Code::ResourceExhausted, "all {} steps of this session are in flight", end - begin);
  slots[index].pinned.store(found->second.generation.get(), std::memory_order_seq_cst);
  return Pin{index, found->second.generation.get()};
}

std::optional<uint64_t> GenerationSet::alternateNumber() const {
  Lock lock(mutex); // it cannot go away while it is looked at
  const Generation *generation = other.load(std::memory_order_seq_cst);
  return generation ? std::optional(generation->number) : std::nullopt;
}

void GenerationSet::unpin(uint32_t slot) {
  slots[slot].pinned.store(nullptr, std::memory_order_release);
  slots[slot].taken.store(false, std::memory_order_release);
}

void GenerationSet::add(std::unique_ptr<const Generation> generation) {
  Lock lock(mutex);
  reap();
  uint64_t number = generation->number;
  held[number].generation = std::move(generation);
}

Status GenerationSet::publish(uint64_t number) {
  Lock lock(mutex);
  auto found = held.find(number);
  if (found == held.end())
    return makeError(Code::NotFound, "there is no generation {}", number);
  found->second.retired = false;
  other.store(nullptr, std::memory_order_seq_cst);
  current.store(found->second.generation.get(), std::memory_order_seq_cst);
  liveId.store(number, std::memory_order_relaxed);
  reap();
  return {};
}

void GenerationSet::retire(uint64_t number) {
  Lock lock(mutex);
  if (auto found = held.find(number); found != held.end())
    found->second.retired = true;
  reap();
}

Status GenerationSet::alternate(uint64_t incumbent, uint64_t challenger, bool on) {
  Lock lock(mutex);
  if (!on) {
    other.store(nullptr, std::memory_order_seq_cst);
    reap();
    return {};
  }
  for (uint64_t number : {incumbent, challenger})
    if (!held.contains(number))
      return makeError(Code::NotFound, "there is no generation {}", number);
  const uint64_t live = liveNumber();
  if (incumbent != live && challenger != live)
    return makeError(Code::InvalidArgument, "neither generation {} nor {} is live, but {}", incumbent, challenger,
                     live);
  other.store(held[incumbent == live ? challenger : incumbent].generation.get(), std::memory_order_seq_cst);
  return {};
}

size_t GenerationSet::size() const {
  Lock lock(mutex);
  return held.size();
}

bool GenerationSet::isPinned(const Generation *generation) const {
  for (uint32_t index = 0; index < numSlots; ++index)
    if (slots[index].pinned.load(std::memory_order_seq_cst) == generation)
      return true;
  return false;
}

void GenerationSet::reap() {
  for (auto entry = held.begin(); entry != held.end();) {
    const Generation *generation = entry->second.generation.get();
    const bool reachable = generation == first || generation == current.load(std::memory_order_seq_cst) ||
                           generation == other.load(std::memory_order_seq_cst);
    if (!entry->second.retired || reachable || isPinned(generation)) {
      ++entry;
      continue;
    }
    if (dispose)
      dispose(std::move(entry->second.generation));
    entry = held.erase(entry);
  }
}

} // namespace moec
