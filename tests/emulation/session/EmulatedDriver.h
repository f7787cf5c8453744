// A driver whose device is the emulator: launches run here, and maps are the emulator's. Include the
// runtime's headers, tests/emulation/machine/Cuda.h and the kernels before this, in that order.
#pragma once

#include "compiler/core/JoinedShared.h"
#include "runtime/device/cuda/Forward.h"
#include "tests/emulation/kernels/TileCounters.h"
#include "tests/emulation/machine/TensorMap.h"
#include "tests/unit/cuda/FakeCuda.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <span>

namespace moec::emulation {

struct Machine {
  emulation::DeviceMemory memory;
  Random seeds;
  std::optional<Failure> failure = {}; // the first
  uint32_t numGateUpFew = 0;           // launches that took quantising's and gate-up's place
  uint32_t numDownFew = 0;             // and down's and combine's
};
inline Machine *machine = nullptr; // of the run; driver functions take no context of ours

/// What a CUfunction points to here.
using Kernel = std::function<void(const CUlaunchConfig &, void **)>;

template <class Body>
void runKernel(const CUlaunchConfig &config, uint8_t *dynamicShared, bool unwrittenRows, Body body,
               uint32_t clusterBlocks = 1, uint32_t wgmmaRows = 64) {
  if (!machine->failure)
    machine->failure = launch(machine->memory,
                              {.blocks = config.gridDimX,
                               .threads = config.blockDimX,
                               .sharedBytes = config.sharedMemBytes,
                               .dynamicShared = dynamicShared,
                               .wgmmaRows = wgmmaRows,
                               .unwrittenRows = unwrittenRows,
                               .clusterBlocks = clusterBlocks},
                              machine->seeds.next(), body);
}

inline CUresult launchHere(const CUlaunchConfig *config, CUfunction function, void **parameters, void **) {
  (*reinterpret_cast<const Kernel *>(function))(*config, parameters);
  return CUDA_SUCCESS;
}

inline CUresult clearHere(CUdeviceptr to, unsigned char value, size_t bytes, CUstream) {
  auto *address = reinterpret_cast<uint8_t *>(to);
  auto *buffer = machine->memory.find(address, bytes);
  REQUIRE(buffer);
  std::memset(address, value, bytes);
  buffer->shadow.setWritten(static_cast<uint32_t>(address - buffer->begin), static_cast<uint32_t>(bytes));
  return CUDA_SUCCESS;
}

inline CUresult encodeHere(CUtensorMap *map, CUtensorMapDataType type, cuuint32_t rank, void *address,
                           const cuuint64_t *sizes, const cuuint64_t *strides, const cuuint32_t *box,
                           const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion,
                           CUtensorMapFloatOOBfill) {
  CudaTensor tensor{.element = type == CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 ? Element::BF16 : Element::F16,
                    .elementBytes = type == CU_TENSOR_MAP_DATA_TYPE_UINT8 ? 1u : 2u,
                    .address = reinterpret_cast<uint64_t>(address),
                    .rank = rank,
                    .sizes = {},
                    .strides = {},
                    .box = {}};
  std::copy_n(sizes, rank, tensor.sizes.begin());
  std::copy_n(strides, rank - 1, tensor.strides.begin());
  std::copy_n(box, rank, tensor.box.begin());
  const TensorMap made = tensorMap<TensorMap>(tensor);
  std::memcpy(static_cast<void *>(map), &made, sizeof(made));
  return CUDA_SUCCESS;
}

inline std::shared_ptr<const CudaApi> apiOf(const test::FakeCuda &cuda) {
  auto api = std::make_shared<CudaApi>(*cuda.api());
  api->cuLaunchKernelExFn = launchHere;
  api->cuMemsetD8AsyncFn = clearHere;
  api->cuTensorMapEncodeTiledFn = encodeHere;
  return api;
}

template <class Args> const Args &argument(void **parameters, int index) {
  return *static_cast<const Args *>(parameters[index]);
}

/// A kernel that lives on, as the runtime has it.
inline CudaKernel loaded(const Kernel &kernel, uint32_t threads, uint32_t sharedBytes) {
  return {reinterpret_cast<CUfunction>(const_cast<Kernel *>(&kernel)), threads, sharedBytes};
}

/// Likewise a product in this tile.
inline CudaProduct loadedProduct(const Kernel &kernel, const CudaTile &tile, const GemmConfig &config, uint32_t k,
                                 uint32_t n) {
  return {loaded(kernel, gemmThreads(tile.family, config), sharedBytes(tile)), tile.family, config, k, n};
}

/// A kernel without tensor maps. Its dynamic shared memory, if it has any, is `unaligned`.
template <class Args, class Body>
CudaKernel plainKernel(uint32_t threads, Body body, uint32_t sharedBytes = 0, uint32_t clusterBlocks = 1) {
  static const Kernel kernel = [body, clusterBlocks](const CUlaunchConfig &config, void **parameters) {
    const Args args = argument<Args>(parameters, 0);
    runKernel(config, config.sharedMemBytes > 0 ? unaligned : nullptr, false, [&] { body(args); }, clusterBlocks);
  };
  return loaded(kernel, threads, sharedBytes);
}

/// What takes down's and combine's place in steps of few tokens. Its dynamic shared memory is `unaligned`.
template <class Args, class Body> CudaKernel downFewKernel(GemmFamily family, Body body) {
  const bool unwrittenRows = family == GemmFamily::Fp8; // of pairs that have no expert
  static const Kernel kernel = [body, unwrittenRows](const CUlaunchConfig &config, void **parameters) {
    const TensorMap weights = argument<TensorMap>(parameters, 0);
    const Args args = argument<Args>(parameters, 1);
    ++machine->numDownFew;
    runKernel(config, unaligned, unwrittenRows, [&] { body(weights, args); });
  };
  return loaded(kernel, kDownFewThreads, downFewMostSharedBytes(family));
}

/// Memory of the machine. Rows beyond a step's are read by whole boxes, and used by nobody: they hold NaN.
inline DeviceAllocator emulatedAllocator() {
  DeviceAllocator allocator;
  allocator.allocate = [](uint64_t bytes, void *) {
    return addressOf(machine->memory.output(std::vector<uint8_t>(bytes, 0xff)));
  };
  allocator.release = [](uint64_t, uint64_t, void *) {};
  return allocator;
}

/// Experts in an order that is not their own.
inline std::shared_ptr<const CUdeviceptr> mixedOrder(emulation::DeviceMemory &memory, const LayerShape &shape) {
  LayerTable table;
  REQUIRE(shape.experts % 3 != 0); // else not all would be in it
  for (uint32_t place = 0; place < shape.experts; ++place)
    table.order.push_back(static_cast<uint16_t>((place * 3 + 1) % shape.experts));
  return std::make_shared<const CUdeviceptr>(addressOf(memory.constant(deviceOrder(shape, table))));
}

/// Samples of counts, and what must be in them.
class CountsCheck {
public:
  CountsCheck(emulation::DeviceMemory &memory, uint32_t experts) : experts(experts) {
    ring.words = memory.output(std::vector<uint64_t>(size_t{samples} * (experts + 1), 0));
    ring.sequence = memory.output(std::vector<uint32_t>{0});
    ring.numSamples = samples;
  }

