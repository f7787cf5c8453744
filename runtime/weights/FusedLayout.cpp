#include "runtime/weights/FusedLayout.h"

#include "runtime/weights/Text.h"

#include <array>
#include <utility>

namespace moec {
namespace {

constexpr std::string_view oldBlock = ".block_sparse_moe.";
constexpr std::string_view newBlock = ".mlp.";

constexpr std::array<std::pair<std::string_view, ExpertRole>, 6> roles = {{
    {"gate_proj.weight", ExpertRole::Gate},
    {"up_proj.weight", ExpertRole::Up},
    {"down_proj.weight", ExpertRole::Down},
    {"w1.weight", ExpertRole::Gate},
    {"w3.weight", ExpertRole::Up},
    {"w2.weight", ExpertRole::Down},
}};

/// What a shape says about its arrangement.
enum class Fit { None, Straight, Transposed, Either };

Fit fitOf(std::span<const int64_t> shape, int64_t experts, int64_t rows, int64_t cols) {
  if (shape.size() != 3 || shape[0] != experts)
    return Fit::None;
  bool straight = shape[1] == rows && shape[2] == cols;
  bool transposed = shape[1] == cols && shape[2] == rows;
  if (straight && transposed)
    return Fit::Either;
  return straight ? Fit::Straight : transposed ? Fit::Transposed : Fit::None;
}

Fit gateUpFit(std::span<const int64_t> shape, const ExpertDims &dims) {
  return fitOf(shape, dims.experts, 2 * dims.intermediate, dims.hidden);
}

Fit downFit(std::span<const int64_t> shape, const ExpertDims &dims) {
  return fitOf(shape, dims.experts, dims.hidden, dims.intermediate);
}

/// Whether the pair is transposed, judged by the tensor of `role` and, if that is square, by the
/// other one.
Result<bool> isTransposed(const FusedPair &pair, ExpertRole role, const ExpertDims &dims) {
  bool isDown = role == ExpertRole::Down;
  std::span<const int64_t> shape = isDown ? *pair.down : *pair.gateUp;
  Fit fit = isDown ? downFit(shape, dims) : gateUpFit(shape, dims);
  if (fit == Fit::Either && isDown && pair.gateUp)
    fit = gateUpFit(*pair.gateUp, dims) == Fit::Transposed ? Fit::Transposed : Fit::Straight;
  else if (fit == Fit::Either && !isDown && pair.down)
    fit = downFit(*pair.down, dims) == Fit::Transposed ? Fit::Transposed : Fit::Straight;
  if (fit != Fit::None)
    return fit == Fit::Transposed;
  int64_t rows = isDown ? dims.hidden : 2 * dims.intermediate;
  int64_t cols = isDown ? dims.intermediate : dims.hidden;
  return makeError(Code::InvalidModel, "expected shape [{0}, {1}, {2}] or [{0}, {2}, {1}], found {3}", dims.experts,
                   rows, cols, shapeText(shape));
}

} // namespace

std::optional<FusedName> fusedNameOf(std::string_view perExpertName) {
  constexpr std::string_view mark = ".experts.{e}.";
  size_t at = perExpertName.rfind(mark);
  if (at == std::string_view::npos)
    return std::nullopt;
  std::string_view suffix = perExpertName.substr(at + mark.size());
  for (const auto &[name, role] : roles) {
    if (suffix != name)
      continue;
    std::string prefix(perExpertName.substr(0, at + std::string_view(".experts").size()));
    FusedName fused{{}, role};
    if (std::optional<std::string> renamed = renamedBlock(prefix))
      fused.prefixes.push_back(*renamed);
    fused.prefixes.push_back(std::move(prefix));
    return fused;
  }
  return std::nullopt;
}

std::optional<FusedName> fusedBiasNameOf(std::string_view perExpertName) {
  constexpr std::string_view suffix = ".bias";
  if (!perExpertName.ends_with(suffix))
    return std::nullopt;
  return fusedNameOf(std::string(perExpertName.substr(0, perExpertName.size() - suffix.size())) + ".weight");
}

std::optional<std::string> renamedBlock(std::string_view name) {
  size_t at = name.find(oldBlock);
  if (at == std::string_view::npos)
    return std::nullopt;
  return std::string(name.substr(0, at)).append(newBlock).append(name.substr(at + oldBlock.size()));
}

Result<MatrixLayout> fusedLayout(const FusedPair &pair, ExpertRole role, const ExpertDims &dims, uint32_t expert) {
  Result<bool> transposed = isTransposed(pair, role, dims);
  if (!transposed)
    return transposed.status();
  uint64_t hidden = dims.hidden, intermediate = dims.intermediate;
  if (role == ExpertRole::Down) {
    uint64_t offset = expert * hidden * intermediate;
    return *transposed ? MatrixLayout{offset, hidden, intermediate, 1, hidden}
                       : MatrixLayout::plain(offset, hidden, intermediate);
  }
  uint64_t offset = expert * 2 * intermediate * hidden;
  bool isUp = role == ExpertRole::Up;
  if (!*transposed)
    return MatrixLayout::plain(offset + (isUp ? intermediate * hidden : 0), intermediate, hidden);
  if (pair.gateUpBias) // interleaved
    return MatrixLayout{offset + (isUp ? 1 : 0), intermediate, hidden, 2, 2 * intermediate};
  return MatrixLayout{offset + (isUp ? intermediate : 0), intermediate, hidden, 1, 2 * intermediate};
}

MatrixLayout mxfp4Layout(ExpertRole role, const ExpertDims &dims, uint32_t expert) {
  const uint64_t hidden = dims.hidden, intermediate = dims.intermediate;
  if (role == ExpertRole::Down)
    return MatrixLayout::plain(expert * hidden * intermediate, hidden, intermediate);
  const uint64_t offset = expert * 2 * intermediate * hidden;
  return MatrixLayout{offset + (role == ExpertRole::Up ? hidden : 0), intermediate, hidden, 2 * hidden, 1};
}

Result<MatrixLayout> fusedBiasLayout(std::span<const int64_t> shape, ExpertRole role, int64_t experts, int64_t length,
                                     uint32_t expert) {
  const int64_t joined = role == ExpertRole::Down ? 1 : 2;
  if (shape.size() != 2 || shape[0] != experts || shape[1] != joined * length)
    return makeError(Code::InvalidModel, "expected shape [{}, {}], found {}", experts, joined * length,
                     shapeText(shape));
  const auto rows = static_cast<uint64_t>(length), step = static_cast<uint64_t>(joined);
  return MatrixLayout{expert * step * rows + (role == ExpertRole::Up ? 1 : 0), rows, 1, step, 1};
}

} // namespace moec
