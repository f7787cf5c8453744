// Streams, captures and events.
#include "tests/unit/cuda/FakeDriver.h"

namespace moec::test {
namespace {

CUresult fakeStreamCreate(CUstream *stream, unsigned) {
  CALLED("cuStreamCreate");
  auto *made = new FakeStream;
  fake().made(made);
  *stream = reinterpret_cast<CUstream>(made);
  return CUDA_SUCCESS;
}
CUresult fakeStreamDestroy(CUstream stream) {
  fake().called("cuStreamDestroy", true);
  fake().freed(streamOf(stream));
  delete streamOf(stream);
  return CUDA_SUCCESS;
}
CUresult fakeStreamSynchronize(CUstream) {
  CALLED("cuStreamSynchronize");
  return CUDA_SUCCESS;
}
CUresult fakeStreamWaitEvent(CUstream stream, CUevent event, unsigned) {
  const Inside inside;
  CALLED("cuStreamWaitEvent");
  if (stream && streamOf(stream)->capturing) // nothing here records an event in a capture, to wait for it there
    return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
  if (stream)
    fake().join(*streamOf(stream), *reinterpret_cast<FakeEvent *>(event));
  return CUDA_SUCCESS;
}
CUresult fakeStreamGetCaptureInfo(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *graph,
                                  const CUgraphNode **, const CUgraphEdgeData **, size_t *) {
  CALLED("cuStreamGetCaptureInfo");
  const bool captures = stream && streamOf(stream)->capturing;
  *status = captures ? CU_STREAM_CAPTURE_STATUS_ACTIVE : CU_STREAM_CAPTURE_STATUS_NONE;
  if (captures && graph)
    *graph = reinterpret_cast<CUgraph>(streamOf(stream)->capturing.get());
  if (captures && id)
    *id = streamOf(stream)->capturing->capture;
  return CUDA_SUCCESS;
}
CUresult fakeStreamBeginCapture(CUstream stream, CUstreamCaptureMode) {
  CALLED("cuStreamBeginCapture");
  static std::atomic<uint64_t> captures{0};
  streamOf(stream)->capturing = std::make_unique<FakeGraph>();
  streamOf(stream)->capturing->capture = ++captures;
  fake().made(streamOf(stream)->capturing.get());
  return CUDA_SUCCESS;
}
CUresult fakeStreamEndCapture(CUstream stream, CUgraph *graph) {
  CALLED("cuStreamEndCapture");
  *graph = reinterpret_cast<CUgraph>(streamOf(stream)->capturing.release());
  return CUDA_SUCCESS;
}
CUresult fakeThreadExchangeStreamCaptureMode(CUstreamCaptureMode *) { return CUDA_SUCCESS; }
CUresult fakeEventCreate(CUevent *event, unsigned) {
  CALLED("cuEventCreate");
  auto *made = new FakeEvent;
  fake().made(made);
  *event = reinterpret_cast<CUevent>(made);
  return CUDA_SUCCESS;
}
CUresult fakeEventDestroy(CUevent event) {
  fake().called("cuEventDestroy", true);
  fake().freed(event);
  delete reinterpret_cast<FakeEvent *>(event);
  return CUDA_SUCCESS;
}
CUresult fakeEventRecord(CUevent event, CUstream stream) {
  CALLED("cuEventRecord");
  fake().record(*reinterpret_cast<FakeEvent *>(event), streamOf(stream));
  return CUDA_SUCCESS;
}
CUresult fakeEventRecordWithFlags(CUevent event, CUstream stream, unsigned) {
  CALLED("cuEventRecordWithFlags");
  fake().record(*reinterpret_cast<FakeEvent *>(event), streamOf(stream));
  return CUDA_SUCCESS;
}
CUresult fakeEventQuery(CUevent event) {
  fake().called("cuEventQuery", true);
  return fake().isHeld(*reinterpret_cast<FakeEvent *>(event)) ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
}
CUresult fakeEventElapsedTime(float *milliseconds, CUevent begin, CUevent end) {
  *milliseconds = 0.25f;
  if (fake().durationNs)
    *milliseconds =
        static_cast<float>((reinterpret_cast<FakeEvent *>(end)->ns - reinterpret_cast<FakeEvent *>(begin)->ns) * 1e-6);
  return CUDA_SUCCESS;
}

} // namespace

void fillStreams(CudaApi &api) {
  api.cuStreamCreateFn = fakeStreamCreate;
  api.cuStreamDestroyFn = fakeStreamDestroy;
  api.cuStreamSynchronizeFn = fakeStreamSynchronize;
  api.cuStreamWaitEventFn = fakeStreamWaitEvent;
  api.cuStreamGetCaptureInfoFn = fakeStreamGetCaptureInfo;
  api.cuStreamBeginCaptureFn = fakeStreamBeginCapture;
  api.cuStreamEndCaptureFn = fakeStreamEndCapture;
  api.cuThreadExchangeStreamCaptureModeFn = fakeThreadExchangeStreamCaptureMode;
  api.cuEventCreateFn = fakeEventCreate;
  api.cuEventDestroyFn = fakeEventDestroy;
  api.cuEventRecordFn = fakeEventRecord;
  api.cuEventRecordWithFlagsFn = fakeEventRecordWithFlags;
  api.cuEventQueryFn = fakeEventQuery;
  api.cuEventElapsedTimeFn = fakeEventElapsedTime;
}

} // namespace moec::test
