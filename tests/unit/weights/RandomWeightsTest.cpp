#include "runtime/weights/RandomWeights.h"
#include "runtime/weights/Convert.h"
#include "tests/unit/Catch.h"

#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <thread>

using namespace moec;

namespace {

std::vector<float> normals(uint64_t seed, std::string_view name, uint64_t first, size_t count, float std = 1) {
  std::vector<float> values(count);
  fillNormal(randomKey(seed, name), first, std, values);
  return values;
}

template <typename T> std::vector<T> readAs(const WeightSource &source, const WeightRef &ref, uint32_t e, DType dtype) {
  std::vector<T> values(*numPartElements(ref));
  REQUIRE(source.read(ref, e, dtype, std::as_writable_bytes(std::span(values))).ok());
  return values;
}

double normalCdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

/// Correlation of two samples whose means are 0 and variances 1.
double correlation(std::span<const float> a, std::span<const float> b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0) / static_cast<double>(a.size());
}

} // namespace

TEST_CASE("the tabulated quantiles are the normal distribution's, to half a step", "[weights][random]") {
  const auto &table = normalQuantiles();
  CHECK(table[0] == 0);
  for (int i = 1; i < 4096; ++i) {
    // P(|Z| < x) = i / 4096 must lie between half a step (2^-21) below and above the table's point.
    double x = std::ldexp(table[i], -20), half = std::ldexp(1.0, -21) * (1 + 1e-6), p = i / 4096.0;
    if (1 - std::erfc((x - half) / std::sqrt(2.0)) > p || 1 - std::erfc((x + half) / std::sqrt(2.0)) < p)
      FAIL("point " << i << " is " << x);
  }
  CHECK(std::ldexp(table[4096], -20) == Approx(4.126).margin(0.001));
}

TEST_CASE("the table and the first values are the same everywhere, for ever", "[weights][random]") {
  // A change of either changes every result that was ever made with random weights.
  const auto &table = normalQuantiles();
  CHECK(XXH3_64bits(table.data(), sizeof(table)) == 0xc14b6dd854421e7fu);
  std::vector<float> values = normals(1, "model.layers.0.mlp.experts.0.gate_proj.weight", 0, 1'000'003, 0.02f);
  CHECK(XXH3_64bits(values.data(), values.size() * sizeof(float)) == 0x6baa6846d5024018u);
}

TEST_CASE("mean, deviation, skewness and kurtosis are those of a normal distribution", "[weights][random]") {
  constexpr size_t n = 16'000'000;
  std::vector<float> values = normals(42, "moments", 0, n, 0.02f);
  double sums[5] = {};
  for (float value : values) {
    double x = value / 0.02, power = 1;
    for (double &sum : sums) {
      sum += power;
      power *= x;
    }
  }
  double mean = sums[1] / n, variance = sums[2] / n - mean * mean;
  // Bounds of 4 standard errors: 1, sqrt(2), sqrt(15) and sqrt(96) over sqrt(n), the last beside the 0.001 that the
  // method lacks.
  double error = 1 / std::sqrt(double(n));
  CHECK(std::fabs(mean) < 4 * error);
  CHECK(std::fabs(variance - 1) < 4 * std::sqrt(2.0) * error);
  CHECK(std::fabs(sums[3] / n) < 4 * std::sqrt(15.0) * error);
  CHECK(std::fabs(sums[4] / n - 3) < 0.001 + 4 * std::sqrt(96.0) * error);
}

TEST_CASE("the distribution's every part is normal", "[weights][random]") {
  // Chi-square over 64 equally likely cells, plus the tails beyond 3 and 3.6 deviations.
  constexpr size_t n = 4'000'000, cells = 64;
  std::vector<float> values = normals(7, "cells", 0, n);
  std::vector<double> counts(cells);
  double beyond3 = 0, beyond36 = 0;
  for (float value : values) {
    counts[std::min(cells - 1, static_cast<size_t>(normalCdf(value) * cells))] += 1;
    beyond3 += std::fabs(value) > 3;
    beyond36 += std::fabs(value) > 3.6;
  }
  double expected = double(n) / cells, chiSquare = 0;
  for (double count : counts)
    chiSquare += (count - expected) * (count - expected) / expected;
  CHECK(chiSquare < 120); // 63 degrees of freedom: p = 2e-5
  CHECK(chiSquare > 25);  // an even spread would be just as wrong: p = 1e-5
  // Expected 0.0026998 n = 10799 and 0.00031822 n = 1273; 5 standard errors.
  CHECK(std::fabs(beyond3 - 10799) < 5 * std::sqrt(10799.0));
  CHECK(std::fabs(beyond36 - 1273) < 5 * std::sqrt(1273.0));
}

