// From a Hugging Face config.json to a model description in the `moe` dialect, as text.
#pragma once

#include "compiler/core/LayerShape.h"
#include "compiler/core/Status.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace moec {

struct ImportOptions {
  /// Of the model. Empty: the last part of the config's `_name_or_path`, else its family.
  std::string name = {};
  /// Empty: the config's `dtype` or `torch_dtype`, else bf16.
  std::optional<DType> dtype = {};
  /// The model's own numbers, in any order. Empty: every MoE layer.
  std::vector<uint32_t> layers = {};
  /// Says nothing of weights that the checkpoint holds in e4m3, so that all targets compute in the model's dtype.
  bool plainWeights = false;
};

/// The MoE layers of the model that `configJson` (the text of a config.json) describes: a module in
/// phase `input`, with `moe.model` (the name, cut to 200 bytes), `moe.family` (its model_type) and
/// one function `@layer_N` per MoE layer.
///
/// The result is ASCII and depends on nothing but the arguments. Of the config's own text only the
/// name reaches it, escaped; everything else is numbers and names from this program. Keys that it
/// does not know are ignored. Weights have their names on the hub, one tensor per expert; those that
/// `quantization_config` says are e4m3 with scales of 128 by 128 elements have `block_e4m3` (QuantisationReads.h).
///
/// Thread-safe. Errors: InvalidModel (not JSON; an unknown model_type, with the known ones; a key
/// that is missing, of the wrong type, out of range or contradicted by another one, with its name
/// and value; no MoE layer); InvalidArgument (`layers` names one that is not a MoE layer).
Result<std::string> importConfig(const std::string &configJson, const ImportOptions &options = {});

} // namespace moec
