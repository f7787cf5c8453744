// What the verbs of moec-bench-cpu share.
#pragma once

#include "tools/moec/BenchSession.h"
#include "tools/moec/Contest.h"

#include <nlohmann/json_fwd.hpp>

#include <string>

namespace moec::bench {

struct CpuBenchOptions : tool::BenchOptions {
  std::string routingFile; // of `library`: where the steps' routing goes, for rivals in other processes; empty: nowhere
};

/// {"cpu", "isa", "threads", "l2_bytes", "read_gb_per_s", "peak_gflops", "calibration_measured"}: the rates are those
/// that plans are made with, measured on this machine unless the last says otherwise.
nlohmann::json machineJson(const tool::BenchSession &bench);
/// The same in a line of text.
std::string machineText(const tool::BenchSession &bench);

/// Relative L2 distance of two outputs [T, H] of a layer. NaN where anything is.
double relativeDistance(const void *a, const void *b, uint64_t elements, DType dtype);

/// The library beside: moec's layer and a loop of oneDNN products over experts, in turns, per token count.
Status runLibrary(const CpuBenchOptions &options);
/// Generation 0 beside other static sets of tile heights: the planner's best for several loads and a few picked by
/// hand, and beside a free choice per step among all of them.
Status runStatic(const CpuBenchOptions &options);
/// What a layer's kernels take: compiled into an empty cache by another process, then found there by this one.
Status runCompileTimes(const CpuBenchOptions &options);

} // namespace moec::bench
