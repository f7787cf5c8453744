// Reads that the families share. Each is checked; an error names the key and its value.
#pragma once

#include "compiler/core/Json.h"
#include "compiler/import/ModelSpec.h"

namespace moec::importer {

// No model comes near these. They bound what a hostile config can make the importer write, and keep
// the product of a tensor's dimensions within 64 bits.
inline constexpr uint32_t maxExperts = 4096;
inline constexpr uint32_t maxDimension = 1'000'000;
inline constexpr uint32_t maxLayers = 1000;

/// The family's own keys of the same numbers.
struct ConfigKeys {
  const char *experts;
  const char *intermediate;
};

/// H, I, E, K and the activation.
void readShape(const JsonValue &config, const ConfigKeys &keys, ModelSpec &spec);

/// `num_hidden_layers`.
uint32_t readLayerCount(const JsonValue &config);

/// The MoE layers by `num_hidden_layers`, `decoder_sparse_step` and `mlp_only_layers`, of which the
/// last two are optional.
std::vector<uint32_t> readSparseLayers(const JsonValue &config);

/// The MoE layers by `num_hidden_layers`, behind the first `first_k_dense_replace`.
std::vector<uint32_t> readLayersBehindDense(const JsonValue &config);

/// The MoE layers that `moe_layers` lists or, where it is absent or null, every
/// `interleave_moe_layer_step`-th of `num_hidden_layers`, from number step - 1 on.
std::vector<uint32_t> readInterleavedLayers(const JsonValue &config);

/// Splits the experts by `n_group` and `topk_group`; a group's score is the sum of its `groupTop`
/// best. One group is no grouping. Needs the shape.
void readGroups(const JsonValue &config, uint32_t groupTop, ModelSpec &spec);

/// Shared experts from `n_shared_experts`: one FFN so many times as wide as an expert; null or 0:
/// none. Needs the shape.
void readSharedExperts(const JsonValue &config, ModelSpec &spec);

/// If the key is there, it must have this text: a rule that the family's model code knows no
/// alternative for.
void expectText(const JsonValue &config, const char *key, const char *text);

} // namespace moec::importer
