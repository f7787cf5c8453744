// Checkpoints of any element types for the tests of quantised weights.
#pragma once

#include "runtime/weights/WeightSource.h"
#include "tests/unit/Catch.h"
#include "tests/unit/weights/Files.h"

#include <nlohmann/json.hpp>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

namespace moec::test {

using Bytes = std::vector<uint8_t>;

/// A .safetensors file of any element types.
class RawFile {
public:
  template <typename T>
  RawFile &add(const std::string &name, const char *dtype, std::vector<int64_t> shape, const std::vector<T> &values) {
    const auto bytes = bytesOf(values);
    header[name] = {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {data.size(), data.size() + bytes.size()}}};
    data.append(reinterpret_cast<const char *>(bytes.data()), bytes.size());
    return *this;
  }
  std::unique_ptr<WeightSource> open(ReadMode mode = ReadMode::Map) const {
    Result<std::unique_ptr<WeightSource>> source =
        openWeights(folder.write("w.safetensors", safetensors(header.dump(), 0) + data), mode);
    INFO(source.status().message());
    REQUIRE(source);
    return std::move(*source);
  }

private:
  TempFolder folder;
  nlohmann::json header = nlohmann::json::object();
  std::string data;
};

/// e4m3 as OCP FP8 defines it.
inline double e4m3(uint8_t bits) {
  const int exponent = bits >> 3 & 15, mantissa = bits & 7;
  if ((bits & 0x7f) == 0x7f)
    return std::nan("");
  const double magnitude = exponent ? std::ldexp(8 + mantissa, exponent - 10) : std::ldexp(mantissa, -9);
  return bits & 0x80 ? -magnitude : magnitude;
}

/// Bytes that tell their places apart and are no NaN of e4m3.
inline Bytes pattern(size_t count, size_t seed) {
  Bytes bytes(count);
  for (size_t n = 0; n < count; ++n)
    bytes[n] = static_cast<uint8_t>((n * 37 + n / 131 * 11 + seed * 53) % 127 | (n % 3 == 0 ? 0x80 : 0));
  return bytes;
}

inline std::vector<float> scalesFor(size_t count) {
  std::vector<float> scales(count);
  for (size_t n = 0; n < count; ++n)
    scales[n] = 0.01f * static_cast<float>(n + 1);
  return scales;
}

} // namespace moec::test
