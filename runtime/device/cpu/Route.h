// From a token's router logits to its experts and weights.
#pragma once

#include "compiler/core/LayerShape.h"

#include <cstdint>

namespace moec {

/// Limits of group-limited routing; far above every published model (8 groups, the 2 best of each).
inline constexpr uint32_t kMaxRouterGroups = 256;
inline constexpr uint32_t kMaxGroupTop = 16;

/// Whether a router can be run for this shape. Errors: InvalidModel, naming the field.
Status checkRouter(const RouterSpec &router, const LayerShape &shape);

/// What routing a layer's tokens needs to know.
struct RouteSpec {
  RouterSpec router;
  uint32_t experts = 0;
  uint32_t topK = 0;
  const float *routerBias = nullptr;     // [E] or null: added to the logits
  const float *correctionBias = nullptr; // [E] or null: added to the scores that choose
};

/// Routes one token.
///
/// logits  [E]
/// scratch [3, E rounded up to 16] f32
/// ids     [K] best first; ties go to the lower expert
/// weights [K]
///
/// A logit that is not finite counts as minus infinity: its expert is chosen last and weighs nothing. If none is
/// finite, the experts are 0..K-1 and weigh alike (scale / K).
///
/// Returns how many logits were not finite.
uint32_t routeToken(const RouteSpec &spec, const float *logits, float *scratch, int32_t *ids, float *weights);

} // namespace moec
