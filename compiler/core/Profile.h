// The routing that a compile is made for: one typical histogram per layer. A text file; see docs/formats.md.
#pragma once

#include "compiler/core/Histogram.h"
#include "compiler/core/Status.h"

#include <map>
#include <string>

namespace moec {

/// Routing statistics by layer number. A layer that is absent is planned for uniform routing of
/// `defaultTokens` tokens.
struct Profile {
  uint32_t defaultTokens = 256;
  std::map<uint32_t, Histogram> layers;

  /// What layer `layer` is planned for; uniform routing too where the profile is of another number of experts.
  Histogram of(uint32_t layer, uint32_t topK, uint32_t experts) const;

  /// Error: InvalidArgument where layer `layer` is in the profile with another number of experts than the model has.
  Status matches(uint32_t layer, uint32_t experts) const;

  std::string toJson() const;
  /// Errors: InvalidArgument, naming the key that is missing, out of range or of the wrong type.
  static Result<Profile> fromJson(const std::string &text);
};

} // namespace moec
