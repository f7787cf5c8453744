// The text of compiler/kernels, as it was when the library was built.
#pragma once

#include <span>

namespace moec {

struct EmbeddedHeader {
  const char *name; // as `#include "..."` spells it, e.g. "compiler/kernels/route.cuh"
  const char *text;
};

/// All kernel headers, each once. The texts are part of every artefact key.
std::span<const EmbeddedHeader> embeddedKernels();

} // namespace moec
