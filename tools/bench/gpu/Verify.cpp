#include "tools/bench/gpu/Verify.h"

#include "tools/bench/gpu/Layer.h"
#include "tools/bench/gpu/Reference.h"
#include "tools/bench/gpu/Routing.h"
#include "tools/bench/gpu/SlotLayer.h"

#include <algorithm>
#include <cmath>

#include <functional>

namespace moec::bench {
namespace {

struct Case {
  const char *name;
  Shape shape;
  std::function<void(std::vector<int32_t> &)> change; // of the uniform ids; may be empty
};

/// Gives the first pairs to expert 0, the next to 1 ...
void giveRows(std::vector<int32_t> &ids, std::initializer_list<size_t> rows) {
  auto to = ids.begin();
  int32_t expert = 0;
  for (size_t count : rows)
    to = std::fill_n(to, count, expert++);
}

/// H and I are multiples of 8 but, where downFew does not want it, not of any tile; T is no multiple of one.
std::vector<Case> allCases() {
  const auto none = [](std::vector<int32_t> &) {};
  return {
      {"one token", {1, 128, 64, 8, 2}, none},
      {"odd sizes", {37, 136, 200, 8, 2}, none},
      {"idle experts",
       {61, 200, 72, 8, 2},
       [](std::vector<int32_t> &ids) {
         for (int32_t &id : ids)
           id = id % 3 * 2; // 0, 2 and 4 alone
       }},
      {"all pairs to one expert",
       {300, 264, 136, 8, 1},
       [](std::vector<int32_t> &ids) { std::fill(ids.begin(), ids.end(), 5); }},
      {"padding",
       {130, 144, 88, 8, 2},
       [](std::vector<int32_t> &ids) {
         for (size_t i = 0; i < ids.size(); i += 3)
           ids[i] = -1;
         ids[10] = ids[11] = -1; // a token without any expert
       }},
      {"one expert a token, some none",
       {99, 136, 200, 8, 1},
       [](std::vector<int32_t> &ids) {
         for (size_t i = 0; i < ids.size(); i += 7)
           ids[i] = i % 2 ? -1 : 8;
       }},
      {"few tokens of one expert, some of none",
       {30, 1032, 520, 8, 1},
       [](std::vector<int32_t> &ids) {
         for (size_t i = 0; i < ids.size(); i += 4)
           ids[i] = -1;
       }},
      {"padding alone", {5, 128, 64, 8, 2}, [](std::vector<int32_t> &ids) { std::fill(ids.begin(), ids.end(), -1); }},
      {"few pairs",
       {4, 136, 200, 16, 8},
       [](std::vector<int32_t> &ids) {
         for (size_t i = 0; i < ids.size(); i += 5)
           ids[i] = -1;
       }},
      {"one token with eight experts", {1, 272, 832, 32, 8}, none},
      {"two tokens with four experts, some none",
       {2, 144, 320, 16, 4},
       [](std::vector<int32_t> &ids) {
         ids[2] = -1;
         ids[5] = 16;
       }},
      {"two tokens, one of no expert",
       {2, 128, 576, 32, 6},
       [](std::vector<int32_t> &ids) { std::fill(ids.begin(), ids.begin() + 6, -1); }},
      {"long sums", {129, 1032, 520, 8, 2}, none},
      {"many experts", {45, 72, 40, 128, 8}, none},
      {"more tiles than blocks", {1100, 1032, 600, 32, 2}, none},
      {"several turns of a cluster", {1100, 64, 24, 64, 8}, none},
      {"tiles mixed", {669, 136, 88, 8, 1}, [](std::vector<int32_t> &ids) { giveRows(ids, {600, 60, 9}); }},
  };
}

LayerInputs makeInputs(const Case &test, bool bf16) {
  const auto [T, H, I, E, K] = test.shape;
  std::mt19937_64 random(T * 7919 + H);
  LayerInputs inputs;
  inputs.shape = test.shape;
  inputs.bf16 = bf16;
  inputs.hidden = drawElements(size_t{T} * H, 1.0, bf16, random);
  inputs.gate = drawElements(size_t{E} * I * H, 1 / std::sqrt(H), bf16, random);
  inputs.up = drawElements(size_t{E} * I * H, 1 / std::sqrt(H), bf16, random);
  inputs.down = drawElements(size_t{E} * H * I, 1 / std::sqrt(I), bf16, random);
  inputs.ids = drawIds(T, E, K, 0.7, random);
  inputs.weights = drawWeights(T, K, random);
  test.change(inputs.ids);
  return inputs;
}

/// gate and up of each expert one after the other: [E, 2I, H].
std::vector<uint16_t> fuse(const LayerInputs &inputs) {
  const size_t expert = size_t{inputs.shape.intermediate} * inputs.shape.hidden;
  std::vector<uint16_t> fused;
  fused.reserve(inputs.gate.size() * 2);
  for (size_t e = 0; e < inputs.shape.experts; ++e) {
    fused.insert(fused.end(), inputs.gate.begin() + e * expert, inputs.gate.begin() + (e + 1) * expert);
    fused.insert(fused.end(), inputs.up.begin() + e * expert, inputs.up.begin() + (e + 1) * expert);
  }
  return fused;
}

/// A case's inputs on the device.
struct DeviceInputs {
  Buffer hidden, gateThenUp, fused, down, ids, weights;

