// Weights from a checkpoint, whichever layout it keeps its experts in.
#pragma once

#include "runtime/weights/Checkpoint.h"
#include "runtime/weights/FusedLayout.h"
#include "runtime/weights/QuantisedReader.h"
#include "runtime/weights/WeightSource.h"

#include <variant>

namespace moec {

/// Looks a ref up in this order:
/// 1. the tensor of that very name (`{e}` replaced), of the part's shape;
/// 2. the same below `mlp` instead of `block_sparse_moe`, if the name has that;
/// 3. for the matrices and biases of an expert, the fused tensors (FusedLayout.h), also in MXFP4 as
/// gpt-oss publishes them
///    (`gate_up_proj_blocks`, `_scales`, `down_proj_blocks`, `_scales`).
///
/// A tensor NAME of e4m3 elements is read times its scales (QuantisedReader.h), which are
/// NAME_scale_inv, as DeepSeek-V3 has them, or NAME_scale. Quantised parts have no `view`.
class CheckpointWeights final : public WeightSource {
public:
  explicit CheckpointWeights(Checkpoint checkpoint) : checkpoint(std::move(checkpoint)) {}

  std::string describe() const override { return checkpoint.path(); }
  Status check(const WeightRef &ref) const override;
  const void *view(const WeightRef &ref, uint32_t expert, DType want) const override;
  Status read(const WeightRef &ref, uint32_t expert, DType want, std::span<std::byte> to) const override;
  Status readBlockE4M3(const WeightRef &ref, uint32_t expert, std::span<uint8_t> elements,
                       std::span<float> scales) const override;

private:
  struct MxScales {
    TensorSpan tensor;
  };

  /// One part of a ref: a tensor, where in it the part lies, and what its elements are.
  struct Part {
    TensorSpan tensor;
    MatrixLayout layout;
    std::variant<DType, BlockScales, MxScales> elements;

    /// The `count` rows from `first` on.
    Part rows(uint64_t first, uint64_t count) const;
    /// All elements, as `want`.
    Status read(DType want, std::span<std::byte> to) const;
  };

  Result<Part> locate(const WeightRef &ref, uint32_t expert) const;
  Result<Part> partOf(const TensorSpan &tensor, const std::string &name, const Result<MatrixLayout> &layout,
                      uint32_t expert, uint64_t rowsBefore = 0) const;
  Result<BlockScales> scalesOf(const TensorSpan &tensor, const std::string &name, uint32_t expert,
                               uint64_t rowsBefore) const;
  Result<Part> locateFused(const WeightRef &ref, const FusedName &fused, uint32_t expert) const;
  Result<Part> locateMxfp4(const TensorSpan &blocks, const std::string &prefix, const WeightRef &ref, ExpertRole role,
                           uint32_t expert) const;
  Result<Part> locateFusedBias(const WeightRef &ref, const FusedName &fused, uint32_t expert) const;
  Result<Part> wholeTensor(const TensorSpan &tensor, const std::string &name, const WeightRef &ref) const;
  Status missing(const std::string &name, const std::optional<FusedName> &fused) const;

  Checkpoint checkpoint;
};

} // namespace moec
