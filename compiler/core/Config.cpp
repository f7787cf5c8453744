#include "compiler/core/Config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <string_view>

namespace moec {

namespace {

/// Reads `mark`, then a number of at most 16 bits, off the front of `text`.
bool takeNumber(std::string_view &text, std::string_view mark, uint16_t &number) {
  if (!text.starts_with(mark))
    return false;
  text.remove_prefix(mark.size());
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc())
    return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return true;
}

const char *familyName(const CudaTile &tile) {
  switch (tile.family) {
  case GemmFamily::Portable: return "portable";
  case GemmFamily::Hopper: return tile.swapAB ? "swapped" : "hopper";
  case GemmFamily::Fitted: return "fitted";
  case GemmFamily::Fp8: return tile.swapAB ? "fp8" : "fp8rows";
  }
  return "";
}

bool takeFamily(std::string_view &text, CudaTile &tile) {
  for (auto [name, family, swapAB] :
       {std::tuple{"portable", GemmFamily::Portable, false}, std::tuple{"hopper", GemmFamily::Hopper, false},
        std::tuple{"swapped", GemmFamily::Hopper, true}, std::tuple{"fitted", GemmFamily::Fitted, true},
        std::tuple{"fp8rows", GemmFamily::Fp8, false}, std::tuple{"fp8", GemmFamily::Fp8, true}})
    if (text.starts_with(name)) {
      text.remove_prefix(std::string_view(name).size());
      tile.family = family;
      tile.swapAB = swapAB;
      return true;
    }
  return false;
}

} // namespace

std::string CudaTile::text() const {
  return fmt::format("{}-{}x{}-s{}-w{}x{}-b{}", familyName(*this), tokens, weights, stages, warpsTokens, warpsWeights,
                     blocksPerSm);
}

Result<CudaTile> CudaTile::parse(const std::string &text) {
  CudaTile tile;
  std::string_view rest = text;
  // The text must come back the same: no leading zeros, nothing after the end.
  if (takeFamily(rest, tile) && takeNumber(rest, "-", tile.tokens) && takeNumber(rest, "x", tile.weights) &&
      takeNumber(rest, "-s", tile.stages) && takeNumber(rest, "-w", tile.warpsTokens) &&
      takeNumber(rest, "x", tile.warpsWeights) && takeNumber(rest, "-b", tile.blocksPerSm) && tile.text() == text &&
      tile.tokens && tile.weights && tile.stages && tile.warpsTokens && tile.warpsWeights && tile.blocksPerSm)
    return tile;
  return makeError(Code::InvalidArgument, "'{}' is no tile: expected something like hopper-128x256-s4-w2x1-b1", text);
}

std::string CudaConfig::text() const {
  return fmt::format("cuda{{element={},gate_up={},down={},shared_gate_up={},shared_down={}}}", dtypeName(element),
                     gateUp.text(), down.text(), sharedGateUp.text(), sharedDown.text());
}

std::string CpuConfig::text() const {
  return fmt::format("cpu{{isa={},compute={},rows={}}}", isaName(isa), dtypeName(compute), fmt::join(tileRows, "."));
}

uint32_t paddedStride(uint32_t columns, DType dtype) {
  constexpr uint32_t lineBytes = 64;
  uint32_t lines = (columns * byteSize(dtype) + lineBytes - 1) / lineBytes;
  lines |= 1;
  return lines * lineBytes / byteSize(dtype);
}

uint64_t panelBytes(uint32_t k, uint32_t lanes, DType compute, bool biased) {
  uint64_t evenK = (uint64_t{k} + 1) / 2 * 2, columns = 2 * uint64_t{lanes};
  return evenK * columns * byteSize(compute) + (biased ? columns * byteSize(DType::F32) : 0);
}

} // namespace moec
