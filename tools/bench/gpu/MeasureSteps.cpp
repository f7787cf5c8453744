// Times of the steps before the products: the router's product in each tile, routing, and each form of dispatch.
#include "compiler/core/CudaLaunch.h"
#include "tools/bench/gpu/Layer.h"
#include "tools/bench/gpu/Measure.h"
#include "tools/bench/gpu/Routing.h"

#include <algorithm>

namespace moec::bench {
namespace {

constexpr uint32_t batches[] = {1, 16, 64, 256, 1024, 4096, 16384};

struct RouterShape {
  const char *name;
  uint32_t experts, hidden, topK;
};
constexpr RouterShape shapes[] = {
    {"olmoe", 64, 2048, 8}, {"qwen3-30b", 128, 2048, 8}, {"deepseek-v3", 256, 7168, 8}, {"mixtral", 8, 4096, 2}};

/// Median microseconds of one of `queue`, from graphs of twenty.
template <class Queue> Result<double> timeOne(Device &device, bool overlap, Queue queue) {
  constexpr uint32_t each = 20;
  Result<Graph> graph = device.record([&]() -> Status {
    for (uint32_t i = 0; i < each; ++i)
      MOEC_TRY(queue(overlap));
    return {};
  });
  MOEC_TRY(graph.status());
  MOEC_TRY(graph->launch());
  Result<std::vector<double>> times = device.time(11, [&] { return graph->launch(); });
  MOEC_TRY(times.status());
  std::nth_element(times->begin(), times->begin() + 5, times->end());
  return (*times)[5] / each;
}

class StepTimer {
public:
  StepTimer(Device &device, Bundle &bundle, const RouterShape &shape, bool overlap)
      : device(device), bundle(bundle), shape(shape), overlap(overlap && device.computeCapability() >= 90) {}

  Status run() {
    const size_t most = batches[std::size(batches) - 1], E = shape.experts;
    const size_t pairs = most * shape.topK;
    const auto get = [&](Buffer &buffer, size_t bytes) { return allocateBuffer(device, bytes, buffer); };
    MOEC_TRY(get(hidden, most * shape.hidden * 2));
    MOEC_TRY(get(weight, E * shape.hidden * 2));
    MOEC_TRY(device.fill(hidden, 0x3c)); // small numbers; times do not depend on them
    MOEC_TRY(device.fill(weight, 0x3c));
    MOEC_TRY(get(logits, most * E * 4));
    std::mt19937_64 random(3);
    Result<Buffer> drawn =
        device.uploaded(drawIds(static_cast<uint32_t>(most), shape.experts, shape.topK, 0.5, random));
    MOEC_TRY(drawn.status());
    ids = std::move(*drawn);
    std::vector<int32_t> begin(E + 1); // twice the mean
    for (size_t e = 0; e <= E; ++e)
      begin[e] = static_cast<int32_t>(e * (pairs * 2 / E));
    Result<Buffer> slots = device.uploaded(begin);
    MOEC_TRY(slots.status());
    slotBegin = std::move(*slots);
    MOEC_TRY(get(tables, 6 * (E + 2) * 4));
    MOEC_TRY(device.fill(tables, 0));
    MOEC_TRY(get(tileHead, sizeof(TileHead)));
    MOEC_TRY(get(tiles, (pairs * 2 / 8 + E) * sizeof(TokenTile)));
    MOEC_TRY(get(slotPair, pairs * 2 * 4));
    MOEC_TRY(get(slotOfPair, pairs * 4));
    MOEC_TRY(get(spill, pairs * 2 * 4));
    MOEC_TRY(get(blockCounts, (pairs / 2048 + 64) * E * 4));
    for (uint32_t tokens : batches)
      MOEC_TRY(runBatch(tokens));
    return {};
  }

private:
  Status runBatch(uint32_t tokens) {
    std::string line = fmt::format("{:12} {:6}  router", shape.name, tokens);
    for (const RouterGemmConfig &config : shippedRouterGemms(Element::BF16, "sm_90a")) {
      Result<double> time = router(config, tokens);
      MOEC_TRY(time.status());
      line += fmt::format(" {}x{}{} {:.1f}", config.tileTokens, config.tileExperts, config.wgmma ? "w" : "", *time);
    }
    for (const std::string form : {"OneBlock", "Cluster", "Three", "Grid", "Slots"}) {
      const uint32_t pairs = tokens * shape.topK;
      if (form == "OneBlock" && pairs > 16384)
        continue;
      if (form == "Cluster" && (!device.hasClusters() || pairs > dispatchClusterPairs(dispatchConfigOf(shape.experts))))
        continue;
      Result<double> time = dispatch(form, pairs);
      MOEC_TRY(time.status());
      line += fmt::format("  {} {:.1f}", form, *time);
    }
    fmt::print("{}\n", line);
    return {};
  }

