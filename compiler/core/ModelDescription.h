// A model in numbers: what the compiler's "describe" answers and the runtime needs to open weights and plan.
#pragma once

#include "compiler/core/LayerShape.h"
#include "compiler/core/Status.h"

#include <string>
#include <vector>

namespace moec {

/// One MoE layer of a model description.
struct LayerDescription {
  uint32_t layer = 0; // the model's own number
  LayerShape shape;
  RouterSpec router;
  LayerWeights weights;

  bool operator==(const LayerDescription &) const = default;
};

struct ModelDescription {
  std::string name;
  std::vector<LayerDescription> layers; // by ascending number

  /// {"schema": "moec.model", "schema_version": 1, "name", "layers": [{layer, shape, router, weights}]}; the fields
  /// are those of a package's manifest.
  std::string toJson() const;
  /// Errors: InvalidModel, naming the path of what is missing or of the wrong type; layers that do not ascend.
  static Result<ModelDescription> fromJson(const std::string &text);
};

} // namespace moec
