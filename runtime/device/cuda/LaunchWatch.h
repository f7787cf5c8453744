// Who is told of each kernel of a forward on a GPU.
#pragma once

namespace moec {

/// For who times kernels one by one: called before and after each launch is queued, on the step path, by the thread
/// that queues. Must not wait; steps of several threads call it at once.
class LaunchWatch {
public:
  virtual ~LaunchWatch() = default;
  /// `kernel` is a literal: "router", "route", "dispatch" (dispatch, gate-up and down may have more behind a comma:
  /// "down, of few tokens"), "quantise-tokens", "quantise-activated", "gate-up", "down", "shared-gate-up",
  /// "shared-down", "combine". `stream` is a CUstream.
  virtual void begins(const char *kernel, void *stream) = 0;
  virtual void ends(const char *kernel, void *stream) = 0;
};

} // namespace moec
