// Hidden states from and to .safetensors files, in the dtype that a layer computes with.
#pragma once

#include "compiler/core/LayerShape.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace moec::tool {

/// [tokens, hidden] elements of `dtype`, row-major.
struct HiddenStates {
  DType dtype = DType::F32;
  int64_t tokens = 0, hidden = 0;
  std::vector<std::byte> bytes;

  size_t elements() const { return static_cast<size_t>(tokens) * static_cast<size_t>(hidden); }
};

/// Reads tensor `hidden_states` [T, H] of `path`. Errors: InvalidArgument (no such tensor, with those that there are;
/// another rank, no row, or a dtype that isn't computed with), else as SafetensorsFile::open.
Result<HiddenStates> readHiddenStates(const std::string &path);

/// A copy as `want`, and how many elements it could not hold exactly.
struct Converted {
  HiddenStates states;
  size_t inexact = 0;
};
Converted convertStates(const HiddenStates &from, DType want);

/// Writes tensor `output` [T, H]. Errors: as writeSafetensors.
Status writeStates(const std::string &path, const HiddenStates &states);

} // namespace moec::tool
