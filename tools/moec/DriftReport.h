// What `moec bench --drift` prints.
#pragma once

#include "runtime/recompile/Recompiler.h"
#include "tools/moec/DriftAnswers.h"

#include <string>
#include <vector>

namespace moec::tool {

/// What the loop did in a run, summed up from its events.
struct LoopSummary {
  uint32_t kernelsBuilt = 0;
  uint32_t tables = 0; // decisions for a new table
  double compileMs = 0, packMs = 0;
  double predictedGain = 0; // of all changes: share of a step's time
  std::string lastVerdict, lastText;
  std::vector<Cause> causes;         // of the last change
  std::vector<std::string> refusals; // reasons, each once, in order
};

struct DriftRun {
  const BenchOptions &options;
  const BenchSession &bench;
  const Scenario &scenario;
  const DriftAnswers &answers;
  LoopSummary loop;
  RecompilerStats stats;
  double beforeTokensPerSecond = 0;
  double monitorShare = 0; // of the steps' time
  bool swapped = false;    // the live plan after is another one than before
};

/// To stdout, in the format of the options: text, one JSON object, or a JSON line per phase and one for the whole.
void printDrift(const DriftRun &run);

} // namespace moec::tool