  /// What is wrong with sample `number`, of a step of these ids; empty if nothing is.
  std::string check(uint32_t number, std::span<const int32_t> ids) const {
    const uint64_t *words = ring.words + size_t{number} * (experts + 1);
    for (uint32_t e = 0; e <= experts; ++e) {
      const auto wanted = e < experts ? std::count(ids.begin(), ids.end(), static_cast<int32_t>(e)) : std::ssize(ids);
      if (words[e] != countWord(number, static_cast<uint32_t>(wanted)))
        return fmt::format("sample {}: word {} is {:#x}, not of {}", number, e, words[e], wanted);
    }
    return "";
  }

  CountsRing ring{};

private:
  static constexpr uint32_t samples = 12; // more than steps
  uint32_t experts;
};

/// Steps of a layer, of half of `tokens`, of all, of half again and, where it has kernels for so few, of kFewTokens and
/// of each number of which one launch takes gate-up's place or down's, one after the other in buffers with room for
/// more. The second is checked; those after it, whose pairs are few (kFewPairs) where the second's were not, must give
/// the same bits, and so must the whole of it with a dispatch.
///
/// fill(memory, layer)    gives the layer its shape, router, kernels and weights; what the caller routes by, if he does
/// check(space, output)   what is wrong with what the step left, [tokens, H] and in its buffers; empty if nothing is
template <class Fill, class Check>
std::string runSteps(uint64_t seed, const std::vector<uint16_t> &hiddenRows, uint32_t tokens, Fill fill, Check check) {
  constexpr uint32_t multiprocessors = 2, spareTokens = 12;
  test::FakeCuda cuda;
  Machine here{.memory = {}, .seeds = Random(seed)};
  machine = &here;
  auto driver = CudaDriver::open("cuda:0", apiOf(cuda));
  REQUIRE(driver.ok());
  const moec::DeviceMemory memory(*driver, emulatedAllocator());
  CudaLayer layer;
  const std::optional<RoutingView> routing = fill(here.memory, layer);
  layer.order = mixedOrder(here.memory, layer.shape);
  REQUIRE(makeMaps(**driver, layer).ok());
  auto space = CudaWorkspace::make(**driver, memory,
                                   CudaWorkspaceNeeds::of({&layer.shape, 1}, tokens + spareTokens, true), nullptr);
  REQUIRE(space.ok());

  const uint16_t *hidden = here.memory.input(hiddenRows);
  const uint32_t half = tokens / 2;
  uint16_t *output = here.memory.output<uint16_t>(tokens * layer.shape.hidden),
           *again = here.memory.output<uint16_t>(tokens * layer.shape.hidden);
  CountsCheck counts(here.memory, layer.shape.experts);
  uint32_t *nonFinite = here.memory.output(std::vector<uint32_t>{0});
  const CudaLaunchSite site{**driver, nullptr, multiprocessors, true, true};
  const auto step = [&](uint32_t count, uint16_t *to, bool dispatches = false) {
    CudaForward forward(layer, *space, site);
    forward.alwaysDispatch(dispatches);
    REQUIRE(forward.run(hidden, count, routing ? &*routing : nullptr, {counts.ring, nonFinite}, to).ok());
  };
  step(half, output);
  step(tokens, output);
  if (here.failure)
    return here.failure->message;
  if (std::string wrong = check(*space, output); !wrong.empty())
    return wrong;
  const int32_t *from = routing ? routing->ids : space->ids;
  const std::vector<int32_t> ids(from, from + tokens * layer.shape.topK);
  const CudaConfig &config = layer.kernels->config;
  std::vector<uint32_t> tokensOf{half, tokens, half}; // of the steps
  if (quantisesFew(kFewTokens, layer.shape.topK, config.gateUp, config.down)) {
    REQUIRE(half >= kFewTokens); // whose outputs are compared
    tokensOf.push_back(kFewTokens);
  }
  const auto isDownFew = [&](uint32_t count) {
    return layer.kernels->downFew && downIsFew(layer.shape, count, config.gateUp.family, config.down.family);
  };
  const auto isGateUpFew = [&](uint32_t count) {
    return layer.kernels->gateUpFew && gateUpIsFew(layer.shape, count, config.gateUp, config.down);
  };
  REQUIRE((!isGateUpFew(half) && !isDownFew(half))); // whose outputs are compared
  for (uint32_t count = half; count > 0; --count)
    if (isGateUpFew(count) || isDownFew(count))
      tokensOf.push_back(count);
  for (uint32_t count : std::span(tokensOf).subspan(2)) {
    step(count, again);
    if (here.failure)
      return here.failure->message;
    if (std::memcmp(again, output, size_t{count} * layer.shape.hidden * 2) != 0)
      return fmt::format("a step of {} tokens gives other bits", count);
  }
  if (hasNoDispatch(layer.shape, tokens, config.gateUp, config.down)) {
    step(tokens, again, true);
    if (here.failure)
      return here.failure->message;
    if (std::memcmp(again, output, size_t{tokens} * layer.shape.hidden * 2) != 0)
      return "a step with dispatch gives other bits than one without";
    tokensOf.push_back(tokens);
  }
  if (here.numGateUpFew != static_cast<uint32_t>(std::ranges::count_if(tokensOf, isGateUpFew)))
    return fmt::format("{} steps have had one launch for quantising and gate-up", here.numGateUpFew);
  if (here.numDownFew != static_cast<uint32_t>(std::ranges::count_if(tokensOf, isDownFew)))
    return fmt::format("{} steps have had one launch for down and combine", here.numDownFew);
  if (leavesCounters(space->tileCounters, 2))
    return "a tile counter is not left as zero";
  if (space->gridBarrier < space->tileCounters + 2 * kTileCounters)
    return "dispatch's barrier lies among the tile counters";
  for (uint32_t i = 0; i < tokensOf.size(); ++i)
    if (std::string wrong = counts.check(i + 1, std::span(ids).first(tokensOf[i] * layer.shape.topK)); !wrong.empty())
      return wrong;
  return "";
}

} // namespace moec::emulation
