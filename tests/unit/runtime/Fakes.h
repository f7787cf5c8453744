// A model, its weights and a compiler that answers with fake kernels: all that a session needs, without MLIR.
#pragma once

#include "runtime/Session.h"

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace moec::test {

/// One layer with weights named as in "layers.3.experts.{e}.gate".
LayerDescription describeLayer(uint32_t number, LayerShape shape, RouterSpec router = {});

/// Weights made up from names and indices, rounded to the ref's dtype, and then through e4m3 if the ref's format is
/// that; half of the others can be viewed, the rest must be read.
class MadeUpWeights final : public WeightSource {
public:
  explicit MadeUpWeights(uint32_t seed = 1) : seed(seed) {}
  std::string describe() const override { return "made up"; }
  Status check(const WeightRef &) const override { return {}; }
  const void *view(const WeightRef &ref, uint32_t expert, DType want) const override;
  Status read(const WeightRef &ref, uint32_t expert, DType want, std::span<std::byte> to) const override;
  Status readBlockE4M3(const WeightRef &ref, uint32_t expert, std::span<uint8_t> elements,
                       std::span<float> scales) const override;

  /// The same elements as the reference uses them.
  std::vector<float> values(const WeightRef &ref, uint32_t expert) const;

private:
  std::vector<float> plainValues(const WeightRef &ref, uint32_t expert) const;

  uint32_t seed;
  mutable Mutex mutex;
  mutable std::map<std::string, std::vector<std::byte>> views MOEC_GUARDED_BY(mutex);
};

/// Compiles whatever is asked for and counts how often.
struct FakeCompiler {
  std::atomic<int> compiles{0};
  std::atomic<int> others{0};  // import, describe
  uint16_t wrongHeight = 0;    // tiles of this height compute nonsense
  bool dropStore = false;      // leaves the last launch out
  std::atomic<int> delayMs{0}; // before a compile answers

  CompilerCall call();
};

/// A loaded model of these layers.
std::shared_ptr<const Model> makeModel(FakeCompiler &compiler, std::vector<LayerDescription> layers,
                                       std::shared_ptr<CacheStore> cache = nullptr);

/// Options that run fake kernels of 8 lanes with two threads, on assumed calibration.
SessionOptions fakeOptions(std::shared_ptr<const WeightSource> weights);

/// A folder that goes when this does.
class TemporaryFolder {
public:
  TemporaryFolder();
  ~TemporaryFolder();
  const std::string &path() const { return folder; }

private:
  std::string folder;
};

} // namespace moec::test
