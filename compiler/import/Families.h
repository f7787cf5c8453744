// The families of models that can be imported, by the `model_type` of their config.
//
// What each reader says was checked against the model code of transformers 5.23 and 4.57
// (tests/golden compares the results for five of them).
#pragma once

#include "compiler/core/Json.h"
#include "compiler/import/ModelSpec.h"

namespace moec::importer {

/// Reads the numbers of the MoE layers from `config`, the root of a config.json. What is wrong with
/// it becomes the document's error; the result is meaningless then.
ModelSpec readModelSpec(const JsonValue &config);

} // namespace moec::importer