TEST_CASE("neighbours, halves of one hash, rows, names and seeds are uncorrelated", "[weights][random]") {
  constexpr size_t n = 1'000'000;
  std::vector<float> values = normals(1, "m.experts.0.w", 0, n + 4096);
  std::span<const float> base = std::span(values).first(n);
  const double bound = 5 / std::sqrt(double(n));
  for (size_t lag : {1, 2, 3, 64, 2048, 4096})
    CHECK(std::fabs(correlation(base, std::span(values).subspan(lag, n))) < bound);
  CHECK(std::fabs(correlation(base, normals(1, "m.experts.1.w", 0, n))) < bound);
  CHECK(std::fabs(correlation(base, normals(2, "m.experts.0.w", 0, n))) < bound);
}

TEST_CASE("values hardly repeat", "[weights][random]") {
  // Two draws are equal with probability 2^-20 times the integral of the squared density, 0.2821: that makes
  // 134,500 of the 5e11 pairs, and a pair costs one distinct value at most. 5 standard errors below:
  std::vector<float> values = normals(5, "distinct", 0, 1'000'000);
  std::sort(values.begin(), values.end());
  auto distinct = std::unique(values.begin(), values.end()) - values.begin();
  CHECK(distinct > 1'000'000 - 134'500 - 1'834);
}

TEST_CASE("a value depends on its index alone, wherever a read begins", "[weights][random]") {
  std::vector<float> all = normals(9, "chunks", 0, 5000);
  for (uint64_t first : {0, 1, 2, 3, 2047, 2048, 4999})
    for (size_t count : {0, 1, 2, 3, 100}) {
      if (first + count > all.size())
        continue;
      std::vector<float> part = normals(9, "chunks", first, count);
      CHECK(std::equal(part.begin(), part.end(), all.begin() + static_cast<std::ptrdiff_t>(first)));
    }
}

TEST_CASE("bf16 and f16 weights are the rounded f32 ones", "[weights][random]") {
  RandomWeights source({.seed = 3});
  const WeightRef ref{"m.experts.{e}.up_proj.weight", {4, 50, 101}, DType::F32};
  std::vector<float> wide = readAs<float>(source, ref, 2, DType::F32);
  std::vector<uint16_t> brain = readAs<uint16_t>(source, ref, 2, DType::BF16);
  std::vector<uint16_t> half = readAs<uint16_t>(source, ref, 2, DType::F16);
  for (size_t i = 0; i < wide.size(); ++i) {
    REQUIRE(brain[i] == f32ToBf16(wide[i]));
    REQUIRE(half[i] == f32ToF16(wide[i]));
  }
}

TEST_CASE("a bf16 or f16 tensor has the values of its dtype, however wide it is read", "[weights][random]") {
  RandomWeights source({.seed = 3});
  const WeightRef wide{"m.gate.weight", {50, 101}, DType::F32}, brain{"m.gate.weight", {50, 101}, DType::BF16},
      half{"m.gate.weight", {50, 101}, DType::F16};
  std::vector<float> exact = readAs<float>(source, wide, 0, DType::F32),
                     asBrain = readAs<float>(source, brain, 0, DType::F32),
                     asHalf = readAs<float>(source, half, 0, DType::F32);
  std::vector<uint16_t> narrow = readAs<uint16_t>(source, brain, 0, DType::BF16);
  for (size_t i = 0; i < exact.size(); ++i) {
    REQUIRE(asBrain[i] == bf16ToF32(f32ToBf16(exact[i])));
    REQUIRE(asHalf[i] == f16ToF32(f32ToF16(exact[i])));
    REQUIRE(narrow[i] == f32ToBf16(exact[i]));
  }
}

