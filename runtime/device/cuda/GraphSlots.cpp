#include "runtime/device/cuda/GraphSlots.h"

namespace moec {

Result<bool> isCapturing(const CudaDriver &driver, CUstream stream, CUgraph *graph, cuuint64_t *id) {
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  MOEC_CUDA(driver, cuStreamGetCaptureInfo, (stream, &status, id, graph, nullptr, nullptr, nullptr),
            "whether a stream is being captured");
  if (status == CU_STREAM_CAPTURE_STATUS_INVALIDATED)
    return makeError(Code::InvalidArgument, "the stream's capture has failed");
  return status == CU_STREAM_CAPTURE_STATUS_ACTIVE;
}

void CUDA_CB GraphSlots::released(void *pointer) {
  const std::unique_ptr<Lease> lease(static_cast<Lease *>(pointer));
  Lock lock(lease->slots->mutex);
  if (lease->slots->freeSlot && lease->slot != UINT32_MAX)
    lease->slots->freeSlot(lease->slot);
}

Result<cuuint64_t> GraphSlots::hold(const CudaDriver &driver, CUstream stream, uint32_t slot) {
  CUgraph graph = nullptr;
  cuuint64_t capture = 0;
  Result<bool> capturing = isCapturing(driver, stream, &graph, &capture);
  if (!capturing)
    return capturing.status();
  if (!*capturing)
    return makeError(Code::InvalidArgument, "the stream is not being captured");
  auto lease = std::make_unique<Lease>(Lease{shared_from_this(), slot});
  CUuserObject object = nullptr;
  MOEC_CUDA(driver, cuUserObjectCreate, (&object, lease.get(), &released, 1, CU_USER_OBJECT_NO_DESTRUCTOR_SYNC),
            "an object for a captured step");
  Lease *const raw = lease.release(); // the object's now
  const CUresult result = driver.api().cuGraphRetainUserObjectFn(graph, object, 1, CU_GRAPH_USER_OBJECT_MOVE);
  if (result == CUDA_SUCCESS)
    return capture;
  raw->slot = UINT32_MAX; // whoever asked still has it
  (void)driver.api().cuUserObjectReleaseFn(object, 1);
  return driver.error(result, "cuGraphRetainUserObject", "tying a captured step to its graph");
}

void GraphSlots::close() {
  Lock lock(mutex);
  freeSlot = nullptr;
}

} // namespace moec
