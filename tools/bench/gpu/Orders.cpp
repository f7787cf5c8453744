#include "tools/bench/gpu/Orders.h"

#include "tools/bench/gpu/Layer.h"
#include "tools/bench/gpu/Routing.h"

#include <cmath>

namespace moec::bench {
namespace {

struct Outputs {
  std::string name;
  std::vector<uint16_t> activated, experts, layer;
};

size_t differing(const std::vector<uint16_t> &a, const std::vector<uint16_t> &b) {
  size_t count = 0;
  for (size_t i = 0; i < a.size(); ++i)
    count += a[i] != b[i];
  return count;
}

} // namespace

Status compareOrders(Device &device, Bundle &bundle) {
  // Sums of 2,048 and 1,032 products of both signs: another order shows in most elements' last f32 bits, and after
  // rounding to bf16 in about one of 2^16 / (bits lost) of them; 200,000 elements are enough to see it.
  const Shape shape{150, 2048, 1032, 8, 2};
  std::mt19937_64 random(11);
  const size_t weights = size_t{shape.experts} * shape.intermediate * shape.hidden;
  Result<Buffer> hidden = device.uploaded(drawElements(size_t{shape.tokens} * shape.hidden, 1.0, true, random));
  // In one buffer: fitted tiles want up behind gate.
  Result<Buffer> gateThenUp = device.uploaded(drawElements(2 * weights, 1 / std::sqrt(shape.hidden), true, random));
  Result<Buffer> down = device.uploaded(drawElements(weights, 1 / std::sqrt(shape.intermediate), true, random));
  Result<Buffer> ids = device.uploaded(drawIds(shape.tokens, shape.experts, shape.topK, 0.7, random));
  Result<Buffer> pairWeights = device.uploaded(drawWeights(shape.tokens, shape.topK, random));
  for (const Result<Buffer> *buffer : {&hidden, &gateThenUp, &down, &ids, &pairWeights})
    MOEC_TRY(buffer->status());
  Result<LayerBuffers> buffers = LayerBuffers::allocate(device, shape);
  MOEC_TRY(buffers.status());

  const size_t pairs = size_t{shape.tokens} * shape.topK;
  std::vector<Outputs> all;
  for (GemmFamily family : {GemmFamily::Portable, GemmFamily::Hopper, GemmFamily::Fitted}) {
    if (family != GemmFamily::Portable && device.computeCapability() != 90)
      continue;
    for (const LayerChoice &choice : layerChoices(family, Element::BF16)) {
      const LayerWeightsOnDevice on{gateThenUp->as<void>(), gateThenUp->as<void>(weights * 2), down->as<void>(),
                                    int64_t{shape.intermediate} * shape.hidden};
      Result<DeviceLayer> layer = DeviceLayer::create(device, bundle, shape, choice, on, *buffers);
      MOEC_TRY(layer.status());
      MOEC_TRY(layer->forward(hidden->as<void>(), ids->as<int32_t>(), pairWeights->as<float>()));
      MOEC_TRY(device.synchronise());
      Result<std::vector<uint16_t>> activated =
          device.downloaded<uint16_t>(buffers->activated, pairs * shape.intermediate);
      Result<std::vector<uint16_t>> experts = device.downloaded<uint16_t>(buffers->expertOutput, pairs * shape.hidden);
      Result<std::vector<uint16_t>> output =
          device.downloaded<uint16_t>(buffers->output, size_t{shape.tokens} * shape.hidden);
      for (const Status &status : {activated.status(), experts.status(), output.status()})
        MOEC_TRY(status);
      all.push_back({choice.name(), *activated, *experts, *output});
    }
  }
  fmt::print("elements that differ from {} (of {}, {} and {}):\n", all[0].name, all[0].activated.size(),
             all[0].experts.size(), all[0].layer.size());
  for (const Outputs &outputs : all)
    fmt::print("{:32} activated {:8} experts {:8} layer {:8}\n", outputs.name,
               differing(all[0].activated, outputs.activated), differing(all[0].experts, outputs.experts),
               differing(all[0].layer, outputs.layer));
  const Outputs &last = all.back();
  fmt::print("elements that differ from {}:\n", last.name);
  for (const Outputs &outputs : all)
    fmt::print("{:32} activated {:8} experts {:8} layer {:8}\n", outputs.name,
               differing(last.activated, outputs.activated), differing(last.experts, outputs.experts),
               differing(last.layer, outputs.layer));
  return {};
}

} // namespace moec::bench
