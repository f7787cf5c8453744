#include "runtime/weights/WeightSource.h"

#include "compiler/kernels/Fp8Abi.h"
#include "runtime/weights/CheckpointWeights.h"
#include "runtime/weights/PartRequest.h"
#include "runtime/weights/QuantiseE4M3.h"
#include "runtime/weights/RandomWeights.h"
#include "runtime/weights/Text.h"

#include <algorithm>

namespace moec {
namespace {

constexpr std::string_view expertMark = "{e}";
// Of a dimension and of their product: keeps byte counts of any dtype, and sums of them, far from overflow.
constexpr int64_t mostElements = int64_t(1) << 60;
// No model has as many; without a bound, a description that claims 10^18 experts would keep `check` busy for ever.
constexpr int64_t mostExperts = int64_t(1) << 20;

} // namespace

bool isPerExpert(const WeightRef &ref) { return ref.name.find(expertMark) != std::string::npos; }

std::string tensorName(const WeightRef &ref, uint32_t expert) {
  std::string name = ref.name;
  std::string number = std::to_string(expert);
  for (size_t at = name.find(expertMark); at != std::string::npos; at = name.find(expertMark, at + number.size()))
    name.replace(at, expertMark.size(), number);
  return name;
}

std::span<const int64_t> partShape(const WeightRef &ref) {
  std::span<const int64_t> shape = ref.shape;
  return isPerExpert(ref) && !shape.empty() ? shape.subspan(1) : shape;
}

Result<uint64_t> numPartElements(const WeightRef &ref) {
  if (ref.name.empty())
    return makeError(Code::InvalidArgument, "a weight without a name cannot be read");
  if (isPerExpert(ref) && (ref.shape.empty() || ref.shape[0] < 0 || ref.shape[0] > mostExperts))
    return makeError(Code::InvalidArgument,
                     "weight {} is per expert, but the first dimension of its shape {} does not "
                     "count experts",
                     inQuotes(ref.name), shapeText(ref.shape));
  std::span<const int64_t> shape = partShape(ref);
  std::optional<uint64_t> elements = checkedBits(shape, 1);
  bool huge = std::any_of(shape.begin(), shape.end(), [](int64_t dim) { return dim > mostElements; });
  if (!elements || huge || *elements > static_cast<uint64_t>(mostElements))
    return makeError(Code::InvalidArgument, "weight {}: shape {} is negative or too large", inQuotes(ref.name),
                     shapeText(ref.shape));
  return *elements;
}

uint64_t BlockGrid::blockRows() const { return (rows + kFp8Block - 1) / kFp8Block; }
uint64_t BlockGrid::blockColumns() const { return (columns + kFp8Block - 1) / kFp8Block; }

Result<BlockGrid> blockGrid(const WeightRef &ref) {
  if (Result<uint64_t> elements = numPartElements(ref); !elements)
    return elements.status();
  const std::span<const int64_t> shape = partShape(ref);
  if (shape.size() != 2)
    return makeError(Code::InvalidArgument,
                     "weight {}: a part of shape {} is no matrix, so it has no blocks of {} by {}", inQuotes(ref.name),
                     shapeText(shape), kFp8Block, kFp8Block);
  return BlockGrid{static_cast<uint64_t>(shape[0]), static_cast<uint64_t>(shape[1])};
}

Status WeightSource::readBlockE4M3(const WeightRef &ref, uint32_t expert, std::span<uint8_t> elements,
                                   std::span<float> scales) const {
  Result<BlockGrid> grid = checkBlockPart(ref, expert, elements.size(), scales.size());
  if (!grid)
    return grid.status();
  std::vector<float> numbers(elements.size());
  if (Status status = read(ref, expert, DType::F32, std::as_writable_bytes(std::span(numbers))); !status.ok())
    return status;
  const auto rows = [&](uint64_t first, std::span<float> to) {
    std::copy_n(&numbers[first * grid->columns], to.size(), to.begin());
    return Status();
  };
  return quantiseE4M3(*grid, rows, elements, scales);
}

Result<std::unique_ptr<WeightSource>> openWeights(const std::string &spec, ReadMode mode) {
  if (spec.starts_with(RandomWeights::prefix)) {
    Result<RandomSpec> random = parseRandomSpec(spec);
    if (!random)
      return random.status();
    return std::unique_ptr<WeightSource>(std::make_unique<RandomWeights>(*random));
  }
  Result<Checkpoint> checkpoint = Checkpoint::open(spec, {.mode = mode});
  if (!checkpoint)
    return checkpoint.status().withContext("opening weights");
  return std::unique_ptr<WeightSource>(std::make_unique<CheckpointWeights>(std::move(*checkpoint)));
}

} // namespace moec
