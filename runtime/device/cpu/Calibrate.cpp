#include "runtime/device/cpu/Calibrate.h"

#include "runtime/device/cpu/Workspace.h"

#include "compiler/core/Keys.h"
#include "runtime/device/cpu/Pack.h"
#include "runtime/device/cpu/Workspace.h"
#include "runtime/memory/Region.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

namespace moec {
namespace {

constexpr int repeats = 7;

/// Median nanoseconds of one call of `body`.
template <typename Body> double nanosecondsOf(Body &&body) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> times;
  body(); // faults pages in and fills caches
  for (int i = 0; i < repeats; ++i) {
    auto start = Clock::now();
    body();
    times.push_back(std::chrono::duration<double, std::nano>(Clock::now() - start).count());
  }
  std::nth_element(times.begin(), times.begin() + repeats / 2, times.end());
  return times[repeats / 2];
}

/// Reads every cache line, so that nothing is left out; the sum keeps the compiler from leaving it out.
uint64_t sumLines(const std::byte *data, uint64_t bytes) {
  uint64_t sum = 0;
  for (uint64_t offset = 0; offset + sizeof(uint64_t) <= bytes; offset += 64) {
    uint64_t word;
    std::memcpy(&word, data + offset, sizeof(word));
    sum += word;
  }
  return sum;
}

class Bench {
public:
  Bench(const LayerKernels &kernels, const TargetFacts &facts, ThreadPool &pool)
      : kernels(kernels), gemm(kernels.gateUp), facts(facts), pool(pool) {}

  Result<Calibration> run() {
    if (Status status = allocate(); !status.ok())
      return status;
    result.measured = true;
    tiles();
    stream();
    packing();
    copying();
    result.sectionNs = nanosecondsOf([&] { pool.parallelFor(pool.threads(), [](uint32_t, unsigned) {}); });
    return result;
  }

private:
  Status allocate() {
    const uint64_t rowBytes = uint64_t{gemm.k} * byteSize(kernels.config.compute);
    cStride = paddedStride(kPanelsPerCall * gemm.panelColumns, DType::F32) * sizeof(float);
    for (auto [region, bytes] : {std::pair{&a, Calibration::maxRows * uint64_t{gemm.aStrideBytes}},
                                 std::pair{&c, Calibration::maxRows * cStride},
                                 std::pair{&panel, kPanelsPerCall * gemm.panelSize},
                                 std::pair{&weights, streamBytes(2 * facts.lanes() * rowBytes)}}) {
      Result<Region> mapped = Region::map(bytes, "calibration");
      if (!mapped)
        return mapped.status();
      *region = std::move(*mapped);
    }
    // Pages that were never written are all one page of zeros, which streams from the cache. Not zero, since zeros can
    // multiply faster than data; small, so that sums stay finite.
    for (Region *region : {&a, &panel, &weights})
      std::memset(region->data(), 0x3c, region->bytes());
    return {};
  }

  /// Well beyond the last cache, which may be shared by a whole socket; never more than 1 GiB.
  static uint64_t streamBytes(uint64_t atLeast) {
    long last = sysconf(_SC_LEVEL3_CACHE_SIZE);
    return std::max(atLeast, std::clamp<uint64_t>(last > 0 ? 2 * static_cast<uint64_t>(last) : 0, 64u << 20, 1u << 30));
  }

  void tiles() {
    const uint32_t steps = kernels.config.compute == DType::BF16 ? (gemm.k + 1) / 2 : gemm.k;
    const uint32_t calls = std::max(1u, 100000 / steps); // some 100 us, far above the clock's grain
    std::vector<uint32_t> measured;
    for (uint32_t i = 0; i < gemm.tiles.size(); ++i) {
      const uint16_t rows = kernels.config.tileRows[i];
      double ns = nanosecondsOf([&] {
        for (uint32_t call = 0; call < calls; ++call)
          gemm.tiles[i](a.data(), panel.data(), c.data(), nullptr, nullptr, static_cast<int64_t>(cStride),
                        kPanelsPerCall);
      });
      result.tileNsPerStep[rows] = ns / calls / steps / kPanelsPerCall;
      measured.push_back(rows);
    }
    std::reverse(measured.begin(), measured.end());
    interpolate(measured);
  }

  /// `measured` ascends. Below the least, a tile costs what the least costs: it does the same loads.
  void interpolate(const std::vector<uint32_t> &measured) {
    auto &ns = result.tileNsPerStep;
    for (uint32_t rows = 1; rows < measured.front(); ++rows)
      ns[rows] = ns[measured.front()];
    for (size_t i = 1; i < measured.size(); ++i)
      for (uint32_t low = measured[i - 1], high = measured[i], rows = low + 1; rows < high; ++rows)
        ns[rows] = ns[low] + (ns[high] - ns[low]) * (rows - low) / (high - low);
  }

  void stream() {
    constexpr uint64_t chunk = 1u << 20;
    std::atomic<uint64_t> sink{0};
    double ns = nanosecondsOf([&] {
      pool.parallelFor(static_cast<uint32_t>(weights.bytes() / chunk), [&](uint32_t item, unsigned) {
        sink.fetch_add(sumLines(weights.data() + item * chunk, chunk), std::memory_order_relaxed);
      });
    });
    result.streamNsPerByte = ns / static_cast<double>(weights.bytes());
  }

  void packing() {
    const StoredOperand operand{weights.data(), weights.data()};
    const uint64_t bytes = uint64_t{2} * facts.lanes() * gemm.k * byteSize(kernels.config.compute);
    double ns = nanosecondsOf([&] {
      gemm.pack(operand.first, operand.first + bytes / 2,
                static_cast<int64_t>(uint64_t{gemm.k / 2 * 2} * byteSize(kernels.config.compute)), panel.data());
    });
    result.packNsPerByte = ns / static_cast<double>(bytes);
  }

  void copying() {
    const uint64_t bytes = std::min<uint64_t>(Calibration::maxRows * uint64_t{gemm.aStrideBytes}, weights.bytes());
    double ns = nanosecondsOf([&] { std::memcpy(a.data(), weights.data(), bytes); });
    result.copyNsPerByte = ns / static_cast<double>(bytes);
  }

  const LayerKernels &kernels;
  const GemmKernels &gemm;
  const TargetFacts &facts;
  ThreadPool &pool;
  Calibration result;
  uint64_t cStride = 0;
  Region a, c, panel, weights;
};

std::string cpuName() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name"))
      return line.substr(line.find(':') + 1);
  return " unknown";
}

} // namespace

Result<Calibration> calibrate(const LayerKernels &kernels, const TargetFacts &facts, ThreadPool &pool) {
  return Bench(kernels, facts, pool).run();
}

std::string calibrationKey(const TargetFacts &facts, DType compute, const std::string &buildId) {
  return fmt::format("calibration of cpu{}\ntarget={}\ncompute={}\nbuild={}\n", cpuName(), keyText(facts),
                     dtypeName(compute), buildId);
}

} // namespace moec
