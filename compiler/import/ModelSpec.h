// What an importer reads from a model's config: numbers, enums and names from this program, no text
// of the config.
#pragma once

#include "compiler/core/LayerShape.h"
#include "compiler/import/Activation.h"

#include <cstdint>
#include <vector>

namespace moec::importer {

/// Parts of the weights' names on the hub: `MODEL.layers.N.BLOCK.experts.{e}.GATE.weight`.
struct WeightNames {
  const char *model = "model";
  const char *block = "mlp";
  const char *router = "gate";
  const char *gate = "gate_proj";
  const char *up = "up_proj";
  const char *down = "down_proj";
  const char *shared = "shared_experts";
  const char *sharedRouter = "shared_expert_gate";
};

/// A model whose MoE layers are all alike but for how they are stored, as those of every family here are.
struct ModelSpec {
  const char *family = "";
  LayerShape shape;
  RouterSpec router;
  Activation activation = Activation::Silu;
  ClampedSwigluSpec clamped; // of meaning for Activation::ClampedSwiglu
  WeightNames names;
  std::vector<uint32_t> layers; // numbers of the MoE layers, ascending
  // Those, ascending, whose checkpoint holds gate, up and down of the routed experts, or of the shared one, in e4m3
  // with an f32 scale for each 128 by 128 elements.
  std::vector<uint32_t> e4m3Experts, e4m3Shared;
};

} // namespace moec::importer
