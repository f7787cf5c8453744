// Weights from a checkpoint, whichever layout it keeps its experts in.
#pragma once

#include "runtime/weights/Checkpoint.h"
#include "runtime/weights/FusedLayout.h"
#include "runtime/weights/WeightSource.h"

namespace moec {

/// Looks a ref up in this order:
/// 1. the tensor of that very name (`{e}` replaced), of the part's shape;
/// 2. the same below `mlp` instead of `block_sparse_moe`, if the name has that;
/// 3. for the matrices and biases of an expert, the fused tensors (FusedLayout.h).
class CheckpointWeights final : public WeightSource {
public:
  explicit CheckpointWeights(Checkpoint checkpoint) : checkpoint(std::move(checkpoint)) {}

  std::string describe() const override { return checkpoint.path(); }
  Status check(const WeightRef &ref) const override;
  const void *view(const WeightRef &ref, uint32_t expert, DType want) const override;
  Status read(const WeightRef &ref, uint32_t expert, DType want, std::span<std::byte> to) const override;

private:
  /// One part of a ref: a tensor, and where in it the part lies.
  struct Part {
    TensorSpan tensor;
    DType dtype;
    MatrixLayout layout;
  };

  Result<Part> locate(const WeightRef &ref, uint32_t expert) const;
  static Result<Part> partOf(const TensorSpan &tensor, const std::string &name, const Result<MatrixLayout> &layout);
  Result<Part> locateFused(const WeightRef &ref, const FusedName &fused, uint32_t expert) const;
  Result<Part> locateFusedBias(const WeightRef &ref, const FusedName &fused, uint32_t expert) const;
  Result<Part> wholeTensor(const TensorSpan &tensor, const std::string &name, const WeightRef &ref) const;
  Status missing(const std::string &name, const std::optional<FusedName> &fused) const;

  Checkpoint checkpoint;
};

} // namespace moec
