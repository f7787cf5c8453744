#include "runtime/device/cuda/Samples.h"

#include <algorithm>

namespace moec {
namespace {

/// Samples are numbered modulo 2^32.
bool isAfter(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) > 0; }

uint64_t load(const uint64_t *word) {
  return std::atomic_ref(*const_cast<uint64_t *>(word)).load(std::memory_order_acquire);
}

} // namespace

//===-- The step's side -----------------------------------------------------------------------===//

void SampleLane::Note::write(uint32_t number, const QueuedForward &forward, int32_t which) {
  sample.store(0, std::memory_order_relaxed); // a reader of the sample before finds that its note is gone
  std::atomic_thread_fence(std::memory_order_release);
  generation.store(forward.generation, std::memory_order_relaxed);
  tokens.store(forward.tokens, std::memory_order_relaxed);
  phase.store(forward.phase, std::memory_order_relaxed);
  timing.store(which, std::memory_order_relaxed);
  sample.store(number, std::memory_order_release);
}

SampleLane::Timing *SampleLane::open(const QueuedForward &forward, bool timed) {
  const uint32_t sample = queued.load(std::memory_order_relaxed) + 1;
  int32_t which = -1;
  for (uint32_t i = 0; timed && i < numTimings; ++i)
    if (timings[i].usedBy.load(std::memory_order_acquire) == 0) {
      timings[i].usedBy.store(sample, std::memory_order_relaxed);
      which = static_cast<int32_t>(i);
      break;
    }
  notes[sample % numSamples].write(sample, forward, which);
  return which < 0 ? nullptr : &timings[static_cast<uint32_t>(which)];
}

void SampleLane::forget(Timing &timing) {
  if (captured.load(std::memory_order_relaxed)) {
    notes[0].timing.store(-1, std::memory_order_relaxed);
    return;
  }
  notes[(queued.load(std::memory_order_relaxed) + 1) % numSamples].timing.store(-1, std::memory_order_relaxed);
  timing.usedBy.store(0, std::memory_order_release);
}

void SampleLane::commit() { queued.fetch_add(1, std::memory_order_release); }

SampleLane::Timing *SampleLane::openCaptured(const QueuedForward &forward, bool timed) {
  notes[0].write(1, forward, timed ? 0 : -1);
  captured.store(true, std::memory_order_release);
  return timed ? &timings[0] : nullptr;
}

//===-- The reader's side ---------------------------------------------------------------------===//

Result<std::unique_ptr<CudaSamples>> CudaSamples::make(std::shared_ptr<const CudaDriver> driver,
                                                       const DeviceMemory &memory, ForwardLog &log,
                                                       const std::vector<const LayerDescription *> &layers,
                                                       uint32_t slots, CUstream stream) {
  std::unique_ptr<CudaSamples> samples(new CudaSamples(driver, log));
  samples->numLayers = static_cast<uint32_t>(layers.size());
  uint64_t words = 8, mostExperts = 0; // the first eight: the count of non-finite logits, on a cache line of its own
  for (const LayerDescription *layer : layers) {
    words += uint64_t{slots} * SampleLane::numSamples * (layer->shape.experts + 1);
    mostExperts = std::max<uint64_t>(mostExperts, layer->shape.experts);
  }
  Result<PinnedBuffer> pinned = PinnedBuffer::allocate(driver, words * sizeof(uint64_t), "samples of steps");
  if (!pinned)
    return pinned.status();
  const uint64_t sequenceBytes = uint64_t{slots} * layers.size() * sizeof(uint32_t);
  Result<DeviceBuffer> sequences = memory.allocate(sequenceBytes, "numbers of samples");
  if (!sequences)
    return sequences.status();
  MOEC_CUDA(*driver, cuMemsetD8Async, (sequences->address(), 0, sequenceBytes, stream), "clearing numbers of samples");
  samples->pinned = std::move(*pinned);
  samples->sequences = std::move(*sequences);
  samples->pinnedNonFinite = samples->pinned.as<uint32_t>();
  uint64_t *next = samples->pinned.as<uint64_t>() + 8;
  for (uint32_t slot = 0; slot < slots; ++slot)
    for (const LayerDescription *layer : layers) {
      auto lane = std::make_unique<SampleLane>();
      lane->layer = layer->layer;
      lane->experts = layer->shape.experts;
      lane->words = next;
      lane->sequence = samples->sequences.as<uint32_t>() + samples->lanes.size();
      next += uint64_t{SampleLane::numSamples} * (layer->shape.experts + 1);
      for (SampleLane::Timing &timing : lane->timings)
        for (CudaEvent *event : {&timing.begin, &timing.end}) {
          Result<CudaEvent> made = makeEvent(driver, true);
          if (!made)
            return made.status();
          *event = std::move(*made);
        }
      samples->lanes.push_back(std::move(lane));
    }
  Lock lock(samples->draining);
  samples->counts.resize(mostExperts);
  return samples;
}

