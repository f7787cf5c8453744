#include "runtime/weights/CheckpointWeights.h"

#include "runtime/weights/MatrixReader.h"
#include "runtime/weights/PartRequest.h"
#include "runtime/weights/QuantiseE4M3.h"
#include "runtime/weights/Text.h"

#include <algorithm>

namespace moec {
namespace {

/// E, H and I, from the shape of a gate, up ([E, I, H]) or down ([E, H, I]) ref.
ExpertDims dimsOf(const WeightRef &ref, ExpertRole role) {
  if (role == ExpertRole::Down)
    return {ref.shape[0], ref.shape[1], ref.shape[2]};
  return {ref.shape[0], ref.shape[2], ref.shape[1]};
}

} // namespace

Status CheckpointWeights::missing(const std::string &name, const std::optional<FusedName> &fused) const {
  std::string looked;
  for (const std::string &prefix : fused ? fused->prefixes : std::vector<std::string>())
    looked += fmt::format(
        ", nor {}", inQuotes(fused->role == ExpertRole::Down ? FusedName::down(prefix) : FusedName::gateUp(prefix)));
  return makeError(Code::InvalidModel, "{} has no tensor {}{}", inQuotes(checkpoint.path()), inQuotes(name), looked);
}

Result<CheckpointWeights::Part> CheckpointWeights::wholeTensor(const TensorSpan &tensor, const std::string &name,
                                                               const WeightRef &ref) const {
  std::span<const int64_t> expected = partShape(ref);
  if (!std::equal(expected.begin(), expected.end(), tensor.shape.begin(), tensor.shape.end()))
    return makeError(Code::InvalidModel, "tensor {} in {}: expected shape {}, found {}", inQuotes(name),
                     inQuotes(tensor.file->name()), shapeText(expected), shapeText(tensor.shape));
  const uint64_t rows = expected.size() == 2 ? static_cast<uint64_t>(expected[0]) : 1;
  const uint64_t elements = *numPartElements(ref);
  return partOf(tensor, name, MatrixLayout::plain(0, rows, rows ? elements / rows : 0), 0);
}

Result<BlockScales> CheckpointWeights::scalesOf(const TensorSpan &tensor, const std::string &name, uint32_t expert,
                                                uint64_t rowsBefore) const {
  const std::string inverse = name + "_scale_inv",
                    plain = name + "_scale"; // both are multiplied with, whatever they are called
  for (const std::string &scaleName : {inverse, plain})
    if (std::optional<TensorSpan> scales = checkpoint.find(scaleName))
      return blockScales(*scales, tensor.shape, expert, rowsBefore);
  return makeError(Code::InvalidModel, "has dtype F8_E4M3 but no scales: neither {} nor {} is there", inQuotes(inverse),
                   inQuotes(plain));
}

Result<CheckpointWeights::Part> CheckpointWeights::partOf(const TensorSpan &tensor, const std::string &name,
                                                          const Result<MatrixLayout> &layout, uint32_t expert,
                                                          uint64_t rowsBefore) const {
  if (!layout)
    return layout.status().withContext("tensor {} in {}", inQuotes(name), inQuotes(tensor.file->name()));
  if (std::optional<DType> dtype = computeType(tensor.type))
    return Part{tensor, *layout, *dtype};
  const bool inRows = layout->colStride == 1 && tensor.shape.size() >= 2;
  if (tensor.type != TensorType::F8E4M3 || !inRows)
    return makeError(Code::InvalidModel,
                     "tensor {} has dtype {}: expected F32, BF16, F16, or a matrix in rows as F8_E4M3", inQuotes(name),
                     tensorTypeName(tensor.type));
  Result<BlockScales> scales = scalesOf(tensor, name, expert, rowsBefore);
  if (!scales)
    return scales.status().withContext("tensor {} in {}", inQuotes(name), inQuotes(tensor.file->name()));
  return Part{tensor, *layout, *scales};
}

Result<CheckpointWeights::Part> CheckpointWeights::locateMxfp4(const TensorSpan &blocks, const std::string &prefix,
                                                               const WeightRef &ref, ExpertRole role,
                                                               uint32_t expert) const {
  const std::string name = FusedName::blocks(prefix, role), scalesName = FusedName::scales(prefix, role);
  const ExpertDims dims = dimsOf(ref, role);
  const bool isDown = role == ExpertRole::Down;
  const int64_t rows = isDown ? dims.hidden : 2 * dims.intermediate, cols = isDown ? dims.intermediate : dims.hidden;
  if (cols % static_cast<int64_t>(kMxBlock))
    return makeError(Code::InvalidModel, "tensor {}: MXFP4 rows are in blocks of {}, and {} is no multiple of that",
                     inQuotes(name), kMxBlock, cols);
  auto check = [&](const TensorSpan &tensor, const std::string &tensorName, std::vector<int64_t> expected) -> Status {
    if (tensor.type != TensorType::U8 ||
        !std::equal(expected.begin(), expected.end(), tensor.shape.begin(), tensor.shape.end()))
      return makeError(Code::InvalidModel, "tensor {} in {}: expected U8 of shape {}, found {} of shape {}",
                       inQuotes(tensorName), inQuotes(tensor.file->name()), shapeText(expected),
                       tensorTypeName(tensor.type), shapeText(tensor.shape));
    return Status();
  };
  const int64_t numBlocks = cols / static_cast<int64_t>(kMxBlock);
  if (Status status = check(blocks, name, {dims.experts, rows, numBlocks, static_cast<int64_t>(kMxBlockBytes)});
      !status.ok())
    return status;
  std::optional<TensorSpan> scales = checkpoint.find(scalesName);
  if (!scales)
    return missing(scalesName, std::nullopt);
  if (Status status = check(*scales, scalesName, {dims.experts, rows, numBlocks}); !status.ok())
    return status;
  return Part{blocks, mxfp4Layout(role, dims, expert), MxScales{*scales}};
}

Result<CheckpointWeights::Part> CheckpointWeights::locateFused(const WeightRef &ref, const FusedName &fused,
                                                               uint32_t expert) const {
  for (const std::string &prefix : fused.prefixes) {
    std::optional<TensorSpan> gateUp = checkpoint.find(FusedName::gateUp(prefix));
    std::optional<TensorSpan> down = checkpoint.find(FusedName::down(prefix));
    const std::optional<TensorSpan> &tensor = fused.role == ExpertRole::Down ? down : gateUp;
    if (!tensor) {
      if (std::optional<TensorSpan> blocks = checkpoint.find(FusedName::blocks(prefix, fused.role)))
        return locateMxfp4(*blocks, prefix, ref, fused.role, expert);
      continue;
    }
    std::string name = fused.role == ExpertRole::Down ? FusedName::down(prefix) : FusedName::gateUp(prefix);
    FusedPair pair;
    if (gateUp)
      pair.gateUp = gateUp->shape;
    if (down)
      pair.down = down->shape;
    pair.gateUpBias = checkpoint.find(FusedName::gateUpBias(prefix)).has_value();
    const ExpertDims dims = dimsOf(ref, fused.role);
    const uint64_t rowsBefore = fused.role == ExpertRole::Up ? dims.intermediate : 0;
    return partOf(*tensor, name, fusedLayout(pair, fused.role, dims, expert), expert, rowsBefore);
  }
  return missing(tensorName(ref, expert), fused);
}

Result<CheckpointWeights::Part> CheckpointWeights::locateFusedBias(const WeightRef &ref, const FusedName &fused,
                                                                   uint32_t expert) const {
  for (const std::string &prefix : fused.prefixes) {
    std::string name = fused.role == ExpertRole::Down ? FusedName::downBias(prefix) : FusedName::gateUpBias(prefix);
    std::optional<TensorSpan> tensor = checkpoint.find(name);
    if (!tensor)
      continue;
    Result<MatrixLayout> layout = fusedBiasLayout(tensor->shape, fused.role, ref.shape[0], ref.shape[1], expert);
    return partOf(*tensor, name, layout, expert);
  }
  return missing(tensorName(ref, expert), std::nullopt);
}

Result<CheckpointWeights::Part> CheckpointWeights::locate(const WeightRef &ref, uint32_t expert) const {
  std::string name = tensorName(ref, expert);
  if (std::optional<TensorSpan> tensor = checkpoint.find(name))
    return wholeTensor(*tensor, name, ref);
  if (std::optional<std::string> renamed = renamedBlock(name))
    if (std::optional<TensorSpan> tensor = checkpoint.find(*renamed))
      return wholeTensor(*tensor, *renamed, ref);
  std::optional<FusedName> fused;
  if (ref.shape.size() == 2)
    if ((fused = fusedBiasNameOf(ref.name)))
      return locateFusedBias(ref, *fused, expert);
  if (ref.shape.size() == 3)
    fused = fusedNameOf(ref.name);
  return fused ? locateFused(ref, *fused, expert) : missing(name, fused);
}

Status CheckpointWeights::check(const WeightRef &ref) const {
  if (Result<uint64_t> elements = numPartElements(ref); !elements)
    return elements.status();
  int64_t parts = isPerExpert(ref) ? ref.shape[0] : 1;
  for (int64_t part = 0; part < parts; ++part)
    if (Result<Part> found = locate(ref, static_cast<uint32_t>(part)); !found)
      return found.status();
  return Status();
}

const void *CheckpointWeights::view(const WeightRef &ref, uint32_t expert, DType want) const {
  if (!checkPart(ref, expert).ok())
    return nullptr;
  Result<Part> part = locate(ref, expert);
  if (!part || !part->layout.contiguous() || !part->tensor.bytes.data())
    return nullptr;
  if (const DType *stored = std::get_if<DType>(&part->elements); !stored || *stored != want)
    return nullptr;
  const std::byte *start = part->tensor.bytes.data() + part->layout.offset * byteSize(want);
  bool aligned = reinterpret_cast<uintptr_t>(start) % byteSize(want) == 0;
  return aligned ? start : nullptr;
}

Status CheckpointWeights::read(const WeightRef &ref, uint32_t expert, DType want, std::span<std::byte> to) const {
  if (Status status = checkPart(ref, expert, want, to.size()); !status.ok())
    return status;
  Result<Part> part = locate(ref, expert);
  if (!part)
    return part.status();
  return part->read(want, to);
}

Status CheckpointWeights::readBlockE4M3(const WeightRef &ref, uint32_t expert, std::span<uint8_t> elements,
                                        std::span<float> scales) const {
  Result<BlockGrid> grid = checkBlockPart(ref, expert, elements.size(), scales.size());
  if (!grid)
    return grid.status();
  Result<Part> part = locate(ref, expert);
  if (!part)
    return part.status();
  const MatrixLayout &layout = part->layout;
  const BlockScales *stored = std::get_if<BlockScales>(&part->elements);
  if (stored && layout.contiguous() && servesBlocks(*stored, layout.rows))
    return readStoredBlocks(part->tensor, layout, *stored, elements, scales);
  return quantiseE4M3(
      *grid,
      [&](uint64_t first, std::span<float> to) {
        return part->rows(first, to.size() / grid->columns).read(DType::F32, std::as_writable_bytes(to));
      },
      elements, scales);
}

CheckpointWeights::Part CheckpointWeights::Part::rows(uint64_t first, uint64_t count) const {
  Part part = *this;
  part.layout.offset += first * layout.rowStride;
  part.layout.rows = count;
  if (BlockScales *scales = std::get_if<BlockScales>(&part.elements))
    scales->firstRow += first;
  return part;
}

Status CheckpointWeights::Part::read(DType want, std::span<std::byte> to) const {
  if (const DType *stored = std::get_if<DType>(&elements))
    return readMatrix(tensor, *stored, layout, want, to);
  if (const BlockScales *scales = std::get_if<BlockScales>(&elements))
    return readBlockScaled(tensor, layout, *scales, want, to);
  return readMxfp4(tensor, std::get<MxScales>(elements).tensor, layout, want, to);
}

} // namespace moec
