// One layer's weights on a CPU: experts packed or as stored, shared between generations, and what all experts share.
#pragma once

#include "compiler/core/Package.h"
#include "runtime/device/cpu/Pack.h"
#include "runtime/memory/Region.h"
#include "runtime/weights/WeightSource.h"

#include <memory>
#include <vector>

namespace moec {

/// Gate, up and down projection of one expert in the panel layout.
struct PackedExpert {
  Region memory;
  const std::byte *gateUp = nullptr;
  const std::byte *down = nullptr;
};

/// The same as stored: views into the checkpoint where its dtype is the compute dtype, else a converted copy.
struct StoredExpert {
  Region copy;               // empty where all three are views
  std::vector<float> biases; // of gate, up and down, one after another; empty where the layer has none
  StoredOperand gateUp;
  StoredOperand down;
};

/// How one generation holds one expert: exactly one of the two.
struct ExpertWeights {
  std::shared_ptr<const PackedExpert> packed;
  std::shared_ptr<const StoredExpert> stored;
};

/// The weights of one layer that every generation keeps packed.
struct CommonWeights {
  Region router;                     // packed panels; empty where routing is the caller's
  std::vector<float> routerBias;     // [E] or empty
  std::vector<float> correctionBias; // [E] or empty
  std::shared_ptr<const PackedExpert> shared;
  std::vector<float> sharedGate; // [H] or empty: sigmoid(hidden . sharedGate) scales the shared expert
};

/// Makes experts' weights and hands out what some generation holds already, so that generations share them.
///
/// Different experts may be asked for by different threads at once, one expert by one thread at a time.
class ExpertStore {
public:
  ExpertStore(LayerShape shape, LayerWeights weights, std::shared_ptr<const WeightSource> source);

  Result<std::shared_ptr<const PackedExpert>> packed(uint32_t expert, const LayerKernels &kernels);
  Result<std::shared_ptr<const StoredExpert>> stored(uint32_t expert, DType compute);
  /// Reads and packs what all generations share. `router` tells which biases the layer has.
  Result<std::shared_ptr<const CommonWeights>> common(const RouterSpec &router, const LayerKernels &kernels);

private:
  struct Entry {
    std::weak_ptr<const PackedExpert> packed;
    std::weak_ptr<const StoredExpert> stored;
  };
  struct Names {
    const WeightRef &gate, &up, &down;
  };

  Status loadBiases(uint32_t expert, StoredExpert &to) const;

  Result<std::shared_ptr<StoredExpert>> load(const Names &names, uint32_t expert, uint32_t intermediate, DType compute);
  Result<std::vector<float>> readVector(const WeightRef &ref, const char *what, uint64_t length);
  Status packRouter(const GemmKernels &gemm, DType compute, Region &to);

  LayerShape shape;
  LayerWeights weights;
  std::shared_ptr<const WeightSource> source;
  std::vector<Entry> entries; // [E]
};

} // namespace moec
