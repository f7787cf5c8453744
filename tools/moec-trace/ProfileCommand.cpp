#include "tools/moec-trace/Commands.h"

#include "compiler/core/Profile.h"
#include "tools/common/Files.h"
#include "tools/moec-trace/Timeline.h"

namespace moec {

/// The typical step of the last windows, of the bucket that most steps of them are in.
static Histogram recentRouting(const std::vector<const CountsEvent *> &counts) {
  constexpr size_t lastWindows = 16;
  std::map<uint32_t, uint64_t> steps;
  size_t begin = counts.size() - std::min(counts.size(), lastWindows);
  for (size_t i = begin; i < counts.size(); ++i)
    steps[counts[i]->window.bucket] += counts[i]->window.steps;
  uint32_t bucket = 0;
  for (const auto &[candidate, count] : steps)
    if (count > steps[bucket])
      bucket = candidate;
  uint64_t tokens = 0;
  std::vector<uint64_t> pairs;
  for (size_t i = begin; i < counts.size(); ++i) {
    const Window &window = counts[i]->window;
    if (window.bucket != bucket)
      continue;
    pairs.resize(window.pairs.size());
    tokens += window.tokens;
    for (size_t expert = 0; expert < pairs.size(); ++expert)
      pairs[expert] += window.pairs[expert];
  }
  return typicalStep(tokens, pairs, steps[bucket]);
}

int profileCommand(const TraceFile &trace, const std::string &output) {
  Profile profile;
  for (const auto &[layer, counts] : timelineOf(trace).counts) {
    profile.layers[layer] = recentRouting(counts);
    profile.defaultTokens = std::max(1u, profile.layers[layer].tokens);
  }
  if (profile.layers.empty())
    return fail(makeError(Code::InvalidArgument, "the trace holds no counts to make a profile from"));
  Status status = tool::writeOutput(output, profile.toJson());
  return status.ok() ? 0 : fail(status);
}

} // namespace moec
