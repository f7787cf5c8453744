// What the fake driver's functions share. For Fake*.cpp alone.
#pragma once

#include "tests/unit/cuda/FakeCuda.h"

namespace moec::test {

/// While one lives, the thread is in a function that allocates here and would not in a driver (FakeCuda::inside).
struct Inside {
  Inside() { ++depth; }
  ~Inside() { --depth; }
  static inline thread_local int depth = 0;
};

inline FakeCuda &fake() { return *FakeCuda::current; }

// Each function begins by being counted, and returns what it is told to.
#define CALLED(name)                                                                                                   \
  if (const CUresult told = fake().called(name); told != CUDA_SUCCESS)                                                 \
  return told

inline FakeStream *streamOf(CUstream stream) { return fake().streamOf(stream); }

/// Does `work`, or keeps it where the stream is being captured.
void run(CUstream stream, std::function<void()> work);

// Each enters its functions.
void fillDevices(CudaApi &api);
void fillMemory(CudaApi &api);
void fillLaunches(CudaApi &api);
void fillStreams(CudaApi &api);
void fillGraphs(CudaApi &api);

} // namespace moec::test