TEST_CASE("an expert's weights go by its hub name, and each expert and role has its own", "[weights][random]") {
  RandomWeights source({.seed = 3});
  const WeightRef up{"m.experts.{e}.up_proj.weight", {4, 5, 7}, DType::F32};
  std::vector<float> second = readAs<float>(source, up, 1, DType::F32);
  CHECK(second == normals(3, "m.experts.1.up_proj.weight", 0, 35, 0.02f));
  CHECK(second == readAs<float>(source, {"m.experts.1.up_proj.weight", {5, 7}, DType::F32}, 0, DType::F32));
  CHECK(second != readAs<float>(source, up, 2, DType::F32));
  CHECK(second != readAs<float>(source, {"m.experts.{e}.gate_proj.weight", {4, 5, 7}, DType::F32}, 1, DType::F32));
  CHECK(source.view(up, 1, DType::F32) == nullptr);
}

TEST_CASE("threads in any order read the same values", "[weights][random]") {
  const WeightRef ref{"m.experts.{e}.up_proj.weight", {8, 64, 65}};
  Result<std::unique_ptr<WeightSource>> source = openWeights("random:seed=11");
  REQUIRE(source);
  std::vector<std::vector<float>> inThreads(8), inOrder;
  std::vector<std::thread> threads;
  for (uint32_t e = 8; e-- > 0;)
    threads.emplace_back([&, e] {
      inThreads[e].resize(64 * 65);
      (void)(*source)->read(ref, e, DType::F32, std::as_writable_bytes(std::span(inThreads[e]))).ok();
    });
  for (std::thread &thread : threads)
    thread.join();
  for (uint32_t e = 0; e < 8; ++e)
    inOrder.push_back(readAs<float>(**source, ref, e, DType::F32));
  CHECK(inThreads == inOrder);
}

TEST_CASE("a random source is parsed, and says what it is", "[weights][random]") {
  Result<RandomSpec> plain = parseRandomSpec("random:seed=18446744073709551615");
  REQUIRE(plain);
  CHECK(plain->seed == UINT64_MAX);
  CHECK(plain->std == 0.02f);
  Result<RandomSpec> wide = parseRandomSpec("random:std=1.5,seed=0");
  REQUIRE(wide);
  CHECK(wide->seed == 0);
  CHECK(wide->std == 1.5f);
  CHECK((*openWeights("random:seed=7"))->describe() == "random:seed=7,std=0.02");
}

TEST_CASE("a malformed random source is refused, and the message says what is expected", "[weights][random]") {
  for (const char *text :
       {"random:", "random:seed=", "random:seed=-1", "random:seed=1x", "random:seed=18446744073709551616", "random:7",
        "random:std=1", "random:seed=1,", "random:seed=1,seed=2", "random:seed=1,std=0", "random:seed=1,std=nan",
        "random:seed=1,std=inf", "random:seed=1,std=-1", "random:seed=1,mean=2", "random:seed=0x10"}) {
    Result<std::unique_ptr<WeightSource>> source = openWeights(text);
    INFO(text);
    REQUIRE_FALSE(source);
    CHECK(source.status().code() == Code::InvalidArgument);
    CHECK_THAT(source.status().message(), Catch::Matchers::Contains("expected random:seed=N"));
  }
}

TEST_CASE("a request that fits no part is refused by a random source as by a checkpoint", "[weights][random]") {
  RandomWeights source({.seed = 1});
  std::vector<std::byte> room(24);
  CHECK(source.read({"a.{e}", {2, 6}}, 1, DType::F32, room).ok());
  CHECK(source.read({"a.{e}", {2, 6}}, 2, DType::F32, room).code() == Code::InvalidArgument);
  CHECK(source.read({"a.{e}", {2, 7}}, 1, DType::F32, room).code() == Code::InvalidArgument);
  CHECK(source.check({"a", {-1}}).code() == Code::InvalidArgument);
}
