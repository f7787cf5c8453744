// Forwards for programs whose tensors are in host memory, whatever device the session is on: tools and tests.
#pragma once

#include "runtime/Session.h"

#include <memory>

namespace moec {

/// Where one caller's tensors lie on a session's device, and the stream that its steps run on. On a CPU: where they
/// are.
struct HostBridge {
  virtual ~HostBridge() = default;
  /// Of steps whose tensors come from here.
  virtual void *stream() const { return nullptr; }
  /// `bytes` of device memory number `index` (0 to 3), with `from` in it unless that is null. What was there is gone.
  virtual Result<void *> onDevice(unsigned index, void *from, uint64_t bytes, bool copy) = 0;
  /// Returns when everything on the stream is done.
  virtual Status wait() { return {}; }
  /// Brings memory number `index` back once all before it on the stream is done.
  virtual Status toHost(unsigned index, void *to, uint64_t bytes) = 0;
};

/// Runs steps of one layer from host memory and waits for them. One thread at a time; the session must outlive it.
class HostRunner {
public:
  /// Errors: the device's.
  static Result<HostRunner> make(Session &session);

  /// One step with one forward: hidden and output [T, H], ids and weights [T, K] in host memory; null ids: the layer's
  /// router routes. Errors: those of Session::begin and StepLayer::forward, and the device's.
  Status forward(uint32_t layer, Phase phase, ConstTensorView hidden, const RoutingView *routing, TensorView output);

private:
  HostRunner(Session &session, std::unique_ptr<HostBridge> bridge) : session(&session), bridge(std::move(bridge)) {}

  Session *session;
  std::unique_ptr<HostBridge> bridge;
};

} // namespace moec