  Result<double> router(const RouterGemmConfig &config, uint32_t tokens) {
    Kernel kernel;
    MOEC_TRY(loadKernel(bundle, shippedRouterLogits(config).name, routerSharedBytes(config), kernel));
    RouterGemmArgs args{};
    args.hidden = hidden.as<void>();
    args.weight = weight.as<void>();
    args.logits = logits.as<float>();
    args.numTokens = tokens;
    args.numExperts = args.logitStride = shape.experts;
    args.hiddenSize = shape.hidden;
    args.planes = 1;
    void *parameters[] = {&args};
    const uint32_t blocks = routerBlocks(config, tokens, shape.experts);
    return timeOne(device, overlap, [&](bool overlaps) {
      return device.launch(kernel, {blocks, routerThreads(config), overlaps}, parameters);
    });
  }

  int32_t *table(uint32_t index) const { return tables.as<int32_t>(size_t{index} * (shape.experts + 2) * 4); }

  Result<double> dispatch(const std::string &form, uint32_t pairs) {
    const DispatchConfig config = dispatchConfigOf(shape.experts);
    DispatchArgs args{};
    args.ids = ids.as<int32_t>();
    args.counts = table(0);
    args.expertBegin = table(1);
    args.tileHead = tileHead.as<TileHead>();
    args.tiles = tiles.as<TokenTile>();
    args.slotPair = slotPair.as<int32_t>();
    args.slotOfPair = slotOfPair.as<int32_t>();
    args.blockCounts = blockCounts.as<int32_t>();
    args.gridBarrier = reinterpret_cast<uint32_t *>(table(4)); // zeros
    args.numPairs = pairs;
    args.numBlocks =
        form == "Grid" ? dispatchGridBlocks(pairs, device.multiprocessors()) : ceilDivide(pairs, config.pairsPerBlock);
    args.tileTokens = 64;
    args.mixRows = kMixRows;
    DispatchSlotsArgs slots{};
    slots.ids = args.ids;
    slots.slotBegin = slotBegin.as<int32_t>();
    slots.counts = args.counts;
    slots.tileHead = args.tileHead;
    slots.tiles = args.tiles;
    slots.slotPair = args.slotPair;
    slots.slotOfPair = args.slotOfPair;
    slots.spillPairs = spill.as<int32_t>();
    slots.spillIds = spill.as<int32_t>(size_t{pairs} * 4);
    slots.spillCount = table(3);
    slots.cursors = table(5); // zeros
    slots.numPairs = pairs;
    slots.tileTokens = 64;
    slots.mixRows = kMixRows;
    const bool isSlots = form == "Slots";
    void *parameters[] = {isSlots ? static_cast<void *>(&slots) : &args};
    std::vector<std::pair<Kernel, uint32_t>> launches;
    const auto add = [&](const char *step, uint32_t blocks) -> Status {
      Kernel kernel;
      MOEC_TRY(loadKernel(bundle, shippedDispatch(step, config).name, 0, kernel));
      launches.emplace_back(kernel, blocks);
      return {};
    };
    if (form == "Three") {
      MOEC_TRY(add("Count", args.numBlocks));
      MOEC_TRY(add("Scan", 1));
      MOEC_TRY(add("Place", args.numBlocks));
    } else {
      MOEC_TRY(add(form.c_str(), isSlots             ? dispatchSlotsBlocks(config, pairs)
                                 : form == "Grid"    ? args.numBlocks
                                 : form == "Cluster" ? kDispatchClusterBlocks
                                                     : 1));
    }
    return timeOne(device, overlap, [&](bool overlaps) -> Status {
      for (const auto &[kernel, blocks] : launches)
        MOEC_TRY(device.launch(kernel, {blocks, config.threads, overlaps}, parameters));
      return {};
    });
  }

  Device &device;
  Bundle &bundle;
  const RouterShape &shape;
  bool overlap;
  Buffer hidden, weight, logits, ids, slotBegin, tables, tileHead, tiles, slotPair, slotOfPair, spill, blockCounts;
};

} // namespace

Status measureSteps(Device &device, Bundle &bundle, bool overlap) {
  fmt::print("{}: microseconds of one launch, or of all launches of a form, behind each other in a graph (w: router "
             "tiles of wgmma){}\n",
             device.name(), overlap ? ", overlapping" : "");
  for (const RouterShape &shape : shapes)
    MOEC_TRY(StepTimer(device, bundle, shape, overlap).run());
  return {};
}

} // namespace moec::bench
