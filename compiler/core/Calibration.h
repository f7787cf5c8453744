// What was measured on one machine: the numbers that turn a plan into nanoseconds.
#pragma once

#include "compiler/core/GpuCalibration.h"
#include "compiler/core/LayerShape.h"
#include "compiler/core/TargetFacts.h"

#include <array>
#include <cstdint>
#include <optional>
#include <string>

namespace moec {

/// Measured costs of one thread of a CPU, per compute dtype, or of a GPU. Kept in the cache, one entry per machine and
/// target; `moec bench --calibrate` measures it anew.
struct Calibration {
  static constexpr uint32_t maxRows = 16;

  /// Nanoseconds per K-step (a pair of K in bf16, one K in f32) that a tile of `r` rows takes on one panel that is
  /// in the core's cache, while all threads compute (cores that work together may clock lower than one alone); index 0
  /// is unused, and so are rows above the target's tallest tile.
  std::array<double, maxRows + 1> tileNsPerStep{};
  /// Nanoseconds per byte of weights that come from memory, with all threads reading.
  double streamNsPerByte = 0;
  /// Where computing takes as long as reading the weights from memory: the share of the one that hides behind the
  /// other, 0 to 1.
  double overlap = 1;
  /// Nanoseconds per byte of weights that are packed on the fly from the checkpoint's layout.
  double packNsPerByte = 0;
  /// Nanoseconds per byte of hidden states gathered, and of outputs stored.
  double copyNsPerByte = 0;
  /// Fixed nanoseconds of one parallel section (start, finish).
  double sectionNs = 0;
  /// Of a GPU; the fields above have no meaning then.
  std::optional<GpuCalibration> gpu;
  bool measured = false; // false: defaults of `assumed`, good for tests and for compiling elsewhere

  /// Round figures for a target that was never measured, for the dtype that its tiles multiply.
  static Calibration assumed(const TargetFacts &facts, DType compute);

  /// Whether its figures are of the target's kind of device. Error: InvalidArgument, naming both.
  Status checkFor(const TargetFacts &facts) const;

  std::string toJson() const;
  static Result<Calibration> fromJson(const std::string &text);
};

} // namespace moec
