#include "tools/bench/cpu/OneDnnLayer.h"

#include "tools/bench/cpu/Gomp.h"
#include "tools/bench/cpu/RivalRows.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

namespace moec::bench {

namespace {

constexpr uint32_t rowsPerItem = 16;
constexpr uint32_t mostTopK = 64;

uint32_t divideUp(uint32_t a, uint32_t b) { return (a + b - 1) / b; }

/// Calls body(rowBegin, rowEnd) for pieces of [begin, end), in parallel.
template <typename Body> void forRows(uint32_t begin, uint32_t end, Body &&body) {
  gompFor(divideUp(end - begin, rowsPerItem), [&](uint32_t item, unsigned) {
    const uint32_t first = begin + item * rowsPerItem;
    body(first, std::min(end, first + rowsPerItem));
  });
}

} // namespace

const char *scheduleName(Schedule schedule) { return schedule == Schedule::InTurn ? "in-turn" : "at-once"; }

OneDnnLayer::OneDnnLayer(const LayerDescription &layer, std::shared_ptr<const WeightSource> weights, uint32_t threads)
    : layer(layer), shape(layer.shape), weights(std::move(weights)), threads(threads) {}

OneDnnLayer::~OneDnnLayer() {
  products = {};
  gateUpWeights.reset(), downWeights.reset();
  if (place.stream)
    (void)dnnl_stream_destroy(place.stream);
  if (place.engine)
    (void)dnnl_engine_destroy(place.engine);
}

Result<std::unique_ptr<OneDnnLayer>> OneDnnLayer::make(const LayerDescription &layer,
                                                       std::shared_ptr<const WeightSource> weights, uint32_t threads,
                                                       uint32_t maxTokens) {
  if (layer.shape.dtype == DType::F16 || layer.shape.sharedIntermediate > 0 || layer.shape.topK > mostTopK)
    return makeError(Code::InvalidArgument,
                     "the oneDNN rival takes bf16 and f32 layers without shared experts, top-k up to {}", mostTopK);
  std::unique_ptr<OneDnnLayer> made(new OneDnnLayer(layer, std::move(weights), threads));
  if (Status status = made->open(maxTokens); !status.ok())
    return status;
  return made;
}

Status OneDnnLayer::open(uint32_t maxTokens) {
  if (Status status = dnnlStatus(dnnl_engine_create(&place.engine, dnnl_cpu, 0), "the engine"); !status.ok())
    return status;
  if (Status status =
          dnnlStatus(dnnl_stream_create(&place.stream, place.engine, dnnl_stream_default_flags), "the stream");
      !status.ok())
    return status;
  const uint64_t pairs = uint64_t{maxTokens} * shape.topK, element = byteSize(shape.dtype);
  for (auto [region, columns] : {std::pair{&gathered, shape.hidden}, std::pair{&gateUpOut, 2 * shape.intermediate},
                                 std::pair{&middle, shape.intermediate}, std::pair{&downOut, shape.hidden}}) {
    Result<Region> mapped = Region::map(pairs * columns * element, "the rival's rows");
    if (!mapped)
      return mapped.status();
    *region = std::move(*mapped);
  }
  begin.resize(shape.experts + 1), next.resize(shape.experts), rowOfPair.resize(pairs), token.resize(pairs);
  hit.reserve(shape.experts);
  const dnnl_data_type_t type = shape.dtype == DType::BF16 ? dnnl_bf16 : dnnl_f32;
  const auto all = static_cast<int>(threads);
  gateUpWeights = std::make_unique<OneDnnWeights>(place, type, 2 * shape.intermediate, shape.hidden, shape.experts, all,
                                                  [this](uint32_t e, std::byte *to) { return readGateUp(e, to); });
  downWeights = std::make_unique<OneDnnWeights>(
      place, type, shape.hidden, shape.intermediate, shape.experts, all, [this](uint32_t e, std::byte *to) {
        return weights->read(layer.weights.down, e, shape.dtype,
                             {to, uint64_t{shape.hidden} * shape.intermediate * byteSize(shape.dtype)});
      });
  of(Schedule::InTurn) = {std::make_unique<OneDnnProduct>(*gateUpWeights, all, 1),
                          std::make_unique<OneDnnProduct>(*downWeights, all, 1)};
  of(Schedule::AtOnce) = {std::make_unique<OneDnnProduct>(*gateUpWeights, 1, threads),
                          std::make_unique<OneDnnProduct>(*downWeights, 1, threads)};
  return {};
}

Status OneDnnLayer::readGateUp(uint32_t expert, std::byte *to) const {
  const uint64_t bytes = uint64_t{shape.hidden} * shape.intermediate * byteSize(shape.dtype);
  if (Status status = weights->read(layer.weights.gate, expert, shape.dtype, {to, bytes}); !status.ok())
    return status;
  return weights->read(layer.weights.up, expert, shape.dtype, {to + bytes, bytes});
}

Status OneDnnLayer::prepare(const tool::RoutedStep &step, Schedule schedule) {
  sortPairs(step);
  for (uint32_t e : hit)
    for (OneDnnProduct *product : {of(schedule).gateUp.get(), of(schedule).down.get()})
      if (Status status = product->prepare(begin[e + 1] - begin[e]); !status.ok())
        return status;
  return {};
}

void OneDnnLayer::sortPairs(const tool::RoutedStep &step) {
  const auto pairs = static_cast<uint32_t>(step.ids.size());
  std::fill(begin.begin(), begin.end(), 0);
  for (int32_t id : step.ids)
    ++begin[static_cast<uint32_t>(id) + 1];
  for (uint32_t e = 0; e < shape.experts; ++e)
    begin[e + 1] += begin[e];
  std::copy(begin.begin(), begin.end() - 1, next.begin());
  for (uint32_t pair = 0; pair < pairs; ++pair) {
    const uint32_t row = next[static_cast<uint32_t>(step.ids[pair])]++;
    rowOfPair[pair] = row;
    token[row] = pair / shape.topK;
  }
  hit.clear();
  for (uint32_t e = 0; e < shape.experts; ++e)
    if (begin[e + 1] > begin[e])
      hit.push_back(e);
  std::sort(hit.begin(), hit.end(), [&](uint32_t a, uint32_t b) {
    return begin[a + 1] - begin[a] > begin[b + 1] - begin[b] ||
           (begin[a + 1] - begin[a] == begin[b + 1] - begin[b] && a < b);
  });
}

void OneDnnLayer::gather(uint32_t rowBegin, uint32_t rowEnd, const void *hidden) {
  const uint64_t bytes = uint64_t{shape.hidden} * byteSize(shape.dtype);
  for (uint32_t row = rowBegin; row < rowEnd; ++row)
    std::memcpy(gathered.data() + row * bytes, static_cast<const std::byte *>(hidden) + token[row] * bytes, bytes);
}

void OneDnnLayer::activate(uint32_t rowBegin, uint32_t rowEnd) {
  const uint64_t bytes = uint64_t{shape.intermediate} * byteSize(shape.dtype);
  for (uint32_t row = rowBegin; row < rowEnd; ++row)
    siluMultiply(gateUpOut.data() + 2 * row * bytes, middle.data() + row * bytes, shape.intermediate, shape.dtype);
}

dnnl_status_t OneDnnLayer::runInTurn(const void *hidden) {
  const uint64_t hiddenBytes = uint64_t{shape.hidden} * byteSize(shape.dtype),
                 middleBytes = uint64_t{shape.intermediate} * byteSize(shape.dtype);
  forRows(0, begin[shape.experts], [&](uint32_t first, uint32_t last) { gather(first, last, hidden); });
  Products &use = of(Schedule::InTurn);
  for (uint32_t e : hit) {
    const uint32_t first = begin[e], rows = begin[e + 1] - first;
    dnnl_status_t status =
        use.gateUp->run(rows, e, gathered.data() + first * hiddenBytes, gateUpOut.data() + 2 * first * middleBytes, 0);
    if (status != dnnl_success)
      return status;
    // In parallel where there is enough to share; some 16,000 elements take a few microseconds.
    if (rows > rowsPerItem)
      forRows(first, first + rows, [&](uint32_t low, uint32_t high) { activate(low, high); });
    else
      activate(first, first + rows);
    status = use.down->run(rows, e, middle.data() + first * middleBytes, downOut.data() + first * hiddenBytes, 0);
    if (status != dnnl_success)
      return status;
  }
  return dnnl_success;
}

dnnl_status_t OneDnnLayer::runAtOnce(const void *hidden) {
  const uint64_t hiddenBytes = uint64_t{shape.hidden} * byteSize(shape.dtype),
                 middleBytes = uint64_t{shape.intermediate} * byteSize(shape.dtype);
  Products &use = of(Schedule::AtOnce);
  std::atomic<int> failure{dnnl_success};
  gompFor(static_cast<uint32_t>(hit.size()), [&](uint32_t item, unsigned thread) {
    const uint32_t e = hit[item], first = begin[e], rows = begin[e + 1] - first;
    gather(first, first + rows, hidden);
    dnnl_status_t status = use.gateUp->run(rows, e, gathered.data() + first * hiddenBytes,
                                           gateUpOut.data() + 2 * first * middleBytes, thread);
    activate(first, first + rows);
    if (status == dnnl_success)
      status =
          use.down->run(rows, e, middle.data() + first * middleBytes, downOut.data() + first * hiddenBytes, thread);
    if (status != dnnl_success)
      failure.store(status);
  });
  return static_cast<dnnl_status_t>(failure.load());
}

void OneDnnLayer::combine(const tool::RoutedStep &step, void *output) {
  const uint64_t bytes = uint64_t{shape.hidden} * byteSize(shape.dtype);
  gompFor(divideUp(step.tokens, 4), [&](uint32_t item, unsigned) {
    for (uint32_t t = item * 4, last = std::min(step.tokens, t + 4); t < last; ++t) {
      const void *rows[mostTopK];
      for (uint32_t k = 0; k < shape.topK; ++k)
        rows[k] = downOut.data() + rowOfPair[t * shape.topK + k] * bytes;
      weightedSum(rows, step.weights.data() + uint64_t{t} * shape.topK, shape.topK,
                  static_cast<std::byte *>(output) + t * bytes, shape.hidden, shape.dtype);
    }
  });
}

Result<uint64_t> OneDnnLayer::run(const void *hidden, const tool::RoutedStep &step, void *output, Schedule schedule) {
  omp_set_num_threads(static_cast<int>(threads));
  const auto start = std::chrono::steady_clock::now();
  sortPairs(step);
  const dnnl_status_t status = schedule == Schedule::InTurn ? runInTurn(hidden) : runAtOnce(hidden);
  combine(step, output);
  const auto end = std::chrono::steady_clock::now();
  if (Status failed = dnnlStatus(status, "a matmul"); !failed.ok())
    return failed;
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(end - start).count());
}

std::string OneDnnLayer::implementations() const {
  std::vector<std::string> names;
  for (const Products &pair : products)
    for (const OneDnnProduct *product : {pair.gateUp.get(), pair.down.get()})
      names.insert(names.end(), product->implementations().begin(), product->implementations().end());
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  std::string text;
  for (const std::string &name : names)
    text += (text.empty() ? "" : ", ") + name;
  return text;
}

size_t OneDnnLayer::numLayouts() const { return std::max(gateUpWeights->numLayouts(), downWeights->numLayouts()); }
uint64_t OneDnnLayer::packedBytes() const { return gateUpWeights->bytes() + downWeights->bytes(); }

} // namespace moec::bench
