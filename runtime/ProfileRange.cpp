#include "runtime/ProfileRange.h"

#if __has_include(<nvtx3/nvToolsExt.h>) // of the CUDA toolkit; the library behind it is the profiler's
#include <nvtx3/nvToolsExt.h>

#include <atomic>

namespace moec {
namespace {

/// Null where no profiler listens, or none was looked for yet.
std::atomic<nvtxDomainHandle_t> listener{nullptr};

nvtxEventAttributes_t attributesOf(const char *name, uint64_t number) {
  nvtxEventAttributes_t attributes{};
  attributes.version = NVTX_VERSION;
  attributes.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
  attributes.messageType = NVTX_MESSAGE_TYPE_ASCII;
  attributes.message.ascii = name;
  attributes.payloadType = NVTX_PAYLOAD_TYPE_UNSIGNED_INT64;
  attributes.payload.ullValue = number;
  return attributes;
}

} // namespace

void startProfiling() {
  static const nvtxDomainHandle_t domain = nvtxDomainCreateA("moec");
  listener.store(domain, std::memory_order_release);
}

ProfileRange::ProfileRange(const char *name, uint64_t number) {
  const nvtxDomainHandle_t domain = listener.load(std::memory_order_acquire);
  open = domain != nullptr;
  if (!open)
    return;
  const nvtxEventAttributes_t attributes = attributesOf(name, number);
  nvtxDomainRangePushEx(domain, &attributes);
}

ProfileRange::~ProfileRange() {
  if (open)
    nvtxDomainRangePop(listener.load(std::memory_order_relaxed));
}

ProfileSpan::ProfileSpan(const char *name, uint64_t number) : id(0) {
  const nvtxDomainHandle_t domain = listener.load(std::memory_order_acquire);
  if (!domain)
    return;
  const nvtxEventAttributes_t attributes = attributesOf(name, number);
  id = nvtxDomainRangeStartEx(domain, &attributes);
}

ProfileSpan::~ProfileSpan() {
  if (id)
    nvtxDomainRangeEnd(listener.load(std::memory_order_relaxed), id);
}

} // namespace moec
#else
namespace moec {

void startProfiling() {}
ProfileRange::ProfileRange(const char *, uint64_t) : open(false) {}
ProfileRange::~ProfileRange() = default;
ProfileSpan::ProfileSpan(const char *, uint64_t) : id(0) {}
ProfileSpan::~ProfileSpan() = default;

} // namespace moec
#endif
