#include "compiler/core/Keys.h"

#include "compiler/core/Bytes.h"
#include "compiler/core/Digest.h"

#include <fmt/ranges.h>

#include <bit>
#include <utility>

namespace moec {

namespace {

/// One line per field, whatever the field contains: no value can pretend to be two fields.
std::string escaped(const std::string &value) {
  std::string text;
  for (char character : value) {
    if (character == '\\')
      text += "\\\\";
    else if (character == '\n')
      text += "\\n";
    else
      text += character;
  }
  return text;
}

std::string fieldLines(const char *title, std::initializer_list<std::pair<const char *, std::string>> fields) {
  std::string text = fmt::format("{}\n", title);
  for (const auto &[name, value] : fields)
    text += fmt::format("{}: {}\n", name, escaped(value));
  return text;
}

} // namespace

std::string digest(std::span<const uint8_t> bytes) { return hexText(digestBytes(bytes)); }
std::string digest(const std::string &text) { return digest(asBytes(text)); }

std::string RequestKey::text() const {
  return fieldLines("moec request 1", {{"model", modelDigest},
                                       {"target", target},
                                       {"limits", limits},
                                       {"calibration", calibration},
                                       {"profile", profile},
                                       {"build", buildId}});
}

std::string ArtefactKey::text() const {
  return fieldLines("moec artefact 1", {{"config", config},
                                        {"shape", shape},
                                        {"activation", activation},
                                        {"codegen", codegen},
                                        {"cpu-features", cpuFeatures},
                                        {"abi", fmt::format("{}", abiVersion)}});
}

std::string CudaArtefactKey::text() const {
  return fieldLines("moec cuda artefact 1", {{"kernel", kernel},
                                             {"source", source},
                                             {"headers", headers},
                                             {"options", options},
                                             {"compiler", compiler},
                                             {"flags", flags},
                                             {"abi", fmt::format("{}", abiVersion)}});
}

uint32_t sizeClass(uint32_t pairs) {
  if (pairs < 16)
    return pairs;
  uint64_t step = std::bit_floor(pairs) / 8;
  uint64_t rounded = (pairs + step - 1) / step * step;
  return rounded > UINT32_MAX ? UINT32_MAX : static_cast<uint32_t>(rounded);
}

Histogram roundToSizeClasses(const Histogram &histogram) {
  Histogram rounded = histogram;
  rounded.tokens = sizeClass(histogram.tokens);
  for (uint32_t &pairs : rounded.pairs)
    pairs = sizeClass(pairs);
  return rounded;
}

std::string keyText(const Histogram &histogram) {
  Histogram rounded = roundToSizeClasses(histogram);
  return fmt::format("tokens={} pairs={}", rounded.tokens, fmt::join(rounded.pairs, "."));
}

// The name comes last: it is the only free text.
std::string keyText(const TargetFacts &facts) {
  if (facts.device == DeviceKind::Cuda)
    return fmt::format("arch={} multiprocessors={} shared={} l2={} bytes-per-ns={} flops-per-ns={} gpu={} name={}",
                       facts.arch, facts.gpu.multiprocessors, facts.gpu.sharedBytesPerBlock, facts.gpu.l2Bytes,
                       facts.gpu.memoryBytesPerNs, facts.gpu.matrixFlopsPerNs, facts.gpu.model, facts.name);
  return fmt::format("isa={} threads={} l2={} name={}", isaName(facts.isa), facts.threads, facts.l2Bytes, facts.name);
}

std::string keyText(const PlanLimits &limits) {
  return fmt::format("heights={} pack-budget={} headroom={} align={}", limits.maxTileHeights, limits.packBudgetBytes,
                     limits.slotHeadroom, limits.slotAlign);
}

} // namespace moec
