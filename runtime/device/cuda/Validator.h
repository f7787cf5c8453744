// Whether a new generation computes on the device what generation 0 does, before it may go live.
#pragma once

#include "runtime/device/cuda/Forward.h"
#include "runtime/device/cuda/Memory.h"

#include <memory>

namespace moec {

/// Runs layers on fixed random hidden states, on a stream and in buffers of its own. One thread at a time.
class CudaValidator {
public:
  /// Most tokens of a validation: the tallest tile, and more than that.
  static constexpr uint32_t maxTokens = 256;

  static Result<std::unique_ptr<CudaValidator>> make(std::shared_ptr<const CudaDriver> driver,
                                                     const DeviceMemory &memory,
                                                     const std::vector<const LayerDescription *> &layers,
                                                     uint32_t tokens, const CudaLaunchSite &site);

  /// Runs both layers with routing made so that one expert fills its tiles and the others get the rest, then with their
  /// own router, then with so few tokens that blocks may find all pairs (kBlockRows), then so few that warps may
  /// (kFewPairs), then with each number of fewer tokens that has a gate-up or a down of its own
  /// (FewForms). Sleeps while the device works; waits for nothing but its own stream.
  ///
  /// Returns the relative L2 distance, which is 0: all tile classes sum in one order (docs/gpu-facts.md), so that any
  /// difference is a mismatch. Errors: VerificationMismatch, naming layer and distance; the driver's.
  Result<double> validate(const CudaLayer &candidate, const CudaLayer &reference);

private:
  explicit CudaValidator(std::shared_ptr<const CudaDriver> driver, const CudaLaunchSite &site)
      : driver(std::move(driver)), site(site) {}
  Status upload(const CudaLayer &candidate);
  /// What a validation runs.
  struct Pass {
    uint32_t tokens;
    bool ownRouter = false;
    bool dispatches = false; // of more than kFewPairs, whoever could find them
  };
  std::vector<Pass> passesOf(const CudaLayer &layer) const;
  Status run(const CudaLayer &layer, const Pass &pass, std::byte *result);

  std::shared_ptr<const CudaDriver> driver;
  CudaLaunchSite site;
  CudaStream stream;
  CudaEvent done;
  uint32_t tokens = 0;
  CudaWorkspace space;
  DeviceBuffer hidden, output, ids, weights;
  PinnedBuffer stage, expected, found; // stage: hidden, ids and weights on their way up
};

} // namespace moec
