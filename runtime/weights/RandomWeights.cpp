#include "runtime/weights/RandomWeights.h"

#include "compiler/kernels/Fp8Abi.h"
#include "runtime/weights/Convert.h"
#include "runtime/weights/PartRequest.h"
#include "runtime/weights/QuantiseE4M3.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <vector>

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

constexpr uint64_t piece = 2048; // f32 values that stay in the L1 cache

/// Whoever reads a bf16 or f16 tensor gets values of that dtype, also as f32: else two readers would see two models.
void roundTo(DType dtype, std::span<float> values) {
  if (dtype == DType::F32)
    return;
  std::array<uint16_t, piece> rounded;
  convert(values.data(), DType::F32, rounded.data(), dtype, values.size());
  convert(rounded.data(), dtype, values.data(), DType::F32, values.size());
}

/// The values of one part, before any quantisation.
struct Stream {
  RandomKey key;
  float std;
  DType dtype;
};

/// Those from index `first` on.
void draw(const Stream &stream, uint64_t first, std::span<float> to) {
  for (uint64_t done = 0; done < to.size(); done += piece) {
    const auto values = to.subspan(done, std::min<uint64_t>(piece, to.size() - done));
    fillNormal(stream.key, first + done, stream.std, values);
    roundTo(stream.dtype, values);
  }
}

/// A tensor that is stored in e4m3, as CheckpointWeights would read it.
void readQuantised(const Stream &stream, const BlockGrid &grid, DType want, std::span<std::byte> to) {
  std::vector<float> strip(std::min<uint64_t>(kFp8Block, grid.rows) * grid.columns);
  const uint64_t elements = grid.rows * grid.columns;
  for (uint64_t done = 0; done < elements; done += strip.size()) {
    const auto values = std::span(strip).first(std::min<uint64_t>(strip.size(), elements - done));
    draw(stream, done, values);
    roundThroughE4M3(values, grid.columns);
    convert(values.data(), DType::F32, to.data() + done * byteSize(want), want, values.size());
  }
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
  if (ref.format == WeightFormat::BlockE4M3)
    return blockGrid(ref).status();
  return numPartElements(ref).status();
}

Status RandomWeights::read(const WeightRef &ref, uint32_t expert, DType want, std::span<std::byte> to) const {
  if (Status status = checkPart(ref, expert, want, to.size()); !status.ok())
    return status;
  const Stream stream{randomKey(spec.seed, tensorName(ref, expert)), spec.std, ref.dtype};
  if (ref.format == WeightFormat::BlockE4M3) {
    Result<BlockGrid> grid = blockGrid(ref);
    if (grid)
      readQuantised(stream, *grid, want, to);
    return grid.status();
  }
  std::array<float, piece> values;
  const uint64_t elements = *numPartElements(ref);
  for (uint64_t done = 0; done < elements; done += piece) {
    const size_t count = std::min<uint64_t>(piece, elements - done);
    draw(stream, done, std::span(values).first(count));
    convert(values.data(), DType::F32, to.data() + done * byteSize(want), want, count);
  }
  return Status();
}

Status RandomWeights::readBlockE4M3(const WeightRef &ref, uint32_t expert, std::span<uint8_t> elements,
                                    std::span<float> scales) const {
  Result<BlockGrid> grid = checkBlockPart(ref, expert, elements.size(), scales.size());
  if (!grid)
    return grid.status();
  const Stream stream{randomKey(spec.seed, tensorName(ref, expert)), spec.std, ref.dtype};
  const RowReader readRows = [&](uint64_t first, std::span<float> to) {
    draw(stream, first * grid->columns, to);
    return Status();
  };
  return quantiseE4M3(*grid, readRows, elements, scales);
}

} // namespace moec
