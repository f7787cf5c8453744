// The rival: a MoE layer as a loop of oneDNN products over experts.
#pragma once

#include "compiler/core/ModelDescription.h"
#include "runtime/weights/WeightSource.h"
#include "tools/bench/cpu/OneDnnProduct.h"
#include "tools/moec/Traffic.h"

#include <array>
#include <memory>
#include <vector>

namespace moec::bench {

/// How experts meet threads.
enum class Schedule : uint8_t {
  InTurn, // one expert after the other, its products on all threads
  AtOnce, // each thread takes a whole expert, the busiest first
};
const char *scheduleName(Schedule schedule);

/// Gather, gate and up as one product of [2I, H], SiLU and multiply, down, weighted combine; the router's part is
/// given.
///
/// As strong as we can make it: weights packed ahead in the layouts that oneDNN asks for, primitives made ahead per row
/// count, every loop of ours vectorized and parallel on the same threads as oneDNN's, nothing allocated by us per step.
class OneDnnLayer {
public:
  /// Errors: InvalidArgument (a dtype other than bf16 and f32, shared experts), Failure (oneDNN's), ResourceExhausted.
  static Result<std::unique_ptr<OneDnnLayer>> make(const LayerDescription &layer,
                                                   std::shared_ptr<const WeightSource> weights, uint32_t threads,
                                                   uint32_t maxTokens);

  /// Makes the primitives for a step's row counts. Errors: as OneDnnProduct::prepare.
  Status prepare(const tool::RoutedStep &step, Schedule schedule);

  /// hidden, output [T, H] in the layer's dtype. `step` was prepared for `schedule`. Nanoseconds.
  Result<uint64_t> run(const void *hidden, const tool::RoutedStep &step, void *output, Schedule schedule);

  /// "brg:avx512_core_bf16".
  std::string implementations() const;
  /// Most weight layouts that one product holds, and bytes of all.
  size_t numLayouts() const;
  uint64_t packedBytes() const;

  ~OneDnnLayer();

private:
  struct Products {
    std::unique_ptr<OneDnnProduct> gateUp, down;
  };

  OneDnnLayer(const LayerDescription &layer, std::shared_ptr<const WeightSource> weights, uint32_t threads);
  Status open(uint32_t maxTokens);
  Status readGateUp(uint32_t expert, std::byte *to) const;
  Products &of(Schedule schedule) { return products[static_cast<size_t>(schedule)]; }
  void sortPairs(const tool::RoutedStep &step);
  void gather(uint32_t rowBegin, uint32_t rowEnd, const void *hidden);
  void activate(uint32_t rowBegin, uint32_t rowEnd);
  dnnl_status_t runInTurn(const void *hidden);
  dnnl_status_t runAtOnce(const void *hidden);
  void combine(const tool::RoutedStep &step, void *output);

  LayerDescription layer;
  LayerShape shape;
  std::shared_ptr<const WeightSource> weights;
  uint32_t threads;
  DnnlPlace place;
  std::unique_ptr<OneDnnWeights> gateUpWeights, downWeights;
  std::array<Products, 2> products; // by schedule
  Region gathered, gateUpOut, middle, downOut;
  std::vector<uint32_t> begin, next;      // [E + 1], [E]
  std::vector<uint32_t> rowOfPair, token; // [T * K]
  std::vector<uint32_t> hit;              // experts with rows, the busiest first
};

} // namespace moec::bench
