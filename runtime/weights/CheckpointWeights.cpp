#include "runtime/weights/CheckpointWeights.h"

#include "runtime/weights/MatrixReader.h"
#include "runtime/weights/PartRequest.h"
#include "runtime/weights/Text.h"

#include <algorithm>

namespace moec {
namespace {

/// The dtype to compute with. `name` is the tensor's, for the error.
Result<DType> usableType(TensorType type, const std::string &name) {
  if (std::optional<DType> dtype = computeType(type))
    return *dtype;
  return makeError(Code::InvalidModel, "tensor {} has dtype {}: expected F32, BF16 or F16", inQuotes(name),
                   tensorTypeName(type));
}

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
    if (const std::string blocks = FusedName::gateUpBlocks(prefix); checkpoint.find(blocks))
      return makeError(Code::InvalidModel, "{} keeps its experts in MXFP4 ({}), which is not supported: it has no tensor {}",
                       inQuotes(checkpoint.path()), inQuotes(blocks), inQuotes(name));
  for (const std::string &prefix : fused ? fused->prefixes : std::vector<std::string>())
    looked += fmt::format(", nor {}",
                          inQuotes(fused->role == ExpertRole::Down ? FusedName::down(prefix) : FusedName::gateUp(prefix)));
  return makeError(Code::InvalidModel, "{} has no tensor {}{}", inQuotes(checkpoint.path()), inQuotes(name), looked);
}

Result<CheckpointWeights::Part> CheckpointWeights::wholeTensor(const TensorSpan &tensor, const std::string &name,
                                                               const WeightRef &ref) const {
  std::span<const int64_t> expected = partShape(ref);
  if (!std::equal(expected.begin(), expected.end(), tensor.shape.begin(), tensor.shape.end()))
    return makeError(Code::InvalidModel, "tensor {} in {}: expected shape {}, found {}", inQuotes(name),
                     inQuotes(tensor.file->name()), shapeText(expected), shapeText(tensor.shape));
  Result<DType> dtype = usableType(tensor.type, name);
  if (!dtype)
    return dtype.status();
  return Part{tensor, *dtype, MatrixLayout::plain(0, 1, *numPartElements(ref))};
}

Result<CheckpointWeights::Part> CheckpointWeights::partOf(const TensorSpan &tensor, const std::string &name,
                                                          const Result<MatrixLayout> &layout) {
  if (!layout)
    return layout.status().withContext("tensor {} in {}", inQuotes(name), inQuotes(tensor.file->name()));
  Result<DType> dtype = usableType(tensor.type, name);
  if (!dtype)
    return dtype.status();
  return Part{tensor, *dtype, *layout};
}

Result<CheckpointWeights::Part> CheckpointWeights::locateFused(const WeightRef &ref, const FusedName &fused,
                                                               uint32_t expert) const {
  for (const std::string &prefix : fused.prefixes) {
    std::optional<TensorSpan> gateUp = checkpoint.find(FusedName::gateUp(prefix));
    std::optional<TensorSpan> down = checkpoint.find(FusedName::down(prefix));
    const std::optional<TensorSpan> &tensor = fused.role == ExpertRole::Down ? down : gateUp;
    if (!tensor)
      continue;
    std::string name = fused.role == ExpertRole::Down ? FusedName::down(prefix) : FusedName::gateUp(prefix);
    FusedPair pair;
    if (gateUp)
      pair.gateUp = gateUp->shape;
    if (down)
      pair.down = down->shape;
    pair.gateUpBias = checkpoint.find(FusedName::gateUpBias(prefix)).has_value();
    Result<MatrixLayout> layout = fusedLayout(pair, fused.role, dimsOf(ref, fused.role), expert);
    return partOf(*tensor, name, layout);
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
    return partOf(*tensor, name, layout);
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
  if (!part || part->dtype != want || !part->layout.contiguous() || !part->tensor.bytes.data())
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
  return readMatrix(part->tensor, part->dtype, part->layout, want, to);
}

} // namespace moec
