// Whether a new generation computes what generation 0 does, before it may go live.
#pragma once

#include "runtime/device/cpu/LayerExecutor.h"

namespace moec {

/// Most tokens that a validation runs at once: what its workspace must hold.
inline constexpr uint32_t kValidationTokens = 64;

/// Runs both layers on the same fixed random hidden states, with routing made so that every tile height and as many
/// experts that `candidate` packs anew as fit get rows, and then with their own router. Slots are not obeyed:
/// what spilled would be the reference checking itself.
///
/// Returns the relative L2 distance, which is 0: tile heights, packing and order do not change a bit of a result, so
/// that any difference is a mismatch. VerificationMismatch names layer and distance. Runs on the calling thread alone.
Result<double> validateLayer(const CpuLayer &candidate, const CpuLayer &reference, Workspace &space,
                             uint32_t maxTokens);

} // namespace moec