  static Result<DeviceInputs> upload(Device &device, const LayerInputs &inputs) {
    DeviceInputs on;
    const auto put = [&](Buffer &buffer, const auto &values) -> Status {
      Result<Buffer> uploaded = device.uploaded(values);
      if (!uploaded)
        return uploaded.status();
      buffer = std::move(*uploaded);
      return {};
    };
    MOEC_TRY(put(on.hidden, inputs.hidden));
    std::vector<uint16_t> gateThenUp = inputs.gate;
    gateThenUp.insert(gateThenUp.end(), inputs.up.begin(), inputs.up.end());
    MOEC_TRY(put(on.gateThenUp, gateThenUp));
    MOEC_TRY(put(on.fused, fuse(inputs)));
    MOEC_TRY(put(on.down, inputs.down));
    MOEC_TRY(put(on.ids, inputs.ids));
    MOEC_TRY(put(on.weights, inputs.weights));
    return on;
  }
};

double rootMeanSquare(const std::vector<double> &values) {
  double sum = 0;
  for (double value : values)
    sum += value * value;
  return values.empty() ? 0 : std::sqrt(sum / static_cast<double>(values.size()));
}

Status checkTiles(Device &device, const LayerBuffers &buffers, const ReferenceTiles &expected) {
  Result<std::vector<TileHead>> head = device.downloaded<TileHead>(buffers.tileHead, 1);
  MOEC_TRY(head.status());
  Result<std::vector<TokenTile>> tiles = device.downloaded<TokenTile>(buffers.tiles, expected.tiles.size());
  MOEC_TRY(tiles.status());
  return head->front() == expected.head && *tiles == expected.tiles
             ? Status()
             : makeError(Code::VerificationMismatch, "dispatch listed tiles wrongly");
}

Status checkDispatch(Device &device, const LayerBuffers &buffers, const ReferenceSlots &slots,
                     const LayerChoice &choice) {
  const uint32_t tileTokens = choice.gateUp.tileTokens;
  const uint32_t experts = static_cast<uint32_t>(slots.expertBegin.size()) - 1;
  Result<std::vector<int32_t>> begin = device.downloaded<int32_t>(buffers.expertBegin, experts + 1);
  Result<std::vector<int32_t>> counts = device.downloaded<int32_t>(buffers.counts, experts);
  Result<std::vector<int32_t>> pairs = device.downloaded<int32_t>(buffers.slotPair, slots.slotPair.size());
  Result<std::vector<int32_t>> slotOf = device.downloaded<int32_t>(buffers.slotOfPair, slots.slotOfPair.size());
  for (const Status &status : {begin.status(), counts.status(), pairs.status(), slotOf.status()})
    MOEC_TRY(status);
  if (*begin != slots.expertBegin || *pairs != slots.slotPair || *slotOf != slots.slotOfPair)
    return makeError(Code::VerificationMismatch, "dispatch placed pairs wrongly");
  for (uint32_t e = 0; e < experts; ++e)
    if ((*counts)[e] != slots.expertBegin[e + 1] - slots.expertBegin[e])
      return makeError(Code::VerificationMismatch, "dispatch counted expert {} wrongly", e);
  return checkTiles(device, buffers, referenceTiles(*counts, *begin, tileTokens, mixRowsOf(choice.family, tileTokens)));
}

Status poison(Device &device, const LayerBuffers &buffers) {
  for (const Buffer *buffer :
       {&buffers.counts, &buffers.expertBegin, &buffers.tileHead, &buffers.tiles, &buffers.slotPair,
        &buffers.slotOfPair, &buffers.activated, &buffers.expertOutput, &buffers.output})
    MOEC_TRY(device.fill(*buffer, 0xff)); // NaN as elements
  return {};
}

struct Prepared {
  Case test;
  LayerInputs inputs;
  ReferenceSlots slots;
  ReferenceLayer reference;
  DeviceInputs on;
};

/// Down that writes outputs itself, with dispatch and without: the same bits as by combine.
Status verifyCombining(Device &device, Bundle &bundle, const Prepared &p, const LayerChoice &choice,
                       const LayerWeightsOnDevice &weights, LayerBuffers &buffers,
                       const std::vector<uint16_t> &wanted) {
  const LayerChoice other = choice.combiningFor(p.inputs.shape);
  if (!other.down.combines)
    return {};
  Result<DeviceLayer> layer = DeviceLayer::create(device, bundle, p.inputs.shape, other, weights, buffers);
  MOEC_TRY(layer.status());
  layer->setOverlap(true);
  for (bool dispatched : {true, false}) {
    layer->setAlwaysDispatch(dispatched);
    MOEC_TRY(poison(device, buffers));
    MOEC_TRY(layer->forward(p.on.hidden.as<void>(), p.on.ids.as<int32_t>(), p.on.weights.as<float>()));
    MOEC_TRY(device.synchronise());
    Result<std::vector<uint16_t>> got = device.downloaded<uint16_t>(buffers.output, wanted.size());
    MOEC_TRY(got.status());
    if (*got != wanted)
      return makeError(Code::VerificationMismatch, "down that combines gives other bits");
  }
  return {};
}

/// downFew in place of down and combine: the same bits, with overlapping launches and without.
Status verifyDownFew(Device &device, Bundle &bundle, const Prepared &p, const LayerChoice &choice,
                     const LayerWeightsOnDevice &weights, LayerBuffers &buffers, std::string &report) {
  const Shape &shape = p.inputs.shape;
  if (choice.family != GemmFamily::Fitted || !downIsFew(shape.tokens, shape.topK, shape.intermediate, shape.hidden))
    return {};
  Result<DeviceLayer> layer = DeviceLayer::create(device, bundle, shape, choice, weights, buffers);
  MOEC_TRY(layer.status());
  std::vector<uint16_t> wanted;
  for (bool overlap : {false, true})
    for (bool on : {false, true}) {
      layer->setOverlap(overlap);
      layer->setDownFew(on);
      MOEC_TRY(poison(device, buffers));
      MOEC_TRY(layer->forward(p.on.hidden.as<void>(), p.on.ids.as<int32_t>(), p.on.weights.as<float>()));
      MOEC_TRY(device.synchronise());
      if (layer->ranDownFew() != on)
        return makeError(Code::VerificationMismatch, "downFew was {}launched", on ? "not " : "");
      Result<std::vector<uint16_t>> got = device.downloaded<uint16_t>(buffers.output, p.reference.output.size());
      MOEC_TRY(got.status());
      if (wanted.empty())
        wanted = *got;
      if (*got != wanted)
        return makeError(Code::VerificationMismatch, "downFew gives other bits than down and combine");
    }
  report += ", the same bits by downFew";
  return {};
}

/// One choice on one case, gate and up apart or fused. Runs three times, from the second on with overlapping launches
/// where the device can, and from the third on without dispatch where the layer can: the bits must be the same.
Status verifyLayer(Device &device, Bundle &bundle, const Prepared &p, const LayerChoice &choice, bool fused,
                   std::vector<uint16_t> &output, std::string &report) {
  const Shape &shape = p.inputs.shape;
  const int64_t expert = int64_t{shape.intermediate} * shape.hidden;
  const LayerWeightsOnDevice weights =
      fused ? LayerWeightsOnDevice{p.on.fused.as<void>(), p.on.fused.as<void>(static_cast<size_t>(expert) * 2),
                                   p.on.down.as<void>(), expert * 2}
            : LayerWeightsOnDevice{p.on.gateThenUp.as<void>(), p.on.gateThenUp.as<void>(p.inputs.gate.size() * 2),
                                   p.on.down.as<void>(), expert};
  Result<LayerBuffers> buffers = LayerBuffers::allocate(device, shape);
  MOEC_TRY(buffers.status());
  Result<DeviceLayer> layer = DeviceLayer::create(device, bundle, shape, choice, weights, *buffers);
  MOEC_TRY(layer.status());

  std::vector<uint16_t> outputs[3];
  double activatedError = 0;
  for (std::vector<uint16_t> &mine : outputs) {
    layer->setOverlap(&mine != &outputs[0] && device.computeCapability() >= 90);
    layer->setAlwaysDispatch(&mine != &outputs[2]);
    MOEC_TRY(poison(device, *buffers));
    MOEC_TRY(layer->forward(p.on.hidden.as<void>(), p.on.ids.as<int32_t>(), p.on.weights.as<float>()));
    MOEC_TRY(device.synchronise());
    if (!layer->isOfFewPairs())
      MOEC_TRY(checkDispatch(device, *buffers, p.slots, choice));
    Result<std::vector<uint16_t>> activated =
        device.downloaded<uint16_t>(buffers->activated, p.reference.activated.size());
    MOEC_TRY(activated.status());
    activatedError = worstError(*activated, p.reference.activated, p.inputs.bf16);
    Result<std::vector<uint16_t>> got = device.downloaded<uint16_t>(buffers->output, p.reference.output.size());
    MOEC_TRY(got.status());
    mine = *got;
  }
  output = outputs[0];
  const double outputError = worstError(outputs[0], p.reference.output, p.inputs.bf16);
  // One rounding to bf16 is at most 2^-8 of the value, to f16 2^-11. The output has three behind it,
  // one of them of terms that may be larger than their sum.
  const double rounding = p.inputs.bf16 ? 1.0 / 256 : 1.0 / 2048;
  report = fmt::format("errors {:.1e} {:.1e}", activatedError, outputError);
  if (!(activatedError <= 1.02 * rounding))
    return makeError(Code::VerificationMismatch, "activation is {:.2e} off", activatedError);
  if (!(outputError <= 4 * rounding))
    return makeError(Code::VerificationMismatch, "output is {:.2e} off", outputError);
  if (outputs[0] != outputs[1])
    return makeError(Code::VerificationMismatch, "two runs differ");
  if (outputs[0] != outputs[2])
    return makeError(Code::VerificationMismatch, "without dispatch other bits come out");
  MOEC_TRY(verifyDownFew(device, bundle, p, choice, weights, *buffers, report));
  return verifyCombining(device, bundle, p, choice, weights, *buffers, output);
}

/// A ring of two samples that must hold what the dispatches counted.
struct Ring {
  static constexpr uint32_t samples = 2;
  HostBuffer words;
  Buffer sequence;

