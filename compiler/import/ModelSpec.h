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

/// A model whose MoE layers are all alike, as those of every family here are.
struct ModelSpec {
  const char *family = "";
  LayerShape shape;
  RouterSpec router;
  Activation activation = Activation::Silu;
  ClampedSwigluSpec clamped; // of meaning for Activation::ClampedSwiglu
  WeightNames names;
  std::vector<uint32_t> layers; // numbers of the MoE layers, ascending
};

} // namespace moec::importer
