#include "compiler/core/TileSearch.h"

#include "compiler/core/TileCover.h"

#include <algorithm>

namespace moec {

namespace {

/// What a set of heights costs. Compared by time, then by compute.
struct Score {
  double ns = 0, computeNs = 0;

  bool operator<(const Score &other) const { return ns < other.ns || (ns == other.ns && computeNs < other.computeNs); }
};

class HeightSearch {
public:
  HeightSearch(std::span<const ExpertGroup> groups, uint32_t tokens, const LayerCost &cost,
               const Calibration &calibration)
      : groups(groups), tokens(tokens), cost(cost), calibration(calibration) {}

  Score score(std::span<const uint16_t> heights) const {
    TileCosts tiles(heights, calibration);
    double coverAll = tiles.nsPerStep(tokens);
    Score sum{cost.tokensNs(coverAll), cost.tokensComputeNs(coverAll)};
    for (const ExpertGroup &group : groups) {
      double cover = tiles.nsPerStep(group.pairs);
      sum.ns += group.experts * cost.expertNs(cover, group.packed);
      sum.computeNs += group.experts * cost.expertComputeNs(cover);
    }
    return sum;
  }

  /// The best of all sets of the two ends of `candidates` and `numMiddle` heights between them.
  std::vector<uint16_t> bestOfSize(std::span<const uint16_t> candidates, size_t numMiddle) const {
    std::vector<size_t> picks(numMiddle); // indices into candidates, ascending
    for (size_t i = 0; i < numMiddle; ++i)
      picks[i] = i + 1;
    std::vector<uint16_t> best, heights(numMiddle + 2);
    Score bestScore;
    do {
      heights.front() = candidates.front();
      heights.back() = candidates.back();
      for (size_t i = 0; i < numMiddle; ++i)
        heights[i + 1] = candidates[picks[i]];
      Score now = score(heights);
      if (best.empty() || now < bestScore) {
        best = heights;
        bestScore = now;
      }
    } while (nextCombination(picks, candidates.size() - 1));
    return best;
  }

  void dropUseless(std::vector<uint16_t> &heights) const {
    Score all = score(heights);
    for (size_t index = heights.size() - 2; index >= 1 && heights.size() > 2; --index) {
      std::vector<uint16_t> fewer = heights;
      fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(index));
      if (!(all < score(fewer)))
        heights = std::move(fewer);
    }
  }

private:
  /// Steps to the next ascending choice of indices below `end`; false after the last.
  static bool nextCombination(std::vector<size_t> &picks, size_t end) {
    for (size_t i = picks.size(); i-- > 0;) {
      if (picks[i] + (picks.size() - i) >= end)
        continue;
      ++picks[i];
      for (size_t later = i + 1; later < picks.size(); ++later)
        picks[later] = picks[later - 1] + 1;
      return true;
    }
    return false;
  }

  std::span<const ExpertGroup> groups;
  uint32_t tokens;
  const LayerCost &cost;
  const Calibration &calibration;
};

} // namespace

std::vector<uint16_t> candidateHeights(const TargetFacts &facts, const Calibration &calibration) {
  uint32_t tallest = std::min(facts.maxTileRows(), Calibration::maxRows);
  std::vector<uint16_t> known, all;
  for (uint32_t rows = tallest; rows >= 1; --rows) {
    all.push_back(static_cast<uint16_t>(rows));
    if (calibration.tileNsPerStep[rows] > 0)
      known.push_back(static_cast<uint16_t>(rows));
  }
  return known.empty() ? all : known;
}

std::vector<uint16_t> searchHeights(std::span<const uint16_t> candidates, uint32_t maxHeights,
                                    std::span<const ExpertGroup> groups, uint32_t tokens, const LayerCost &cost,
                                    const Calibration &calibration) {
  if (maxHeights <= 1 || candidates.size() == 1)
    return {candidates.front()};
  HeightSearch search(groups, tokens, cost, calibration);
  size_t numMiddle = std::min<size_t>(maxHeights, candidates.size()) - 2;
  std::vector<uint16_t> heights = search.bestOfSize(candidates, numMiddle);
  search.dropUseless(heights);
  return heights;
}

} // namespace moec
