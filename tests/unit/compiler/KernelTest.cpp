// Generated CPU kernels against plain loops, for every ISA that this machine can run.
#include "compiler/Compile.h"
#include "runtime/device/cpu/Image.h"
#include "tests/unit/Catch.h"
#include "tests/unit/compiler/Models.h"

#include <cmath>
#include <cstring>
#include <random>

using namespace moec;

namespace {

bool canRun(CpuIsa isa) {
  __builtin_cpu_init();
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  return isa == CpuIsa::Avx2 ? avx2 : isa == CpuIsa::Avx512 ? avx512 : avx512 && __builtin_cpu_supports("avx512bf16");
}

float fromBf16(uint16_t bits) {
  uint32_t wide = uint32_t{bits} << 16;
  float value;
  std::memcpy(&value, &wide, 4);
  return value;
}
uint16_t toBf16(float value) { // round to nearest even
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/// Rows of `columns` numbers in a compute dtype, with a stride; elements past `columns` are zero.
struct Rows {
  DType dtype;
  uint32_t stride;
  std::vector<uint8_t> bytes;

  Rows(DType dtype, uint32_t count, uint32_t stride)
      : dtype(dtype), stride(stride), bytes(size_t{count} * stride * byteSize(dtype), 0) {}
  void set(uint32_t row, uint32_t column, float value) {
    size_t index = size_t{row} * stride + column;
    if (dtype == DType::BF16)
      reinterpret_cast<uint16_t *>(bytes.data())[index] = toBf16(value);
    else
      reinterpret_cast<float *>(bytes.data())[index] = value;
  }
  float get(uint32_t row, uint32_t column) const {
    size_t index = size_t{row} * stride + column;
    return dtype == DType::BF16 ? fromBf16(reinterpret_cast<const uint16_t *>(bytes.data())[index])
                                : reinterpret_cast<const float *>(bytes.data())[index];
  }
  void fill(uint32_t count, uint32_t columns, std::mt19937 &random) {
    std::normal_distribution<float> normal(0, 1);
    for (uint32_t row = 0; row < count; ++row)
      for (uint32_t column = 0; column < columns; ++column)
        set(row, column, normal(random));
  }
};

/// A compiled tiny layer and its loaded kernels.
struct Kernels {
  Package package;
  std::shared_ptr<const KernelImage> image;

  const Launch &launch(LaunchKind kind) const {
    for (const Launch &launch : package.layers[0].launches)
      if (launch.kind == kind)
        return launch;
    FAIL("no such launch");
    return package.layers[0].launches[0];
  }
  CpuTileFn tile(const KernelRef &kernel) const { return reinterpret_cast<CpuTileFn>(image->symbol(kernel.symbol)); }
};

Kernels compileTiny(CpuIsa isa, DType dtype, uint32_t hidden, uint32_t intermediate, std::vector<uint16_t> rows,
                    bool biased = false, bool weighted = false) {
  CompileRequest request;
  LayerShape shape{.hidden = hidden,
                   .intermediate = intermediate,
                   .experts = 4,
                   .topK = 2,
                   .dtype = dtype,
                   .expertBias = biased,
                   .weightOnInput = weighted};
  request.model = tests::tinyModel(shape);
  request.target.isa = isa;
  request.target.name = std::string("cpu-") + isaName(isa);
  LayerPlan plan =
      planGenericLayer(shape, 8, request.target, Calibration::assumed(request.target, computeDType(shape)), {});
  plan.config.cpu.tileRows = rows;
  request.plans[0] = plan;
  request.calibration = Calibration::assumed(request.target, computeDType(shape));
  Result<Package> package = compile(request);
  INFO(package.status().message());
  REQUIRE(package.ok());
  Kernels kernels{std::move(*package), nullptr};
  auto image = loadSharedObject(kernels.package.images[0]);
  INFO(image.status().message());
  REQUIRE(image.ok());
  kernels.image = *image;
  return kernels;
}

/// Packs a [columns, K] operand with the generated kernel, panel by panel; `biases` ([panels, 2 * lanes], as panels
/// have them) behind each where there are any.
std::vector<uint8_t> packAll(const Kernels &kernels, const Launch &launch, const Rows &first, const Rows *second,
                             uint32_t lanes, uint32_t panels, const std::vector<float> &biases = {}) {
  auto pack = reinterpret_cast<CpuPackFn>(kernels.image->symbol(launch.pack.symbol));
  REQUIRE(pack);
  DType compute = first.dtype;
  uint64_t size = panelBytes(launch.k, lanes, compute, !biases.empty());
  std::vector<uint8_t> packed(size * panels, 0);
  int64_t rowBytes = int64_t{first.stride} * byteSize(compute);
  for (uint32_t panel = 0; panel < panels; ++panel) {
    uint32_t perPanel = second ? lanes : 2 * lanes;
    const uint8_t *from = first.bytes.data() + int64_t{panel} * perPanel * rowBytes;
    const uint8_t *other =
        second ? second->bytes.data() + int64_t{panel} * perPanel * rowBytes : from + lanes * rowBytes;
    pack(from, other, rowBytes, packed.data() + size * panel);
    if (!biases.empty())
      std::memcpy(packed.data() + size * (panel + 1) - 2 * lanes * sizeof(float), &biases[size_t{panel} * 2 * lanes],
                  2 * lanes * sizeof(float));
  }
  return packed;
}

double silu(double x) { return x / (1 + std::exp(-x)); }

} // namespace

TEST_CASE("gate-up tiles of every height agree with plain loops, and with each other bit for bit",
          "[compiler][kernels]") {
  for (CpuIsa isa : {CpuIsa::Avx2, CpuIsa::Avx512, CpuIsa::Avx512Bf16})
    for (DType dtype : {DType::F32, DType::BF16})
      for (uint32_t k : {1u, 2u, 31u, 64u, 70u}) {
        if (!canRun(isa))
          continue;
        TargetFacts facts{.isa = isa};
        uint32_t lanes = facts.lanes(), panels = 6, tallest = facts.maxTileRows();
        std::vector<uint16_t> rows;
        for (uint32_t height : {tallest, 5u, 3u, 2u, 1u})
          rows.push_back(static_cast<uint16_t>(height));
        Kernels kernels = compileTiny(isa, dtype, k, lanes * panels, rows);
        const Launch &launch = kernels.launch(LaunchKind::GateUp);
        CAPTURE(isaName(isa), dtypeName(dtype), k);
        std::mt19937 random(7);
        DType rowType = CpuConfig{isa, dtype, {}}.rowDType();
        uint32_t stride = paddedStride(k, dtype);
        Rows a(rowType, tallest, paddedStride(k, rowType)), gate(dtype, lanes * panels, stride),
            up(dtype, lanes * panels, stride);
        a.fill(tallest, k, random), gate.fill(lanes * panels, k, random), up.fill(lanes * panels, k, random);
        std::vector<uint8_t> packed = packAll(kernels, launch, gate, &up, lanes, panels);
        Rows tallestOutput(rowType, tallest, paddedStride(lanes * panels, rowType));
        for (const KernelRef &kernel : launch.kernels) {
          Rows output(rowType, tallest, paddedStride(lanes * panels, rowType));
          int64_t cStride = int64_t{output.stride} * byteSize(rowType);
          // Where a prefetch goes, even if nothing is there, changes no result.
          kernels.tile(kernel)(a.bytes.data(), packed.data(), output.bytes.data(), nullptr, nullptr, cStride, panels,
                               reinterpret_cast<const void *>(uintptr_t{4096} * kernel.rows), 37 * kernel.rows);
          if (kernel.rows == tallest)
            tallestOutput = output;
          double error = 0, norm = 0;
          for (uint32_t row = 0; row < kernel.rows; ++row)
            for (uint32_t column = 0; column < lanes * panels; ++column) {
              double g = 0, u = 0;
              for (uint32_t inner = 0; inner < k; ++inner) {
                g += double{a.get(row, inner)} * gate.get(column, inner);
                u += double{a.get(row, inner)} * up.get(column, inner);
              }
              double want = silu(g) * u, got = output.get(row, column);
              error += (got - want) * (got - want), norm += want * want;
              REQUIRE(got == tallestOutput.get(row, column));
            }
          // bf16 outputs round at 2^-9; sums are f32.
          REQUIRE(std::sqrt(error) <= (rowType == DType::BF16 ? 3e-3 : 1e-6) * std::sqrt(norm));
        }
      }
}

TEST_CASE("down tiles add weighted rows to the tokens they belong to", "[compiler][kernels]") {
  for (CpuIsa isa : {CpuIsa::Avx2, CpuIsa::Avx512, CpuIsa::Avx512Bf16})
    for (DType dtype : {DType::F32, DType::BF16}) {
      if (!canRun(isa))
        continue;
      TargetFacts facts{.isa = isa};
      uint32_t lanes = facts.lanes(), panels = 5, k = 45, tokens = 9;
      Kernels kernels = compileTiny(isa, dtype, 2 * lanes * panels, k, {5, 3, 1});
      const Launch &launch = kernels.launch(LaunchKind::Down);
      CAPTURE(isaName(isa), dtypeName(dtype));
      std::mt19937 random(3);
      uint32_t columns = 2 * lanes * panels;
      // K is odd: the packing reads whole pairs, so the operand's rows are padded with zeros.
      DType rowType = CpuConfig{isa, dtype, {}}.rowDType();
      Rows a(rowType, 5, paddedStride(k, rowType)), weights(dtype, columns, paddedStride(k, dtype));
      a.fill(5, k, random), weights.fill(columns, k, random);
      std::vector<uint8_t> packed = packAll(kernels, launch, weights, nullptr, lanes, panels);
      const int32_t rowToken[] = {8, 0, 3, 3, 1};
      const float rowWeight[] = {0.5f, -1, 2, 0.25f, 0};
      std::vector<float> sums(tokens * columns, 1.0f);
      kernels.tile(launch.kernels[0])(a.bytes.data(), packed.data(), sums.data(), rowToken, rowWeight, columns * 4,
                                      panels, packed.data(), 0);
      for (uint32_t token = 0; token < tokens; ++token)
        for (uint32_t column = 0; column < columns; ++column) {
          double want = 1;
          for (uint32_t row = 0; row < 5; ++row)
            if (rowToken[row] == static_cast<int32_t>(token))
              for (uint32_t inner = 0; inner < k; ++inner)
                want += double{rowWeight[row]} * a.get(row, inner) * weights.get(column, inner);
          REQUIRE(sums[token * columns + column] == Approx(want).margin(1e-4));
        }
    }
}

TEST_CASE("biased tiles add a panel's biases to its sums before anything else", "[compiler][kernels]") {
  for (CpuIsa isa : {CpuIsa::Avx2, CpuIsa::Avx512, CpuIsa::Avx512Bf16})
    for (DType dtype : {DType::F32, DType::BF16}) {
      if (!canRun(isa))
        continue;
      // Rows of zeros: what comes out are the biases alone, so that all must be exact.
      const uint32_t lanes = TargetFacts{.isa = isa}.lanes(), panels = 5, k = 37, inner = lanes * panels,
                     outer = 2 * lanes * panels;
      CAPTURE(isaName(isa), dtypeName(dtype));
      std::mt19937 random(5);
      std::vector<float> biases(2 * lanes * panels);
      for (float &bias : biases)
        bias = std::normal_distribution<float>(0, 1)(random);
      DType rowType = CpuConfig{isa, dtype, {}}.rowDType();
      Kernels wide = compileTiny(isa, dtype, k, inner, {7, 4, 2, 1}, true);
      Rows zeros(rowType, 7, paddedStride(k, rowType)), gate(dtype, inner, paddedStride(k, dtype)), up = gate;
      gate.fill(inner, k, random), up.fill(inner, k, random);
      const Launch &gateUp = wide.launch(LaunchKind::GateUp);
      std::vector<uint8_t> packed = packAll(wide, gateUp, gate, &up, lanes, panels, biases);
      for (const KernelRef &kernel : gateUp.kernels) {
        Rows output(rowType, 7, paddedStride(inner, rowType));
        wide.tile(kernel)(zeros.bytes.data(), packed.data(), output.bytes.data(), nullptr, nullptr,
                          int64_t{output.stride} * byteSize(rowType), panels, packed.data(), 0);
        for (uint32_t row = 0; row < kernel.rows; ++row)
          for (uint32_t column = 0; column < inner; ++column) {
            const float *panel = &biases[column / lanes * 2 * lanes];
            const double want = silu(panel[column % lanes]) * panel[lanes + column % lanes];
            REQUIRE(output.get(row, column) == Approx(want).epsilon(rowType == DType::BF16 ? 4e-3 : 1e-6));
          }
      }
      Kernels tall = compileTiny(isa, dtype, outer, k, {5, 3, 1}, true);
      const Launch &down = tall.launch(LaunchKind::Down);
      Rows weights(dtype, outer, paddedStride(k, dtype));
      weights.fill(outer, k, random);
      packed = packAll(tall, down, weights, nullptr, lanes, panels, biases);
      for (const KernelRef &kernel : down.kernels) {
        const int32_t rowToken[] = {1, 0, 2, 3, 4};
        const float rowWeight[] = {0.5f, -1, 2, 0.25f, 0};
        std::vector<float> sums(5 * outer, 1.0f);
        tall.tile(kernel)(zeros.bytes.data(), packed.data(), sums.data(), rowToken, rowWeight, outer * 4, panels,
                          packed.data(), 0);
        for (uint32_t row = 0; row < kernel.rows; ++row)
          for (uint32_t column = 0; column < outer; ++column)
            REQUIRE(sums[rowToken[row] * outer + column] == std::fma(biases[column], rowWeight[row], 1.0f));
      }
    }
}

TEST_CASE("weighted gate-up tiles scale a row's sums, then add biases", "[compiler][kernels]") {
  for (CpuIsa isa : {CpuIsa::Avx2, CpuIsa::Avx512, CpuIsa::Avx512Bf16})
    for (DType dtype : {DType::F32, DType::BF16}) {
      if (!canRun(isa))
        continue;
      const uint32_t lanes = TargetFacts{.isa = isa}.lanes(), panels = 5, k = 37, inner = lanes * panels;
      CAPTURE(isaName(isa), dtypeName(dtype));
      std::mt19937 random(5);
      std::vector<float> biases(2 * lanes * panels);
      for (float &bias : biases)
        bias = std::normal_distribution<float>(0, 1)(random);
      const DType rowType = CpuConfig{isa, dtype, {}}.rowDType();
      Kernels kernels = compileTiny(isa, dtype, k, inner, {7, 4, 2, 1}, true, true);
      Rows a(rowType, 7, paddedStride(k, rowType)), gate(dtype, inner, paddedStride(k, dtype)), up = gate;
      a.fill(7, k, random), gate.fill(inner, k, random), up.fill(inner, k, random);
      const Launch &launch = kernels.launch(LaunchKind::GateUp);
      const std::vector<uint8_t> packed = packAll(kernels, launch, gate, &up, lanes, panels, biases);
      const float rowWeight[] = {0.5f, -1, 0, 0.3f, 1, 2, 0.7f};
      Rows tallest(rowType, 7, paddedStride(inner, rowType));
      for (const KernelRef &kernel : launch.kernels) {
        Rows output(rowType, 7, paddedStride(inner, rowType));
        kernels.tile(kernel)(a.bytes.data(), packed.data(), output.bytes.data(), nullptr, rowWeight,
                             int64_t{output.stride} * byteSize(rowType), panels, packed.data(), 0);
        if (kernel.rows == 7)
          tallest = output;
        for (uint32_t row = 0; row < kernel.rows; ++row)
          for (uint32_t column = 0; column < inner; ++column) {
            const float *panel = &biases[column / lanes * 2 * lanes];
            double g = 0, u = 0;
            for (uint32_t i = 0; i < k; ++i) {
              g += double{a.get(row, i)} * gate.get(column, i);
              u += double{a.get(row, i)} * up.get(column, i);
            }
            g = g * rowWeight[row] + panel[column % lanes], u = u * rowWeight[row] + panel[lanes + column % lanes];
            REQUIRE(output.get(row, column) ==
                    Approx(silu(g) * u).epsilon(rowType == DType::BF16 ? 4e-3 : 1e-5).margin(1e-5));
            REQUIRE(output.get(row, column) == tallest.get(row, column));
          }
      }
    }
}

TEST_CASE("kernels of weights on either side never share an image", "[compiler][kernels]") {
  const Kernels plain = compileTiny(CpuIsa::Avx2, DType::F32, 8, 8, {4, 1}),
                weighted = compileTiny(CpuIsa::Avx2, DType::F32, 8, 8, {4, 1}, false, true);
  CHECK(plain.package.images[0].key != weighted.package.images[0].key);
  CHECK(weighted.package.layers[0].shape.weightOnInput);
}

TEST_CASE("kernels with and without biases never share an image", "[compiler][kernels]") {
  const Kernels plain = compileTiny(CpuIsa::Avx2, DType::F32, 8, 8, {4, 1}),
                biased = compileTiny(CpuIsa::Avx2, DType::F32, 8, 8, {4, 1}, true);
  CHECK(plain.package.images[0].key != biased.package.images[0].key);
}
