// Which device holds which experts: the answer of the placement search (PlacementSearch.h). A text file; see
// docs/formats.md.
#pragma once

#include "compiler/core/Histogram.h"
#include "compiler/core/Status.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace moec {

/// The experts of one layer by device, ascending. An expert on several devices has a copy on each, and the copies share
/// its pairs evenly.
struct LayerPlacement {
  uint32_t numExperts = 0;               // E
  std::vector<std::vector<uint32_t>> on; // [D]

  /// How many devices hold each expert; [E].
  std::vector<uint32_t> copies() const;
  /// Copies beyond each expert's first.
  size_t numCopies() const;
  /// A step's pairs as each device gets them, one entry for each of its experts; [D]. What is left over when an
  /// expert's pairs are divided by its c copies goes to its devices, one each, from the (e modulo c)-th on.
  std::vector<Histogram> onDevices(const Histogram &step) const;
  /// Pairs that the busiest device gets over the mean of all; 1 is balanced. 0 without pairs.
  double imbalance(const Histogram &step) const;

  bool operator==(const LayerPlacement &) const = default;
};

/// Experts by number, as frameworks spread them that do not look at routing: the first E/D on the first device (where D
/// does not divide E, the first devices get one more).
LayerPlacement placementByNumber(uint32_t experts, uint32_t devices);

/// Placements by layer number; all have `devices` devices.
struct Placement {
  uint32_t devices = 0;
  std::map<uint32_t, LayerPlacement> layers;

  std::string toJson() const;
  /// Errors: InvalidArgument, naming the key that is missing, out of range or of the wrong type; an expert that no
  /// device holds, or one twice; a layer that comes twice or has another number of devices.
  static Result<Placement> fromJson(const std::string &text);
};

} // namespace moec
