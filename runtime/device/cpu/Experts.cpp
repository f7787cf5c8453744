#include "runtime/device/cpu/Experts.h"

#include <algorithm>
#include <span>
#include <tuple>

namespace moec {
namespace {

Result<std::shared_ptr<const PackedExpert>> pack(const StoredExpert &stored, const GemmKernels &gateUp,
                                                 const GemmKernels &down, DType compute) {
  auto make = [&](Carver carver, std::byte *parts[2]) {
    parts[0] = carver.take<std::byte>(gateUp.panels * gateUp.panelSize);
    parts[1] = carver.take<std::byte>(down.panels * down.panelSize);
    return carver.bytes();
  };
  std::byte *parts[2];
  Result<Region> memory = Region::map(make(Carver(), parts), "packed expert weights");
  if (!memory)
    return memory.status();
  make(Carver(memory->data()), parts);
  Result<Region> rows = Region::map(std::max(gateUp.panelSize, down.panelSize), "packing");
  if (!rows)
    return rows.status();
  packAll(gateUp, stored.gateUp, compute, rows->data(), parts[0]);
  packAll(down, stored.down, compute, rows->data(), parts[1]);
  auto packed = std::make_shared<PackedExpert>();
  packed->memory = std::move(*memory);
  packed->gateUp = parts[0];
  packed->down = parts[1];
  return std::shared_ptr<const PackedExpert>(std::move(packed));
}

} // namespace

ExpertStore::ExpertStore(LayerShape shape, LayerWeights weights, std::shared_ptr<const WeightSource> source)
    : shape(shape), weights(std::move(weights)), source(std::move(source)), entries(shape.experts) {}

Result<std::shared_ptr<StoredExpert>> ExpertStore::load(const Names &names, uint32_t expert, uint32_t intermediate,
                                                        DType compute) {
  const WeightRef *refs[] = {&names.gate, &names.up, &names.down};
  const std::byte *data[3] = {};
  const uint64_t bytes = uint64_t{intermediate} * shape.hidden * byteSize(compute);
  uint64_t toCopy = 0;
  for (int i = 0; i < 3; ++i) {
    if (refs[i]->name.empty())
      return makeError(Code::InvalidModel, "the layer names no weight for an expert's {} projection",
                       i == 0   ? "gate"
                       : i == 1 ? "up"
                                : "down");
    data[i] = static_cast<const std::byte *>(source->view(*refs[i], expert, compute));
    toCopy += data[i] ? 0 : bytes;
  }
  auto stored = std::make_shared<StoredExpert>();
  Result<Region> copy = Region::map(toCopy, "expert weights");
  if (!copy)
    return copy.status();
  stored->copy = std::move(*copy);
  std::byte *next = stored->copy.data();
  for (int i = 0; i < 3; ++i) {
    if (data[i])
      continue;
    if (Status status = source->read(*refs[i], expert, compute, {next, bytes}); !status.ok())
      return status;
    data[i] = next;
    next += bytes;
  }
  stored->gateUp = {.first = data[0], .second = data[1]};
  stored->down = {.first = data[2]};
  return stored;
}

Status ExpertStore::loadBiases(uint32_t expert, StoredExpert &to) const {
  to.biases.resize(2 * uint64_t{shape.intermediate} + shape.hidden);
  std::span<float> rest = to.biases;
  for (auto [ref, length, part, start] :
       {std::tuple(&weights.gateBias, shape.intermediate, "gate", &to.gateUp.firstBias),
        std::tuple(&weights.upBias, shape.intermediate, "up", &to.gateUp.secondBias),
        std::tuple(&weights.downBias, shape.hidden, "down", &to.down.firstBias)}) {
    if (ref->name.empty())
      return makeError(Code::InvalidModel, "the layer names no bias for an expert's {} projection", part);
    if (Status status = source->read(*ref, expert, DType::F32, std::as_writable_bytes(rest.first(length)));
        !status.ok())
      return status;
    *start = rest.data();
    rest = rest.subspan(length);
  }
  return {};
}

Result<std::shared_ptr<const StoredExpert>> ExpertStore::stored(uint32_t expert, DType compute) {
  if (auto held = entries[expert].stored.lock())
    return held;
  auto made = load({weights.gate, weights.up, weights.down}, expert, shape.intermediate, compute);
  if (!made)
    return made.status();
  if (shape.expertBias)
    if (Status status = loadBiases(expert, **made); !status.ok())
      return status;
  entries[expert].stored = *made;
  return std::shared_ptr<const StoredExpert>(std::move(*made));
}

Result<std::shared_ptr<const PackedExpert>> ExpertStore::packed(uint32_t expert, const LayerKernels &kernels) {
  if (auto held = entries[expert].packed.lock())
    return held;
  Result<std::shared_ptr<const StoredExpert>> from = stored(expert, kernels.config.compute);
  if (!from)
    return from.status();
  auto made = pack(**from, kernels.gateUp, kernels.down, kernels.config.compute);
  if (made)
    entries[expert].packed = *made;
  return made;
}

Result<std::vector<float>> ExpertStore::readVector(const WeightRef &ref, const char *what, uint64_t length) {
  if (ref.name.empty())
    return makeError(Code::InvalidModel, "the layer has a {} but names no weight for it", what);
  std::vector<float> values(length);
  if (Status status = source->read(ref, 0, DType::F32, std::as_writable_bytes(std::span(values))); !status.ok())
    return status;
  return values;
}

Status ExpertStore::packRouter(const GemmKernels &gemm, DType compute, Region &to) {
  Result<Region> packed = Region::map(gemm.panels * gemm.panelSize, "router weights");
  if (!packed)
    return packed.status();
  Result<Region> rows = Region::map(gemm.panelSize, "packing");
  if (!rows)
    return rows.status();
  Result<Region> read = Region::map(uint64_t{shape.experts} * shape.hidden * byteSize(compute), "router weights");
  if (!read)
    return read.status();
  if (Status status = source->read(weights.router, 0, compute, {read->data(), read->bytes()}); !status.ok())
    return status;
  packAll(gemm, {.first = read->data()}, compute, rows->data(), packed->data());
  to = std::move(*packed);
  return {};
}

Result<std::shared_ptr<const CommonWeights>> ExpertStore::common(const RouterSpec &router,
                                                                 const LayerKernels &kernels) {
  const DType compute = kernels.config.compute;
  auto common = std::make_shared<CommonWeights>();
  auto vector = [&](bool present, const WeightRef &ref, const char *what, uint64_t length, std::vector<float> &to) {
    if (!present)
      return Status();
    Result<std::vector<float>> values = readVector(ref, what, length);
    if (values)
      to = std::move(*values);
    return values.status();
  };
  if (kernels.router)
    if (Status status = packRouter(*kernels.router, compute, common->router); !status.ok())
      return status;
  bool routed = kernels.router.has_value();
  if (Status status =
          vector(routed && router.routerBias, weights.routerBias, "router bias", shape.experts, common->routerBias);
      !status.ok())
    return status;
  if (Status status = vector(routed && router.correctionBias, weights.correctionBias, "correction bias", shape.experts,
                             common->correctionBias);
      !status.ok())
    return status;
  if (shape.sharedIntermediate > 0) {
    auto stored =
        load({weights.sharedGate, weights.sharedUp, weights.sharedDown}, 0, shape.sharedIntermediate, compute);
    if (!stored)
      return stored.status().withContext("shared expert");
    auto packed = pack(**stored, *kernels.sharedGateUp, *kernels.sharedDown, compute);
    if (!packed)
      return packed.status();
    common->shared = *packed;
    if (Status status =
            vector(shape.sharedGate, weights.sharedRouter, "shared expert's gate", shape.hidden, common->sharedGate);
        !status.ok())
      return status;
  }
  return std::shared_ptr<const CommonWeights>(std::move(common));
}

} // namespace moec
