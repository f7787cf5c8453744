#include "tests/unit/runtime/FakeKernels.h"

#include "compiler/core/Config.h"
#include "compiler/core/ThreadSafety.h"
#include "runtime/weights/Convert.h"

#include <array>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sstream>

namespace moec::test {
namespace {

constexpr size_t numThunks = 2048;

// A generated kernel is a function without state, so that a fake one finds its spec by its own number.
std::array<FakeSpec, numThunks> specs;
std::array<std::atomic<bool>, numThunks> usable;
std::atomic<int> images{0};
Mutex thunkMutex; // taken while images are loaded and unloaded

float load(const std::byte *data, DType dtype, uint64_t index) {
  if (dtype == DType::F32) {
    float value;
    std::memcpy(&value, data + index * 4, 4);
    return value;
  }
  uint16_t value;
  std::memcpy(&value, data + index * 2, 2);
  return bf16ToF32(value);
}

void storeAs(std::byte *data, DType dtype, uint64_t index, float value) {
  if (dtype == DType::F32) {
    std::memcpy(data + index * 4, &value, 4);
  } else {
    uint16_t bits = f32ToBf16(value);
    std::memcpy(data + index * 2, &bits, 2);
  }
}

/// Where a panel keeps row `k` of column `column`.
uint64_t panelIndex(const FakeSpec &spec, uint32_t k, uint32_t column) {
  return spec.compute == DType::BF16 ? (uint64_t{k / 2} * 2 * spec.lanes + column) * 2 + k % 2
                                     : uint64_t{k} * 2 * spec.lanes + column;
}

void sums(const FakeSpec &spec, const std::byte *a, const std::byte *panel, float weight, float *result) {
  const uint32_t columns = 2 * spec.lanes;
  std::fill(result, result + columns, 0.0f);
  // A real bf16 kernel reads pairs: an odd K must be padded with zeros, on both sides.
  const uint32_t steps = spec.compute == DType::BF16 ? (spec.k + 1) / 2 * 2 : spec.k;
  for (uint32_t k = 0; k < steps; ++k) {
    const float x = load(a, spec.rowType, k);
    for (uint32_t column = 0; column < columns; ++column)
      result[column] += x * load(panel, spec.compute, panelIndex(spec, k, column));
  }
  for (uint32_t column = 0; column < columns; ++column)
    result[column] *= weight;
  const std::byte *biases = panel + panelBytes(spec.k, spec.lanes, spec.compute);
  for (uint32_t column = 0; spec.biased && column < columns; ++column)
    result[column] += load(biases, DType::F32, column);
}

void runTile(const FakeSpec &spec, const void *a, const void *b, void *c, const int32_t *rowToken,
             const float *rowWeight, int64_t cStride, int64_t panels) {
  const uint64_t aBytes = uint64_t{paddedStride(spec.k, spec.rowType)} * byteSize(spec.rowType);
  float result[2 * 16]; // on the stack: the step path is tested not to allocate
  for (int64_t panel = 0; panel < panels; ++panel)
    for (uint32_t row = 0; row < spec.rows; ++row) {
      sums(spec, static_cast<const std::byte *>(a) + row * aBytes,
           static_cast<const std::byte *>(b) + panel * panelBytes(spec.k, spec.lanes, spec.compute, spec.biased),
           spec.weighted ? rowWeight[row] : 1, result);
      if (spec.wrong)
        result[0] += 0.125f;
      if (spec.kind == FakeSpec::GateUp) {
        std::byte *to = static_cast<std::byte *>(c) + row * cStride;
        for (uint32_t i = 0; i < spec.lanes; ++i) {
          float gate = result[i], up = result[spec.lanes + i];
          storeAs(to, spec.rowType, panel * spec.lanes + i, gate / (1.0f + std::exp(-gate)) * up);
        }
      } else {
        const bool down = spec.kind == FakeSpec::Down;
        auto *to = reinterpret_cast<float *>(static_cast<std::byte *>(c) + (down ? rowToken[row] : row) * cStride) +
                   panel * 2 * spec.lanes;
        for (uint32_t i = 0; i < 2 * spec.lanes; ++i)
          to[i] = down ? to[i] + rowWeight[row] * result[i] : result[i];
      }
    }
}

void runPack(const FakeSpec &spec, const void *first, const void *second, int64_t rowBytes, void *panel) {
  const uint32_t steps = spec.compute == DType::BF16 ? (spec.k + 1) / 2 * 2 : spec.k;
  for (uint32_t column = 0; column < 2 * spec.lanes; ++column) {
    const auto *row =
        static_cast<const std::byte *>(column < spec.lanes ? first : second) + (column % spec.lanes) * rowBytes;
    for (uint32_t k = 0; k < steps; ++k)
      storeAs(static_cast<std::byte *>(panel), spec.compute, panelIndex(spec, k, column), load(row, spec.compute, k));
  }
}

const FakeSpec &specOf(size_t thunk) {
  if (!usable[thunk].load(std::memory_order_acquire))
    std::abort(); // a kernel was called whose image is unloaded
  return specs[thunk];
}

template <size_t I>
void tileThunk(const void *a, const void *b, void *c, const int32_t *rowToken, const float *rowWeight, int64_t cStride,
               int64_t panels, const void *, int64_t) {
  runTile(specOf(I), a, b, c, rowToken, rowWeight, cStride, panels);
}
template <size_t I> void packThunk(const void *first, const void *second, int64_t rowBytes, void *panel) {
  runPack(specOf(I), first, second, rowBytes, panel);
}
template <size_t... I> std::array<CpuTileFn, sizeof...(I)> tiles(std::index_sequence<I...>) {
  return {tileThunk<I>...};
}
template <size_t... I> std::array<CpuPackFn, sizeof...(I)> packers(std::index_sequence<I...>) {
  return {packThunk<I>...};
}
const auto tileThunks = tiles(std::make_index_sequence<numThunks>());
const auto packThunks = packers(std::make_index_sequence<numThunks>());

class FakeImage final : public KernelImage {
public:
  FakeImage() { images.fetch_add(1); }
  ~FakeImage() override {
    Lock lock(thunkMutex);
    for (auto &[symbol, thunk] : thunks)
      usable[thunk].store(false, std::memory_order_release);
    images.fetch_sub(1);
  }

