#include "tests/unit/cuda/FakeDriver.h"

#include <algorithm>

namespace moec::test {

FakeCuda *FakeCuda::current = nullptr;

void run(CUstream stream, std::function<void()> work) {
  FakeStream *on = streamOf(stream);
  if (on && on->capturing)
    on->capturing->work.push_back(std::move(work));
  else
    work();
}

FakeCuda::FakeCuda() : table(std::make_shared<CudaApi>()) {
  current = this;
  for (auto *fill : {fillDevices, fillMemory, fillLaunches, fillStreams, fillGraphs})
    fill(*table);
}

bool FakeCuda::inside() { return Inside::depth > 0; }

FakeCuda::~FakeCuda() { current = nullptr; }

CUresult FakeCuda::called(const char *name, bool frees) {
  const std::lock_guard lock(mutex);
  log.push_back(name);
  const bool others = failOf != std::thread::id() && failOf != std::this_thread::get_id();
  if (frees || failAt == 0 || others || ++counted != failAt)
    return CUDA_SUCCESS;
  failAt = 0;
  hasFailed = true;
  failedCall = name;
  failedOn = std::this_thread::get_id();
  return failWith;
}

std::vector<std::string> FakeCuda::calls() const {
  const std::lock_guard lock(mutex);
  return {log.begin(), log.end()};
}

uint64_t FakeCuda::count(const std::string &name) const {
  const std::lock_guard lock(mutex);
  return static_cast<uint64_t>(std::count_if(log.begin(), log.end(), [&](const char *call) { return name == call; }));
}

void FakeCuda::forget() {
  const std::lock_guard lock(mutex);
  log.clear();
  fitted.clear();
  lastDownFew.reset();
  lastGateUpFew.reset();
  log.reserve(1 << 16); // so that counting is no allocation of the step path
}

void FakeCuda::failCall(uint64_t number, CUresult with, std::thread::id of) {
  const std::lock_guard lock(mutex);
  failAt = number;
  failOf = of;
  counted = 0;
  failWith = with;
  hasFailed = false;
}

std::string FakeCuda::failedName() const {
  const std::lock_guard lock(mutex);
  return failedCall;
}

std::thread::id FakeCuda::failedThread() const {
  const std::lock_guard lock(mutex);
  return failedOn;
}

std::vector<FakeFitted> FakeCuda::fittedLaunches() const {
  const std::lock_guard lock(mutex);
  return fitted;
}

void FakeCuda::launched(FakeFitted product) {
  const std::lock_guard lock(mutex);
  fitted.push_back(std::move(product));
}

DispatchArgs FakeCuda::lastDispatch() const {
  const std::lock_guard lock(mutex);
  return dispatch;
}

void FakeCuda::launched(const DispatchArgs &args) {
  const std::lock_guard lock(mutex);
  dispatch = args;
}

size_t FakeCuda::outstanding() const {
  const std::lock_guard lock(mutex);
  return handles.size();
}

CUstream FakeCuda::stream() {
  streams.push_back(std::make_unique<FakeStream>());
  return reinterpret_cast<CUstream>(streams.back().get());
}

void FakeCuda::hold(CUstream stream, bool on) {
  FakeStream *which = streamOf(stream);
  const std::lock_guard lock(mutex);
  which->held = on;
}

FakeStream *FakeCuda::streamOf(CUstream stream) {
  if (stream != CU_STREAM_PER_THREAD)
    return reinterpret_cast<FakeStream *>(stream);
  const std::lock_guard lock(mutex);
  return &threadStreams[std::this_thread::get_id()];
}

bool FakeCuda::isHeld(const FakeEvent &event) {
  const std::lock_guard lock(mutex);
  const FakeStream *stream = event.recordedOn;
  return stream && (stream->held || std::any_of(stream->behind.begin(), stream->behind.end(),
                                                [](const FakeStream *other) { return other->held; }));
}

void FakeCuda::record(FakeEvent &event, const FakeStream *stream) {
  const std::lock_guard lock(mutex);
  event.recordedOn = stream;
  event.ns = now;
}

void FakeCuda::join(FakeStream &stream, const FakeEvent &event) {
  const std::lock_guard lock(mutex);
  if (event.recordedOn && event.recordedOn != &stream)
    stream.behind.insert(event.recordedOn);
}

} // namespace moec::test
