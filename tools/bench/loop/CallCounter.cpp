#include "tools/bench/loop/CallCounter.h"

#include <dlfcn.h>

namespace moec::bench {

namespace {

// Of CUPTI's callback interface, which its headers promise not to change: they are no dependency of
// ours.
constexpr int driverDomain = 1, synchronisationDomain = 4; // CUpti_CallbackDomain
constexpr uint32_t siteEntered = 0;                        // CUpti_ApiCallbackSite
using Callback = void (*)(void *user, int domain, uint32_t id, const void *data);

thread_local DriverCalls mine;

/// A driver call is reported when it is entered and when it is left, its site first; a
/// synchronisation once.
void count(void *, int domain, uint32_t, const void *data) {
  if (domain == synchronisationDomain)
    ++mine.synchronisations;
  else if (domain == driverDomain && *static_cast<const uint32_t *>(data) == siteEntered)
    ++mine.calls;
}

} // namespace

struct CallCounter::Cupti {
  int (*subscribe)(void **subscriber, Callback, void *user);
  int (*unsubscribe)(void *subscriber);
  int (*enable)(uint32_t on, void *subscriber, int domain);
};

Result<const CallCounter::Cupti *> CallCounter::open() {
  static Cupti cupti{};
  if (cupti.enable)
    return &cupti;
  void *library = nullptr;
  for (const char *name : {"libcupti.so.13", "libcupti.so.12", "/usr/local/cuda/extras/CUPTI/lib64/libcupti.so",
                           "/usr/local/cuda/lib64/libcupti.so"})
    if ((library = dlopen(name, RTLD_NOW | RTLD_LOCAL)))
      break;
  if (!library)
    return makeError(Code::NotFound, "no CUPTI to count driver calls with: {}", dlerror());
  cupti.subscribe = reinterpret_cast<decltype(cupti.subscribe)>(dlsym(library, "cuptiSubscribe"));
  cupti.unsubscribe = reinterpret_cast<decltype(cupti.unsubscribe)>(dlsym(library, "cuptiUnsubscribe"));
  auto *enable = reinterpret_cast<decltype(cupti.enable)>(dlsym(library, "cuptiEnableDomain"));
  if (!cupti.subscribe || !cupti.unsubscribe || !enable)
    return makeError(Code::NotFound, "this CUPTI has no callbacks: {}", dlerror());
  cupti.enable = enable;
  return &cupti;
}

Result<std::unique_ptr<CallCounter>> CallCounter::start() {
  Result<const Cupti *> cupti = open();
  if (!cupti)
    return cupti.status();
  void *subscriber = nullptr;
  if (int error = (*cupti)->subscribe(&subscriber, count, nullptr))
    return makeError(Code::NotFound, "CUPTI refuses to report calls (error {}): another profiler may be at work",
                     error);
  std::unique_ptr<CallCounter> counter(new CallCounter(**cupti, subscriber));
  for (int domain : {driverDomain, synchronisationDomain})
    if (int error = (*cupti)->enable(1, subscriber, domain))
      return makeError(Code::NotFound, "CUPTI does not report domain {} (error {})", domain, error);
  return counter;
}

CallCounter::~CallCounter() { (void)cupti.unsubscribe(subscriber); }

DriverCalls CallCounter::ofThisThread() { return mine; }

} // namespace moec::bench