  Status add(const std::string &symbol, const FakeSpec &spec) {
    Lock lock(thunkMutex);
    for (size_t thunk = 0; thunk < numThunks; ++thunk)
      if (!usable[thunk].load()) {
        specs[thunk] = spec;
        usable[thunk].store(true, std::memory_order_release);
        thunks[symbol] = thunk;
        return {};
      }
    return makeError(Code::ResourceExhausted, "more than {} fake kernels", numThunks);
  }

  void *symbol(const std::string &name) const override {
    auto found = thunks.find(name);
    if (found == thunks.end())
      return nullptr;
    return specs[found->second].kind == FakeSpec::Pack ? reinterpret_cast<void *>(packThunks[found->second])
                                                       : reinterpret_cast<void *>(tileThunks[found->second]);
  }

private:
  std::map<std::string, size_t> thunks;
};

} // namespace

void addSymbol(Image &image, const std::string &symbol, const FakeSpec &spec) {
  std::string line =
      fmt::format("{} {} {} {} {} {} {} {} {} {}\n", symbol, static_cast<int>(spec.kind), spec.rows, spec.k, spec.lanes,
                  static_cast<int>(spec.compute), static_cast<int>(spec.rowType), static_cast<int>(spec.biased),
                  static_cast<int>(spec.weighted), static_cast<int>(spec.wrong));
  image.bytes.insert(image.bytes.end(), line.begin(), line.end());
}

Result<std::shared_ptr<const KernelImage>> loadFake(const Image &image) {
  auto loaded = std::make_shared<FakeImage>();
  std::istringstream lines(std::string(image.bytes.begin(), image.bytes.end()));
  std::string symbol;
  for (int kind, compute, rowType, biased, weighted, wrong; lines >> symbol;) {
    FakeSpec spec;
    lines >> kind >> spec.rows >> spec.k >> spec.lanes >> compute >> rowType >> biased >> weighted >> wrong;
    spec.kind = static_cast<FakeSpec::Kind>(kind);
    spec.compute = static_cast<DType>(compute);
    spec.rowType = static_cast<DType>(rowType);
    spec.biased = biased != 0;
    spec.weighted = weighted != 0;
    spec.wrong = wrong != 0;
    if (Status status = loaded->add(symbol, spec); !status.ok())
      return status;
  }
  return std::shared_ptr<const KernelImage>(std::move(loaded));
}

int loadedFakes() { return images.load(); }

} // namespace moec::test
