#include "runtime/weights/RandomWeights.h"

#include "runtime/weights/Convert.h"
#include "runtime/weights/PartRequest.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace moec {
namespace {

/// The whole of `text` as a number; nothing if it isn't one.
template <typename T> std::optional<T> parseNumber(std::string_view text) {
  T value = {};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    return std::nullopt;
  return value;
}

Status malformed(const std::string &text, std::string_view why) {
  return makeError(Code::InvalidArgument, "{}: {}; expected random:seed=N or random:seed=N,std=S", inQuotes(text), why);
}

/// Whoever reads a bf16 or f16 tensor gets values of that dtype, also as f32: else two readers would see two models.
void roundTo(DType dtype, std::span<float> values) {
  if (dtype == DType::F32)
    return;
  std::array<uint16_t, 2048> rounded;
  convert(values.data(), DType::F32, rounded.data(), dtype, values.size());
  convert(rounded.data(), dtype, values.data(), DType::F32, values.size());
}

} // namespace

Result<RandomSpec> parseRandomSpec(const std::string &text) {
  RandomSpec spec;
  bool seedGiven = false, stdGiven = false;
  std::string_view rest = text;
  if (!rest.starts_with(RandomWeights::prefix))
    return malformed(text, "not a random source");
  rest.remove_prefix(RandomWeights::prefix.size());
  for (bool more = true; more;) {
    size_t comma = rest.find(',');
    std::string_view option = rest.substr(0, comma);
    more = comma != std::string_view::npos;
    rest = more ? rest.substr(comma + 1) : std::string_view();
    if (option.starts_with("seed=") && !seedGiven) {
      std::optional<uint64_t> seed = parseNumber<uint64_t>(option.substr(5));
      if (!seed)
        return malformed(text, "the seed is not an integer below 2^64");
      spec.seed = *seed;
      seedGiven = true;
    } else if (option.starts_with("std=") && !stdGiven) {
      std::optional<float> std = parseNumber<float>(option.substr(4));
      if (!std || !(*std >= 1e-20f && *std <= 1000))
        return malformed(text, "std is not a number from 1e-20 to 1000");
      spec.std = *std;
      stdGiven = true;
    } else {
      return malformed(text, "option " + inQuotes(option) + " is unknown or given twice");
    }
  }
  if (!seedGiven)
    return malformed(text, "no seed");
  return spec;
}

std::string RandomWeights::describe() const { return fmt::format("{}seed={},std={}", prefix, spec.seed, spec.std); }

Status RandomWeights::check(const WeightRef &ref) const {
  Result<uint64_t> elements = numPartElements(ref);
  return elements ? Status() : elements.status();
}

Status RandomWeights::read(const WeightRef &ref, uint32_t expert, DType want, std::span<std::byte> to) const {
  if (Status status = checkPart(ref, expert, want, to.size()); !status.ok())
    return status;
  RandomKey key = randomKey(spec.seed, tensorName(ref, expert));
  std::array<float, 2048> values; // stays in the L1 cache
  uint64_t elements = *numPartElements(ref);
  for (uint64_t done = 0; done < elements; done += values.size()) {
    size_t count = std::min<uint64_t>(values.size(), elements - done);
    fillNormal(key, done, spec.std, std::span(values).first(count));
    roundTo(ref.dtype, std::span(values).first(count));
    convert(values.data(), DType::F32, to.data() + done * byteSize(want), want, count);
  }
  return Status();
}

} // namespace moec
