#include "runtime/device/cpu/Calibrate.h"

#include "runtime/device/cpu/Workspace.h"

#include "compiler/core/Keys.h"
#include "compiler/core/Median.h"
#include "runtime/device/cpu/Pack.h"
#include "runtime/device/cpu/Panels.h"
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
constexpr uint64_t bufferRows = 4 * Calibration::maxRows; // of `a`, and of each thread's `c`

using Clock = std::chrono::steady_clock;

template <typename Body> double nanosecondsOfOne(Body &&body) {
  auto start = Clock::now();
  body();
  return std::chrono::duration<double, std::nano>(Clock::now() - start).count();
}

/// Median nanoseconds of one call of `body`.
template <typename Body> double nanosecondsOf(Body &&body) {
  std::vector<double> times;
  body(); // faults pages in and fills caches
  for (int i = 0; i < repeats; ++i)
    times.push_back(nanosecondsOfOne(body));
  return median(times);
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
    overlap();
    packing();
    copying();
    result.sectionNs = nanosecondsOf([&] { pool.parallelFor(pool.threads(), [](uint32_t, unsigned) {}); });
    return result;
  }

private:
  Status allocate() {
    const uint64_t rowBytes = uint64_t{gemm.k} * byteSize(kernels.config.compute);
    cStride = paddedStride(kPanelsPerCall * gemm.panelColumns, DType::F32) * sizeof(float);
    for (auto [region, bytes] :
         {std::pair{&a, bufferRows * uint64_t{gemm.aStrideBytes}}, std::pair{&c, bufferRows * cStride * pool.threads()},
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

  std::byte *outputOf(unsigned thread) { return c.data() + thread * bufferRows * cStride; }

  void tiles() {
    const uint32_t steps = kernels.config.compute == DType::BF16 ? (gemm.k + 1) / 2 : gemm.k;
    const uint32_t calls = std::max(1u, 100000 / steps); // some 100 us, far above the clock's grain
    std::vector<uint32_t> measured;
    std::vector<double> ofItem(pool.threads());
    for (uint32_t i = 0; i < gemm.tiles.size(); ++i) {
      std::vector<double> times;
      for (int repeat = 0; repeat <= repeats; ++repeat) {
        // Each item is timed by itself: a thread that comes late would count as a slow tile.
        pool.parallelFor(pool.threads(), [&](uint32_t item, unsigned) {
          ofItem[item] = nanosecondsOfOne([&] {
            for (uint32_t call = 0; call < calls; ++call)
              gemm.tiles[i](a.data(), panel.data(), outputOf(item), nullptr, nullptr, static_cast<int64_t>(cStride),
                            kPanelsPerCall, panel.data(), 0);
          });
        });
        if (repeat > 0) // the first faults pages in and fills caches
          times.push_back(*std::max_element(ofItem.begin(), ofItem.end()));
      }
      const uint16_t rows = kernels.config.tileRows[i];
      result.tileNsPerStep[rows] = median(times) / calls / steps / kPanelsPerCall;
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

  /// Tiles over weights from memory, and over the same few panels again and again: what the first takes beyond the
  /// longer of the second and of reading alone is what does not overlap. With as many rows as make the two alike.
  void overlap() {
    constexpr int runs = 3;
    const uint64_t panelsInMemory = weights.bytes() / gemm.panelSize;
    const uint32_t panels = static_cast<uint32_t>(std::min(panelsInMemory / (runs + 1), (8u << 20) / gemm.panelSize));
    if (panels < pool.threads())
      return; // so large that too few fit: the default stays
    const double streamNs = static_cast<double>(panels * gemm.panelSize) * result.streamNsPerByte;
    const uint32_t rows = alikeRows();
    std::vector<double> streamed, resident;
    for (int run = 0; run <= runs; ++run) {
      const double ns = runTiles(rows, weights.data() + run * panels * gemm.panelSize, panels, false);
      const double residentNs = runTiles(rows, panel.data(), panels, true);
      if (run > 0) {
        streamed.push_back(ns);
        resident.push_back(residentNs);
      }
    }
    const double longer = std::max(median(resident), streamNs), shorter = std::min(median(resident), streamNs);
    const double exposed = (median(streamed) - longer) * (longer + shorter) / (2 * shorter * shorter); // as in GemmCost
    result.overlap = std::clamp(1 - exposed, 0.0, 1.0);
  }

  /// Rows that a panel takes as long for as to be read, but more than one tile and no more than the buffers have.
  uint32_t alikeRows() const {
    const double wantedNs = result.streamNsPerByte * gemm.stepBytes * pool.threads();
    const uint32_t tallest = gemm.cover.tallest();
    const double rows = tallest * wantedNs / result.tileNsPerStep[tallest];
    return static_cast<uint32_t>(std::clamp<double>(rows, tallest + 1, bufferRows - tallest));
  }

  /// Nanoseconds of `rows` rows on the `panels` panels at `from`, spread over all threads; `again`: on the first few of
  /// them over and over.
  double runTiles(uint32_t rows, const std::byte *from, uint32_t panels, bool again) {
    const uint32_t chunk = (panels + pool.threads() - 1) / pool.threads();
    return nanosecondsOfOne([&] {
      pool.parallelFor(pool.threads(), [&](uint32_t item, unsigned) {
        TileOperands to;
        to.a = a.data();
        to.c = outputOf(item);
        to.cRowBytes = cStride; // all panels write the same columns: cPanelBytes stays 0
        const uint32_t end = std::min(panels, (item + 1) * chunk), group = again ? gemm.panelsPerFetch : chunk;
        for (uint32_t first = item * chunk; first < end; first += group) {
          const std::byte *packed = again ? from : from + first * gemm.panelSize;
          runPanels({gemm, packed, {}, kernels.config.compute}, to, rows, 0, std::min(group, end - first), {}, {});
        }
      });
    });
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
