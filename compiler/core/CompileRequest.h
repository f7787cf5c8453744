// What a compile is asked for: the JSON of the compiler's "compile" verb, and the key of its answer.
#pragma once

#include "compiler/core/Calibration.h"
#include "compiler/core/Plan.h"
#include "compiler/core/Profile.h"
#include "compiler/core/Status.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace moec {

/// Memory that compiling one GPU kernel may take: a 128x256 tile takes NVRTC some 160 MB, the widest that ptxas
/// compiles in reasonable time three times that.
inline constexpr uint32_t kJitMibPerThread = 500;

/// How kernels for GPUs are compiled. What comes out depends on `nvrtcFlags` alone.
struct JitOptions {
  std::vector<std::string> nvrtcOnly; // libraries, or folders to look for libnvrtc in, and nowhere else
  std::vector<std::string> nvrtcAlso; // such folders, and Python environments, after the usual places
  std::string nvrtcFlags; // that NVRTC takes from this process's environment whether we like it or not (NVRTC_*_FLAGS)
  uint32_t threads = 1;   // that compile at a time; 1: the calling one alone
  uint32_t memoryMib = 2048; // that they may take together: kJitMibPerThread a thread
  uint32_t timeoutMs = 0;    // of one kernel; 0: none

  bool operator==(const JitOptions &) const = default;
};

struct CompileRequest {
  std::string model; // the model description's text
  Profile profile;
  TargetFacts target;
  PlanLimits limits;
  Calibration calibration;
  std::vector<uint32_t> layers; // to be compiled; empty: all
  /// Plans that were decided elsewhere: the phases write these instead of asking planLayer. Layers that are absent are
  /// planned from the profile.
  std::map<uint32_t, LayerPlan> plans;
  std::string stopAfter;        // a phase; empty: none
  std::string emit = "package"; // or a phase; "kernels", "llvm", "asm" (CPU); "cuda", "ptx" (GPU)
  JitOptions jit;               // filled in by whoever calls the compiler's library (runtime/Compiler.h)

  /// {"schema": "moec.compile", "schema_version": 1, "model": text, "profile": text of Profile::toJson,
  ///  "target": {name, isa, threads, l2_bytes}, "limits": {max_tile_heights, pack_budget_bytes, slot_headroom,
  ///  slot_align}, "calibration": text of Calibration::toJson, "layers": [n], "plans": [{layer, plan: {config, table,
  ///  predicted_ns}}], "stop_after", "emit", "jit": {nvrtc_only, nvrtc_also, nvrtc_flags, threads, memory_mib,
  ///  timeout_ms}}
  std::string toJson() const;
  /// Errors: InvalidArgument, naming the path.
  static Result<CompileRequest> fromJson(const std::string &text);

  /// The request key's text: all that the answer depends on; predictions, which are outputs, left out.
  std::string keyText(const std::string &buildId) const;
};

} // namespace moec
