// Layers of e4m3 weights against float64 sums of the same quantised values, step by step.
#include "tools/bench/gpu/Fp8Layer.h"
#include "tools/bench/gpu/Fp8Reference.h"
#include "tools/bench/gpu/Routing.h"
#include "tools/bench/gpu/Verify.h"

#include <algorithm>
#include <cmath>

namespace moec::bench {
namespace {

struct Case {
  const char *name;
  Shape shape;
  enum Ids : uint8_t { Drawn, Idle, OneExpert, Padded, FoursPadded, PaddingAlone, Mixed } ids = Drawn;
};

/// H and I are multiples of 16 but, where gateUpFewFp8 (H) and downFewFp8 (I) do not want it, not of 128; T is no
/// multiple of a tile.
constexpr Case cases[] = {
    {"one token", {1, 128, 64, 8, 2}},
    {"few tokens", {4, 2064, 528, 8, 8}},
    {"few tokens to one expert", {4, 272, 208, 8, 1}, Case::OneExpert},
    {"few tokens, padding", {3, 144, 272, 8, 6}, Case::Padded},
    {"odd sizes", {37, 272, 208, 8, 2}},
    {"idle experts", {61, 208, 80, 8, 2}, Case::Idle},
    {"all pairs to one expert", {300, 400, 144, 8, 1}, Case::OneExpert},
    {"padding", {130, 144, 272, 8, 2}, Case::Padded},
    {"one expert a token, some none", {99, 144, 272, 8, 1}, Case::Padded},
    {"few tokens of one expert, some of none", {30, 1040, 528, 8, 1}, Case::Padded},
    {"padding alone", {5, 128, 64, 8, 2}, Case::PaddingAlone},
    {"one token of eight experts", {1, 2064, 768, 16, 8}},
    {"two tokens, padding", {2, 144, 384, 8, 8}, Case::Padded},
    {"two tokens of six experts", {2, 208, 1408, 64, 6}},
    {"two tokens of one expert each time", {2, 272, 640, 8, 4}, Case::OneExpert},
    {"four tokens of eight experts", {4, 272, 384, 60, 8}},
    {"four pairs of a token, and no others", {2, 144, 384, 8, 8}, Case::FoursPadded},
    {"one block of scales", {2, 144, 128, 8, 4}},
    {"two tokens, padding alone", {2, 144, 128, 8, 4}, Case::PaddingAlone},
    {"one token of long rows", {1, 2048, 768, 16, 8}},
    {"two tokens of four experts, padding", {2, 384, 640, 8, 4}, Case::Padded},
    {"four tokens of all experts", {4, 256, 400, 8, 8}},
    {"three tokens to one expert", {3, 4352, 80, 8, 1}, Case::OneExpert},
    {"the longest rows", {2, 8192, 32, 8, 1}},
    {"one token of one expert, four groups", {1, 6144, 640, 8, 1}},
    {"four tokens of one expert, four groups, padding", {4, 6144, 256, 8, 1}, Case::Padded},
    {"three tokens of one expert, two groups", {3, 3072, 384, 8, 1}},
    {"two tokens of two experts, two groups", {2, 3072, 640, 8, 2}},
    {"four tokens of one expert, a group", {4, 256, 2432, 8, 1}, Case::Padded},
    {"rows in blocks, padding alone", {2, 256, 128, 8, 4}, Case::PaddingAlone},
    {"long sums", {129, 2064, 528, 8, 2}},
    {"many experts", {45, 80, 48, 128, 8}},
    {"more tiles than blocks", {700, 1040, 592, 16, 2}},
    {"tiles mixed", {669, 144, 80, 8, 1}, Case::Mixed},
};

struct Prepared {
  Shape shape{};
  std::vector<int32_t> ids;
  std::vector<uint16_t> hidden;
  std::vector<float> pairWeights;
  Fp8Weights gate, up, down;
  ReferenceSlots slots;
  Fp8Rows rows;                  // by slot
  std::vector<double> activated; // [numSlots, I]
  // The output for activated rows that a run has given: every tile gives the same ones.
  std::vector<uint16_t> givenActivated;
  Fp8Rows givenRows;                 // the same, quantised
  std::vector<double> outputOfGiven; // [T, H]
  Buffer idsOn, hiddenOn, weightsOn, gateUpOn, gateUpScalesOn, downOn, downScalesOn;
};

std::vector<int32_t> caseIds(const Case &test, std::mt19937_64 &random) {
  std::vector<int32_t> ids = drawIds(test.shape.tokens, test.shape.experts, test.shape.topK, 0.7, random);
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = test.ids == Case::Idle                                      ? ids[i] % 3 * 2
             : test.ids == Case::Mixed                                   ? (i >= 600) + (i >= 660)
             : test.ids == Case::OneExpert                               ? 5
             : test.ids == Case::FoursPadded && (i / 4 + i / 8) % 2 == 0 ? -1 // what one product would have, in turns
             : test.ids == Case::PaddingAlone || (test.ids == Case::Padded && (i % 3 == 0 || i == 10)) ? -1
                                                                                                       : ids[i];
  return ids;
}

/// Of each expert gate's part, then up's.
template <class T> std::vector<T> alternate(const std::vector<T> &gate, const std::vector<T> &up, uint32_t experts) {
  const auto each = static_cast<std::ptrdiff_t>(gate.size() / experts);
  std::vector<T> both;
  for (uint32_t e = 0; e < experts; ++e)
    for (const std::vector<T> *from : {&gate, &up})
      both.insert(both.end(), from->begin() + e * each, from->begin() + (e + 1) * each);
  return both;
}

Status prepare(Device &device, const Case &test, Prepared &p) {
  const auto [T, H, I, E, K] = p.shape = test.shape;
  std::mt19937_64 random(T * 7919 + H);
  p.ids = caseIds(test, random);
  p.hidden = drawElements(size_t{T} * H, 1, true, random);
  p.pairWeights = drawWeights(T, K, random);
  p.gate = drawFp8Weights(E, I, H, 1 / std::sqrt(H), random);
  p.up = drawFp8Weights(E, I, H, 1 / std::sqrt(H), random);
  p.down = drawFp8Weights(E, H, I, 1 / std::sqrt(I), random);
  p.slots = referenceSlots(p.ids, E);
  p.rows = gatherRows(quantiseRows(p.hidden, H, true), p.slots.slotPair, K);
  p.activated = referenceFp8Activated(p.rows, p.gate, p.up, p.slots.expertBegin);
  const auto put = [&](Buffer &buffer, const auto &values) -> Status {
    Result<Buffer> uploaded = device.uploaded(values);
    MOEC_TRY(uploaded.status());
    buffer = std::move(*uploaded);
    return {};
  };
  MOEC_TRY(put(p.idsOn, p.ids));
  MOEC_TRY(put(p.hiddenOn, p.hidden));
  MOEC_TRY(put(p.weightsOn, p.pairWeights));
  MOEC_TRY(put(p.gateUpOn, alternate(p.gate.elements, p.up.elements, E)));
  MOEC_TRY(put(p.gateUpScalesOn, alternate(p.gate.scales, p.up.scales, E)));
  MOEC_TRY(put(p.downOn, p.down.elements));
  return put(p.downScalesOn, p.down.scales);
}

/// Whether quantised rows on the device are those expected, bit for bit.
Status checkRows(Device &device, const char *what, const Fp8Rows &expected, size_t rows, const Buffer &elements,
                 const Buffer &scales, uint32_t stride) {
  Result<std::vector<uint8_t>> got = device.downloaded<uint8_t>(elements, rows * expected.columns);
  MOEC_TRY(got.status());
  const uint32_t blocks = ceilDivide(expected.columns, kFp8Block);
  Result<std::vector<float>> gotScales = device.downloaded<float>(scales, size_t{blocks} * stride);
  MOEC_TRY(gotScales.status());
  for (size_t i = 0; i < got->size(); ++i)
    if ((*got)[i] != expected.elements[i])
      return makeError(Code::VerificationMismatch, "{}: element {} of row {} is {:#x}, expected {:#x}", what,
                       i % expected.columns, i / expected.columns, (*got)[i], expected.elements[i]);
  for (uint32_t block = 0; block < blocks; ++block)
    for (size_t row = 0; row < rows; ++row)
      if ((*gotScales)[block * size_t{stride} + row] != expected.scales[block * expected.stride + row])
        return makeError(Code::VerificationMismatch, "{}: scale {} of row {} is {}, expected {}", what, block, row,
                         (*gotScales)[block * size_t{stride} + row], expected.scales[block * expected.stride + row]);
  return {};
}

/// What a run's gate-up has given, against float64, and its quantised rows against those of the same values. `error`:
/// the worst. Where gate-up quantises itself: its rows against those of a tile before it, which must be the same.
Status checkActivated(Device &device, Prepared &p, const Fp8Layer &layer, const LayerBuffers &buffers,
                      const Fp8Buffers &quantised, double &error) {
  const auto [T, H, I, E, K] = p.shape;
  const size_t slots = p.slots.slotPair.size();
  error = 0;
  if (!layer.quantisesOutputs()) {
    Result<std::vector<uint16_t>> activated = device.downloaded<uint16_t>(buffers.activated, slots * I);
    MOEC_TRY(activated.status());
    error = worstError(*activated, p.activated, true);
    if (p.outputOfGiven.empty() || p.givenActivated != *activated) {
      p.givenActivated = *activated;
      p.givenRows = quantiseRows(*activated, I, true);
      p.outputOfGiven = referenceFp8Combined(p.givenRows, p.down, p.slots, p.pairWeights, K);
    }
  } else if (p.outputOfGiven.empty()) {
    return makeError(Code::VerificationMismatch, "no tile before it gave rows to compare with");
  }
  if (layer.quantisesInputs()) // where nobody can look
    return {};
  return checkRows(device, "activated", p.givenRows, slots, quantised.activated, quantised.activatedScales,
                   quantised.scaleStride);
}

Status verifyRun(Device &device, Prepared &p, Fp8Layer &layer, const LayerBuffers &buffers, const Fp8Buffers &quantised,
                 std::vector<uint16_t> &output, std::string &report) {
  const auto [T, H, I, E, K] = p.shape;
  for (const Buffer *buffer : {&buffers.activated, &buffers.expertOutput, &buffers.output, &quantised.tokens,
                               &quantised.tokenScales, &quantised.activated, &quantised.activatedScales})
    MOEC_TRY(device.fill(*buffer, 0xff)); // NaN
  MOEC_TRY(layer.forward(p.hiddenOn.as<void>(), p.idsOn.as<int32_t>(), p.weightsOn.as<float>()));
  MOEC_TRY(device.synchronise());
  const size_t slots = p.slots.slotPair.size();
  if (!layer.quantisesInputs())
    MOEC_TRY(
        checkRows(device, "tokens", p.rows, slots, quantised.tokens, quantised.tokenScales, quantised.scaleStride));
  // One rounding to bf16 is 2^-8 at most; e4m3 sums keep some 14 bits of 128 terms, whose part in this is small.
  double activatedError = 0;
  MOEC_TRY(checkActivated(device, p, layer, buffers, quantised, activatedError));
  Result<std::vector<uint16_t>> got = device.downloaded<uint16_t>(buffers.output, size_t{T} * H);
  MOEC_TRY(got.status());
  output = *got;
  const double outputError = worstError(output, p.outputOfGiven, true);
  report = fmt::format("errors {:.2e} {:.2e}", activatedError, outputError);
  if (!(activatedError <= 1.25 / 256))
    return makeError(Code::VerificationMismatch, "activation is {:.2e} off", activatedError);
  if (!(outputError <= 3.0 / 256))
    return makeError(Code::VerificationMismatch, "output is {:.2e} off", outputError);
  return {};
}

/// A step whose gate-up, down or both are in their forms of few tokens: the same bits, with overlapping launches and
/// without.
Status verifyFewForms(Device &device, const Prepared &p, Fp8Layer &layer, const LayerBuffers &buffers,
                      const Fp8Buffers &quantised, bool gateUpFew, bool downFew, const std::vector<uint16_t> &wanted) {
  layer.setGateUpFew(gateUpFew);
  layer.setDownFew(downFew);
  for (bool overlap : {false, true}) {
    layer.setOverlap(overlap);
    for (const Buffer *buffer :
         {&buffers.activated, &buffers.expertOutput, &buffers.output, &quantised.activated, &quantised.activatedScales})
      MOEC_TRY(device.fill(*buffer, 0xff)); // NaN
    MOEC_TRY(layer.forward(p.hiddenOn.as<void>(), p.idsOn.as<int32_t>(), p.weightsOn.as<float>()));
    MOEC_TRY(device.synchronise());
    if (layer.ranGateUpFew() != gateUpFew || layer.ranDownFew() != downFew)
      return makeError(Code::VerificationMismatch, "launched: gateUpFewFp8 {}, downFewFp8 {}", layer.ranGateUpFew(),
                       layer.ranDownFew());
    Result<std::vector<uint16_t>> got = device.downloaded<uint16_t>(buffers.output, wanted.size());
    MOEC_TRY(got.status());
    if (*got != wanted)
      return makeError(Code::VerificationMismatch, "other bits: gateUpFewFp8 {}, downFewFp8 {}", gateUpFew, downFew);
  }
  return {};
}

/// gateUpFewFp8 in place of quantise and gate-up, and downFewFp8 in place of down and combine, wherever they can be.
Status verifyFew(Device &device, const Prepared &p, const Fp8Choice &choice, Fp8Layer &layer,
                 const LayerBuffers &buffers, const Fp8Buffers &quantised, const std::vector<uint16_t> &wanted,
                 std::string &report) {
  const auto [T, H, I, E, K] = p.shape;
  if (layer.ranDownFew() || layer.ranGateUpFew())
    return makeError(Code::VerificationMismatch, "a form of few tokens was launched");
  const bool takesGateUp = gateUpIsFewFp8(T, K, H, I), takesDown = downIsFewFp8(T, K, I, H);
  layer.setAlwaysDispatch(false);
  for (bool gateUpFew : {false, true})
    for (bool downFew : {false, true}) {
      const bool has = (!downFew || takesDown) && (!gateUpFew || (takesGateUp && (downFew || choice.quantisesFew)));
      if (!has || (!gateUpFew && !downFew))
        continue;
      MOEC_TRY(verifyFewForms(device, p, layer, buffers, quantised, gateUpFew, downFew, wanted));
      report += fmt::format(", the same bits by{}{}", gateUpFew ? " gateUpFewFp8" : "", downFew ? " downFewFp8" : "");
    }
  return {};
}

Status verifyChoice(Device &device, Bundle &bundle, Prepared &p, const Fp8Choice &choice, std::vector<uint16_t> &output,
                    std::string &report) {
  Result<LayerBuffers> buffers = LayerBuffers::allocate(device, p.shape);
  MOEC_TRY(buffers.status());
  Result<Fp8Buffers> quantised = Fp8Buffers::allocate(device, p.shape);
  MOEC_TRY(quantised.status());
  const auto layerOf = [&](const Fp8Choice &form) {
    return Fp8Layer::create(
        device, bundle, p.shape, form,
        {p.gateUpOn.as<uint8_t>(), p.downOn.as<uint8_t>(), p.gateUpScalesOn.as<float>(), p.downScalesOn.as<float>()},
        *buffers, *quantised);
  };
  Result<Fp8Layer> layer = layerOf(choice);
  MOEC_TRY(layer.status());
  std::vector<uint16_t> outputs[3]; // launches one by one; overlapping; and without dispatch where the pairs are few
  layer->setDownFew(false);         // whose activated rows nobody quantises
  layer->setGateUpFew(false);
  for (std::vector<uint16_t> &mine : outputs) {
    layer->setOverlap(&mine != &outputs[0]);
    layer->setAlwaysDispatch(&mine != &outputs[2]);
    MOEC_TRY(verifyRun(device, p, *layer, *buffers, *quantised, mine, report));
  }
  output = outputs[0];
  if (outputs[0] != outputs[1] || outputs[0] != outputs[2])
    return makeError(Code::VerificationMismatch, "runs differ");
  MOEC_TRY(verifyFew(device, p, choice, *layer, *buffers, *quantised, output, report));
  const Fp8Choice other = choice.combiningFor(p.shape);
  if (!other.down.combines)
    return {};
  Result<Fp8Layer> combining = layerOf(other);
  MOEC_TRY(combining.status());
  combining->setOverlap(true);
  combining->setDownFew(false);
  std::vector<uint16_t> all[3]; // with dispatch; without it, where the pairs are few; likewise, gate-up of few tokens
  for (std::vector<uint16_t> &mine : all) {
    combining->setAlwaysDispatch(&mine == &all[0]);
    combining->setGateUpFew(&mine == &all[2]);
    MOEC_TRY(verifyRun(device, p, *combining, *buffers, *quantised, mine, report));
    if (mine != output)
      return makeError(Code::VerificationMismatch, "down that combines gives other bits");
  }
  if (!downIsFewFp8(p.shape.tokens, p.shape.topK, p.shape.intermediate, p.shape.hidden))
    return {};
  return verifyFewForms(device, p, *combining, *buffers, *quantised, false, true, output);
}

} // namespace

Status verifyFp8Layers(Device &device, Bundle &bundle, const VerifyOptions &options) {
  if (device.computeCapability() != 90) {
    fmt::print("e4m3 layers need Hopper: skipped\n");
    return {};
  }
  uint32_t failed = 0, passed = 0;
  for (const Case &test : cases) {
    if (options.quick && size_t{test.shape.tokens} * test.shape.hidden > 20000)
      continue;
    Prepared p;
    MOEC_TRY(prepare(device, test, p));
    std::vector<uint16_t> bits; // the same from every tile
    for (const Fp8Choice &choice : fp8Choices()) {
      std::string report;
      std::vector<uint16_t> output;
      Status status = verifyChoice(device, bundle, p, choice, output, report);
      if (status.ok() && bits.empty())
        bits = output;
      if (status.ok() && bits != output)
        status = makeError(Code::VerificationMismatch, "bits differ from those of other tiles");
      status.ok() ? ++passed : ++failed;
      fmt::print("{} {} {}: {} {}\n", status.ok() ? "ok  " : "FAIL", choice.name(), test.name, report,
                 status.ok() ? "" : status.message());
      if (status.code() == Code::Failure)
        return status; // a device error sticks: nothing after it would tell anything
    }
  }
  fmt::print("{} e4m3 layer checks passed, {} failed\n", passed, failed);
  return failed == 0 ? Status() : makeError(Code::VerificationMismatch, "{} e4m3 layer checks failed", failed);
}

} // namespace moec::bench