void CudaSamples::drain() {
  Lock lock(draining);
  for (const std::unique_ptr<SampleLane> &lane : lanes)
    drainLane(*lane);
  drainNonFinite();
}

void CudaSamples::withoutReports(const std::function<void()> &change) {
  Lock lock(draining);
  change();
}

void CudaSamples::drainNonFinite() {
  const uint32_t seen = std::atomic_ref(*pinnedNonFinite).load(std::memory_order_relaxed);
  log.addNonFinite(seen - seenNonFinite);
  seenNonFinite = seen;
}

void CudaSamples::drainLane(SampleLane &lane) {
  const bool captured = lane.captured.load(std::memory_order_acquire);
  while (captured || !isAfter(lane.next, lane.queued.load(std::memory_order_acquire))) {
    uint32_t found = 0;
    const Read result = read(lane, lane.next, found);
    if (result == Read::NotYet || (result == Read::Whole && !report(lane, lane.next)))
      break;
    if (result == Read::Whole) {
      ++lane.next;
      continue;
    }
    // Overwritten: the oldest that can be left is one ring before the one that was found.
    const uint32_t oldest = found - SampleLane::numSamples + 1;
    log.addSkipped(oldest - lane.next);
    lane.next = oldest;
  }
  for (SampleLane::Timing &timing : lane.timings)
    if (uint32_t user = timing.usedBy.load(std::memory_order_relaxed); user && isAfter(lane.next, user))
      timing.usedBy.store(0, std::memory_order_release);
}

CudaSamples::Read CudaSamples::read(const SampleLane &lane, uint32_t sample, uint32_t &found) {
  const uint64_t *words = lane.words + uint64_t{sample % SampleLane::numSamples} * (lane.experts + 1);
  bool whole = true;
  for (uint32_t i = 0; i <= lane.experts; ++i) {
    const uint64_t word = load(words + i);
    if (isAfter(sequenceOf(word), sample)) {
      found = sequenceOf(word);
      return Read::Lost;
    }
    whole &= sequenceOf(word) == sample;
    if (i < lane.experts)
      counts[i] = countOf(word);
  }
  return whole ? Read::Whole : Read::NotYet;
}

bool CudaSamples::report(SampleLane &lane, uint32_t sample) {
  const bool captured = lane.captured.load(std::memory_order_acquire);
  const SampleLane::Note &note = lane.notes[captured ? 0 : sample % SampleLane::numSamples];
  const uint32_t named = captured ? 1 : sample;
  if (note.sample.load(std::memory_order_acquire) != named) {
    log.addSkipped(1);
    return true;
  }
  LayerObservation seen{.layer = lane.layer,
                        .tokens = note.tokens.load(std::memory_order_relaxed),
                        .phase = note.phase.load(std::memory_order_relaxed),
                        .pairs = std::span<const uint32_t>(counts).first(lane.experts),
                        .layerNs = 0,
                        .spilledPairs = 0,
                        .generation = note.generation.load(std::memory_order_relaxed)};
  const int32_t which = note.timing.load(std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_acquire);
  if (note.sample.load(std::memory_order_relaxed) != named) {
    log.addSkipped(1);
    return true;
  }
  if (which >= 0) {
    SampleLane::Timing &timing = lane.timings[static_cast<uint32_t>(which)];
    // Counts come from the middle of the layer, so its end may still be ahead. An error is somebody else's to tell.
    if (Result<bool> done = isDone(*driver, timing.end.get()); done && !*done && !captured)
      return false;
    seen.layerNs = elapsedNs(timing);
  }
  log.add(seen);
  return true;
}

uint64_t CudaSamples::elapsedNs(const SampleLane::Timing &timing) const {
  float milliseconds = 0;
  if (driver->api().cuEventElapsedTimeFn(&milliseconds, timing.begin.get(), timing.end.get()) != CUDA_SUCCESS)
    return 0; // a captured pair whose next run has begun
  return milliseconds > 0 ? static_cast<uint64_t>(static_cast<double>(milliseconds) * 1e6) : 0;
}

} // namespace moec
