// The two cache keys: readable texts, named by their XXH3-128 digest.
#pragma once

#include "compiler/core/LayerShape.h"
#include "compiler/core/Plan.h"
#include "compiler/core/TargetFacts.h"

#include <span>
#include <string>

namespace moec {

/// 32 hex digits: XXH3-128 of the bytes.
std::string digest(std::span<const uint8_t> bytes);
std::string digest(const std::string &text);

/// What a request depends on: two requests with the same text get the same package. A histogram is rounded to size
/// classes (below 16 exact, above to 1/8 of a power of two), so that a drift that returns finds its package.
struct RequestKey {
  std::string modelDigest;
  std::string target; // TargetFacts, all fields
  std::string limits; // PlanLimits, all fields
  std::string calibration;
  std::string profile; // rounded
  std::string buildId;

  std::string text() const;
};

/// What a kernel image depends on.
struct ArtefactKey {
  std::string config;     // CpuConfig::text()
  std::string shape;      // the K's and roles that kernels are specialised for
  std::string activation; // the activation region's canonical text
  std::string codegen;    // LLVM version and code generation options, in order
  std::string cpuFeatures;
  uint32_t abiVersion = 0;

  std::string text() const;
};

/// What a GPU kernel's cubin depends on.
struct CudaArtefactKey {
  std::string kernel;   // the instantiation
  std::string source;   // the unit: includes and functors
  std::string headers;  // digest of the embedded kernels
  std::string options;  // of NVRTC, in order; the architecture with its suffix among them
  std::string compiler; // NVRTC's version
  std::string flags;    // JitOptions::nvrtcFlags
  uint32_t abiVersion = 0;

  std::string text() const;
};

/// Pairs rounded to the size class that a key and a plan use: n below 16, else up to a multiple of 1/8 of its
/// highest power of two.
uint32_t sizeClass(uint32_t pairs);
/// The histogram with tokens and pairs rounded: what a compile plans for, so that its key tells all about it.
Histogram roundToSizeClasses(const Histogram &histogram);

/// Canonical texts for the keys' fields. A histogram's is rounded.
std::string keyText(const Histogram &histogram);
std::string keyText(const TargetFacts &facts);
std::string keyText(const PlanLimits &limits);

} // namespace moec
