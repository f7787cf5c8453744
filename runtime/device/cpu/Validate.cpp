#include "runtime/device/cpu/Validate.h"

#include "runtime/device/Noise.h"

#include <algorithm>
#include <limits>

namespace moec {
namespace {

struct Routing {
  uint32_t tokens = 0;
  std::vector<int32_t> ids;
  std::vector<float> weights;
};

/// Lists (expert, rows) into tokens: choice after choice of the same tokens, then the next tokens.
class RoutingWriter {
public:
  RoutingWriter(uint32_t topK, uint32_t maxTokens)
      : topK(topK), maxTokens(maxTokens), ids(uint64_t{topK} * maxTokens, -1) {}

  /// Returns whether the rows fitted.
  bool add(uint32_t expert, uint32_t rows) {
    bool usedHere = std::find(inBlock.begin(), inBlock.end(), expert) != inBlock.end();
    if (inBlock.size() == topK || usedHere) {
      begin += height;
      height = 0;
      inBlock.clear();
    }
    if (begin + rows > maxTokens)
      return false;
    for (uint32_t row = 0; row < rows; ++row)
      ids[uint64_t{begin + row} * topK + inBlock.size()] = static_cast<int32_t>(expert);
    height = std::max(height, rows);
    inBlock.push_back(expert);
    return true;
  }

  Routing take() {
    Routing routing{begin + height, std::move(ids), {}};
    routing.ids.resize(uint64_t{routing.tokens} * topK);
    for (uint64_t i = 0; i < routing.ids.size(); ++i)
      routing.weights.push_back(0.5f + 0.25f * noise(i));
    return routing;
  }

private:
  uint32_t topK, maxTokens;
  uint32_t begin = 0, height = 0;
  std::vector<int32_t> ids;
  std::vector<uint32_t> inBlock;
};

/// The fewest rows whose cover uses tile `tile`; 0 if none up to `most` does.
uint32_t rowsThatUse(const CoverTable &cover, uint32_t tile, uint32_t most) {
  for (uint32_t rows = 1; rows <= most; ++rows) {
    bool used = false;
    cover.forEachTile(rows, [&](uint32_t index, uint32_t, uint32_t) { used |= index == tile; });
    if (used)
      return rows;
  }
  return 0;
}

Routing routingFor(const CpuLayer &candidate, const CpuLayer &reference, uint32_t maxTokens) {
  // Experts whose packing is new come first: theirs are the bytes that nobody has computed with yet.
  std::vector<uint32_t> order;
  for (bool fresh : {true, false})
    for (uint32_t e = 0; e < candidate.shape.experts; ++e)
      if (fresh == (candidate.experts[e].packed && candidate.experts[e].packed != reference.experts[e].packed))
        order.push_back(e);
  RoutingWriter writer(candidate.shape.topK, maxTokens);
  uint32_t next = 0;
  for (uint32_t tile = 0; tile < candidate.kernels->gateUp.tiles.size(); ++tile)
    if (uint32_t rows = rowsThatUse(candidate.kernels->gateUp.cover, tile, maxTokens))
      writer.add(order[next++ % order.size()], rows);
  while (next < order.size() && writer.add(order[next], 1))
    ++next;
  return writer.take();
}

/// Runs `layer` without its slots; `own` routes by its router.
Status forward(const CpuLayer &layer, const Routing *routing, const std::vector<std::byte> &hidden, uint32_t tokens,
               Workspace &space, std::vector<std::byte> &output) {
  CpuLayer roomy = layer;
  std::fill(roomy.plan.table.slots.begin(), roomy.plan.table.slots.end(), std::numeric_limits<uint32_t>::max());
  output.assign(uint64_t{tokens} * layer.shape.hidden * byteSize(layer.shape.dtype), std::byte{0});
  ThreadPool alone({.threads = 1});
  ForwardCounts counts;
  std::optional<RoutingView> view;
  if (routing)
    view = RoutingView{routing->ids.data(), routing->weights.data()};
  return LayerExecutor(roomy, space, alone, {})
      .run({hidden.data(), layer.shape.dtype, tokens, layer.shape.hidden}, view,
           {output.data(), layer.shape.dtype, tokens, layer.shape.hidden}, NonFinitePolicy::Mask, counts);
}

} // namespace

Result<double> validateLayer(const CpuLayer &candidate, const CpuLayer &reference, Workspace &space,
                             uint32_t maxTokens) {
  maxTokens = std::min(maxTokens, kValidationTokens);
  const LayerShape &shape = candidate.shape;
  const Routing made = routingFor(candidate, reference, maxTokens);
  const std::vector<std::byte> hidden = noiseRows(maxTokens, shape.hidden, shape.dtype);
  for (const Routing *routing : {&made, static_cast<const Routing *>(nullptr)}) {
    if (!routing && !candidate.kernels->router)
      continue;
    // With their own router a handful of tokens will do: only the router's kernels are new to this run.
    const uint32_t tokens = routing ? routing->tokens : std::min(maxTokens, 8u);
    std::vector<std::byte> expected, found;
    if (Status status = forward(reference, routing, hidden, tokens, space, expected); !status.ok())
      return status;
    if (Status status = forward(candidate, routing, hidden, tokens, space, found); !status.ok())
      return status;
    if (found != expected)
      return makeError(Code::VerificationMismatch, "layer {}: {} differs from generation 0 by {:.3g} (relative L2)",
                       candidate.number, candidate.kernels->config.text(),
                       relativeDistance(found.data(), expected.data(), found.size(), shape.dtype));
  }
  return 0.0;
}

} // namespace moec