  static Result<Ring> create(Device &device, uint32_t experts) {
    Ring ring;
    Result<HostBuffer> words = device.allocateHost(samples * (experts + 1) * sizeof(uint64_t));
    MOEC_TRY(words.status());
    ring.words = std::move(*words);
    MOEC_TRY(allocateBuffer(device, 4, ring.sequence));
    MOEC_TRY(device.fill(ring.sequence, 0));
    return ring;
  }
  CountsRing args() const { return {words.as<uint64_t>(), sequence.as<uint32_t>(), samples}; }

  Status check(uint32_t number, const Prepared &p) const {
    const uint32_t experts = p.inputs.shape.experts;
    const volatile uint64_t *sample = words.as<uint64_t>() + number % samples * (experts + 1);
    for (uint32_t e = 0; e <= experts; ++e) {
      const uint64_t word = sample[e];
      const size_t expected =
          e < experts ? static_cast<size_t>(p.slots.expertBegin[e + 1] - p.slots.expertBegin[e]) : p.inputs.ids.size();
      if (sequenceOf(word) != number || countOf(word) != expected)
        return makeError(Code::VerificationMismatch, "sample {}: word {} has number {} and count {}, expected {}",
                         number, e, sequenceOf(word), countOf(word), expected);
    }
    return {};
  }
};

/// The same layer by each form of dispatch, and with static slots of which some do not suffice: the same bits.
Status verifyForms(Device &device, Bundle &bundle, const Prepared &p, const LayerChoice &choice, std::string &report) {
  const Shape &shape = p.inputs.shape;
  const int64_t expert = int64_t{shape.intermediate} * shape.hidden;
  const LayerWeightsOnDevice weights{p.on.gateThenUp.as<void>(), p.on.gateThenUp.as<void>(p.inputs.gate.size() * 2),
                                     p.on.down.as<void>(), expert};
  Result<LayerBuffers> buffers = LayerBuffers::allocate(device, shape);
  MOEC_TRY(buffers.status());
  Result<DeviceLayer> layer = DeviceLayer::create(device, bundle, shape, choice, weights, *buffers);
  MOEC_TRY(layer.status());
  Result<Ring> ring = Ring::create(device, shape.experts);
  MOEC_TRY(ring.status());
  layer->setRing(ring->args());
  uint32_t samples = 0;
  std::vector<uint16_t> first;
  const auto same = [&](const Buffer &output, const char *form) -> Status {
    Result<std::vector<uint16_t>> got = device.downloaded<uint16_t>(output, p.reference.output.size());
    MOEC_TRY(got.status());
    MOEC_TRY(ring->check(++samples, p));
    if (!first.empty() && first != *got)
      return makeError(Code::VerificationMismatch, "{} gives other bits", form);
    first = *got;
    return {};
  };
  const bool canOverlap = device.computeCapability() >= 90;
  layer->setAlwaysDispatch(true);
  std::vector<std::pair<DispatchForm, bool>> forms{{DispatchForm::OneBlock, false},
                                                   {DispatchForm::ThreeLaunches, false},
                                                   {DispatchForm::Grid, false},
                                                   {DispatchForm::Grid, canOverlap}};
  if (device.hasClusters() && p.inputs.ids.size() <= dispatchClusterPairs(dispatchConfigOf(shape.experts)))
    forms.insert(forms.end(), {{DispatchForm::Cluster, false}, {DispatchForm::Cluster, canOverlap}});
  for (const auto &[form, overlaps] : forms) {
    layer->setDispatch(form);
    layer->setOverlap(overlaps);
    MOEC_TRY(poison(device, *buffers));
    MOEC_TRY(layer->forward(p.on.hidden.as<void>(), p.on.ids.as<int32_t>(), p.on.weights.as<float>()));
    MOEC_TRY(device.synchronise());
    MOEC_TRY(checkDispatch(device, *buffers, p.slots, choice));
    MOEC_TRY(same(buffers->output, "this form of dispatch"));
  }
  layer->setAlwaysDispatch(false);
  if (layer->isOfFewPairs()) {
    MOEC_TRY(poison(device, *buffers));
    MOEC_TRY(layer->forward(p.on.hidden.as<void>(), p.on.ids.as<int32_t>(), p.on.weights.as<float>()));
    MOEC_TRY(device.synchronise());
    MOEC_TRY(same(buffers->output, "a step without dispatch"));
  }
  // Rows for the mean, and none for every fifth expert.
  std::vector<int32_t> slots(shape.experts, static_cast<int32_t>(ceilDivide(p.inputs.ids.size(), shape.experts)));
  for (size_t e = 3; e < slots.size(); e += 5)
    slots[e] = 0;
  int32_t expected = 0;
  for (uint32_t e = 0; e < shape.experts; ++e)
    expected += std::max(0, p.slots.expertBegin[e + 1] - p.slots.expertBegin[e] - slots[e]);
  Result<SlotLayer> slotted = SlotLayer::create(device, bundle, shape, choice, weights, slots);
  MOEC_TRY(slotted.status());
  slotted->setRing(ring->args());
  for (bool overlap : {false, true}) {
    slotted->setOverlap(overlap && canOverlap);
    MOEC_TRY(slotted->forward(p.on.hidden.as<void>(), p.on.ids.as<int32_t>(), p.on.weights.as<float>()));
    MOEC_TRY(same(slotted->output, "a layer with static slots"));
    Result<std::vector<int32_t>> spilled = device.downloaded<int32_t>(slotted->spillCount, 1);
    MOEC_TRY(spilled.status());
    if ((*spilled)[0] != expected)
      return makeError(Code::VerificationMismatch, "{} pairs spilled, expected {}", (*spilled)[0], expected);
  }
  report = fmt::format("same bits from 4 dispatches and from slots with {} of {} pairs spilled", expected,
                       p.slots.slotPair.size());
  return {};
}

Status prepare(Device &device, const Case &test, bool bf16, Prepared &p) {
  p.test = test;
  p.inputs = makeInputs(test, bf16);
  p.slots = referenceSlots(p.inputs.ids, test.shape.experts);
  p.reference = referenceLayer(p.inputs, p.slots);
  Result<DeviceInputs> on = DeviceInputs::upload(device, p.inputs);
  MOEC_TRY(on.status());
  p.on = std::move(*on);
  return {};
}

} // namespace

double worstError(const std::vector<uint16_t> &got, const std::vector<double> &expected, bool bf16) {
  const double rms = rootMeanSquare(expected);
  double worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double error = std::abs(elementValue(got[i], bf16) - expected[i]) / (std::abs(expected[i]) + rms + 1e-30);
    worst = error >= 0 ? std::max(worst, error) : std::numeric_limits<double>::infinity();
  }
  return worst;
}

