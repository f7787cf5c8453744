// Weights without a file: `random:seed=N[,std=S]`.
#pragma once

#include "runtime/weights/RandomNormal.h"
#include "runtime/weights/WeightSource.h"

namespace moec {

struct RandomSpec {
  uint64_t seed = 0;
  float std = 0.02f; // standard deviation; what most models are initialised with
};

/// Parses `random:seed=N[,std=S]`: N below 2^64, 1e-20 <= S <= 1000. Errors: InvalidArgument.
Result<RandomSpec> parseRandomSpec(const std::string &text);

/// Every tensor that is asked for exists and has the shape that is asked for. Element i of tensor t is normal with
/// mean 0, a function of the seed, t's name and i alone; the name of an expert's part is that of the hub's layout,
/// with its number (tensorName). So threads, the order and the grouping of reads don't matter, and bf16 and f16
/// values are the rounded f32 ones. A tensor that the model declares as bf16 or f16 has only values of that dtype,
/// however wide it is read. One that the model says is stored in e4m3 (WeightFormat::BlockE4M3) is these values
/// quantised, and is read as from such a checkpoint: element times scale in f32, then rounded to what is asked for.
class RandomWeights final : public WeightSource {
public:
  static constexpr std::string_view prefix = "random:";

  explicit RandomWeights(RandomSpec spec) : spec(spec) {}

  std::string describe() const override;
  Status check(const WeightRef &ref) const override;
  const void *view(const WeightRef &, uint32_t, DType) const override { return nullptr; }
  Status read(const WeightRef &ref, uint32_t expert, DType want, std::span<std::byte> to) const override;
  Status readBlockE4M3(const WeightRef &ref, uint32_t expert, std::span<uint8_t> elements,
                       std::span<float> scales) const override;

private:
  RandomSpec spec;
};

} // namespace moec