std::vector<LayerChoice> choicesOn(const Device &device, Element element) {
  std::vector<LayerChoice> choices = layerChoices(GemmFamily::Portable, element);
  if (device.computeCapability() == 90)
    for (GemmFamily family : {GemmFamily::Hopper, GemmFamily::Fitted})
      for (const LayerChoice &choice : layerChoices(family, element))
        choices.push_back(choice);
  return choices;
}

Status verifyLayers(Device &device, Bundle &bundle, const VerifyOptions &options) {
  uint32_t failed = 0, passed = 0;
  for (Element element : {Element::BF16, Element::F16}) {
    if (options.quick && element == Element::F16)
      continue;
    for (const Case &test : allCases()) {
      if (options.quick && size_t{test.shape.tokens} * test.shape.hidden > 20000)
        continue;
      Prepared p;
      MOEC_TRY(prepare(device, test, element == Element::BF16, p));
      const std::vector<LayerChoice> choices = choicesOn(device, element);
      // Another family where there is one, its rows copied and fetched.
      for (const LayerChoice &choice : {choices.front(), choices[choices.size() - 2], choices.back()}) {
        if (!isWanted(options.kernels, choice))
          continue;
        std::string report;
        const Status status = verifyForms(device, bundle, p, choice, report);
        status.ok() ? ++passed : ++failed;
        fmt::print("{} {} {}: {}\n", status.ok() ? "ok  " : "FAIL", choice.name(), test.name,
                   status.ok() ? report : status.message());
        if (status.code() == Code::Failure)
          return status;
      }
      std::vector<uint16_t> wgmmaBits; // the same from every kernel that multiplies with wgmma
      for (const LayerChoice &choice : choices)
        for (bool fused : {false, true}) {
          if ((options.quick && fused) || !isWanted(options.kernels, choice))
            continue;
          std::string report;
          std::vector<uint16_t> output;
          Status status = verifyLayer(device, bundle, p, choice, fused, output, report);
          if (status.ok() && choice.family != GemmFamily::Portable) {
            if (wgmmaBits.empty())
              wgmmaBits = output;
            if (wgmmaBits != output)
              status = makeError(Code::VerificationMismatch, "bits differ from those of other tiles");
          }
          status.ok() ? ++passed : ++failed;
          if (!status.ok())
            fmt::print("FAIL {} {}{}: {}; {}\n", choice.name(), test.name, fused ? " fused" : "", status.message(),
                       report);
          else if (!fused)
            fmt::print("ok   {} {}: {}\n", choice.name(), test.name, report);
          if (status.code() == Code::Failure)
            return status; // a device error sticks: nothing after it would tell anything
        }
    }
  }
  fmt::print("{} layer checks passed, {} failed\n", passed, failed);
  return failed == 0 ? Status() : makeError(Code::VerificationMismatch, "{} layer checks failed", failed);
}

} // namespace moec::bench
