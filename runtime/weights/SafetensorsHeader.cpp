#include "runtime/weights/SafetensorsHeader.h"

#include "runtime/weights/JsonEvents.h"
#include "runtime/weights/Text.h"

#include <algorithm>
#include <limits>

namespace moec {
namespace {

template <typename... Args> Status broken(fmt::format_string<Args...> format, Args &&...args) {
  return makeError(Code::InvalidModel, format, std::forward<Args>(args)...);
}

/// Rules S3 to S5: turns the events of the header's JSON into `header`, or stops at the first broken rule.
class HeaderReader final : public JsonEvents {
public:
  explicit HeaderReader(SafetensorsHeader &header) : header(header) {}

private:
  enum class At {
    Root,          // before the outermost '{'
    Name,          // between the tensors
    MetadataStart, // after "__metadata__":
    MetadataKey,
    MetadataValue,
    TensorStart, // after a tensor's name
    Field,       // between a tensor's fields
    Type,        // after "dtype":
    ShapeStart,
    Shape,
    OffsetsStart,
    Offsets,
    Done,
  };

  bool onStart(bool object) override {
    switch (at) {
    case At::Root: return object ? go(At::Name) : wrong(object);
    case At::MetadataStart: return object ? go(At::MetadataKey) : wrong(object);
    case At::TensorStart: return object ? go(At::Field) : wrong(object);
    case At::ShapeStart: return object ? wrong(object) : go(At::Shape);
    case At::OffsetsStart: return object ? wrong(object) : go(At::Offsets);
    default: return wrong(object);
    }
  }

  bool onEnd() override {
    switch (at) {
    case At::Name: return go(At::Done);
    case At::MetadataKey: return go(At::Name);
    case At::Field: return endTensor();
    case At::Shape: return go(At::Field);
    case At::Offsets: return endOffsets();
    default: return fail(broken("(S2) unexpected end of an object"));
    }
  }

  bool onKey(std::string &key) override {
    if (at == At::Name)
      return key == "__metadata__" ? startMetadata() : startTensor(key);
    if (at == At::MetadataKey)
      return startEntry(key);
    return startField(key);
  }

  bool onString(std::string &value) override {
    if (at == At::MetadataValue) {
      entry->second = std::move(value);
      return go(At::MetadataKey);
    }
    if (at != At::Type)
      return unexpected("a string");
    std::optional<TensorType> type = tensorTypeNamed(value);
    if (!type)
      return fail(broken("tensor {}: (S5) unknown dtype {}", inQuotes(name()), inQuotes(value)));
    tensor->second.type = *type;
    return go(At::Field);
  }

  bool onUnsigned(uint64_t value) override {
    if (at == At::Shape) {
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
        return fail(broken("tensor {}: (S5) dimension {} of its shape is not below 2^63", inQuotes(name()), value));
      tensor->second.shape.push_back(static_cast<int64_t>(value));
      return true;
    }
    if (at != At::Offsets)
      return unexpected("a number");
    if (numOffsets < 2)
      (numOffsets == 0 ? tensor->second.begin : tensor->second.end) = value;
    ++numOffsets;
    return true;
  }

  bool onOther(const char *kind) override { return unexpected(kind); }

  bool startMetadata() {
    if (seenMetadata)
      return fail(broken("(S3) key '__metadata__' occurs twice"));
    seenMetadata = true;
    return go(At::MetadataStart);
  }

  bool startEntry(std::string &key) {
    auto [place, isNew] = header.metadata.try_emplace(std::move(key));
    if (!isNew)
      return fail(broken("__metadata__: (S3) key {} occurs twice", inQuotes(place->first)));
    entry = place;
    return go(At::MetadataValue);
  }

  bool startTensor(std::string &key) {
    auto [place, isNew] = header.tensors.try_emplace(std::move(key));
    if (!isNew)
      return fail(broken("tensor {}: (S3) its name occurs twice", inQuotes(place->first)));
    tensor = place;
    seenType = seenShape = seenOffsets = false;
    numOffsets = 0;
    return go(At::TensorStart);
  }

  bool startField(const std::string &key) {
    if (key == "dtype")
      return once(seenType, key, At::Type);
    if (key == "shape")
      return once(seenShape, key, At::ShapeStart);
    if (key == "data_offsets")
      return once(seenOffsets, key, At::OffsetsStart);
    return fail(broken("tensor {}: (S5) unknown key {}", inQuotes(name()), inQuotes(key)));
  }

  bool once(bool &seen, const std::string &key, At next) {
    if (seen)
      return fail(broken("tensor {}: (S3) key '{}' occurs twice", inQuotes(name()), key));
    seen = true;
    return go(next);
  }

  bool endOffsets() {
    if (numOffsets != 2)
      return fail(broken("tensor {}: (S5) data_offsets has {} numbers, not 2", inQuotes(name()), numOffsets));
    return go(At::Field);
  }

  bool endTensor() {
    const char *missing = !seenType ? "dtype" : !seenShape ? "shape" : !seenOffsets ? "data_offsets" : nullptr;
    if (missing)
      return fail(broken("tensor {}: (S5) has no {}", inQuotes(name()), missing));
    return go(At::Name);
  }

  bool wrong(bool object) { return unexpected(object ? "an object" : "an array"); }

  bool unexpected(const char *kind) {
    switch (at) {
    case At::Root: return fail(broken("(S2) the header is {}, not an object", kind));
    case At::MetadataStart: return fail(broken("(S4) __metadata__ is {}, not an object", kind));
    case At::MetadataValue:
      return fail(broken("__metadata__: (S4) the value of {} is {}, not a string", inQuotes(entry->first), kind));
    case At::TensorStart: return fail(broken("tensor {}: (S5) is {}, not an object", inQuotes(name()), kind));
    case At::Type: return fail(broken("tensor {}: (S5) dtype is {}, not a string", inQuotes(name()), kind));
    case At::ShapeStart:
    case At::OffsetsStart:
      return fail(broken("tensor {}: (S5) {} is {}, not an array", inQuotes(name()), field(), kind));
    case At::Shape:
    case At::Offsets:
      return fail(
          broken("tensor {}: (S5) {} holds {}, not only non-negative integers", inQuotes(name()), field(), kind));
    default: return fail(broken("(S2) the header holds {} where a key belongs", kind));
    }
  }

  const char *field() const { return at == At::Shape || at == At::ShapeStart ? "shape" : "data_offsets"; }
  const std::string &name() const { return tensor->first; }
  bool go(At next) {
    at = next;
    return true;
  }

  SafetensorsHeader &header;
  At at = At::Root;
  std::map<std::string, TensorInfo, std::less<>>::iterator tensor;
  std::map<std::string, std::string, std::less<>>::iterator entry;
  bool seenMetadata = false, seenType = false, seenShape = false, seenOffsets = false;
  size_t numOffsets = 0;
};

/// Rule S2, as far as JSON itself doesn't say it.
Status checkEnds(std::string_view json) {
  if (json.empty() || json.front() != '{')
    return broken("(S2) the header does not begin with '{{'");
  size_t last = json.find_last_not_of(' ');
  if (json[last] != '}')
    return broken("(S2) the header's last '}}' is followed by something other than spaces");
  return Status();
}

/// Rules S6 and S7 for one tensor.
Status checkTensor(std::string_view name, const TensorInfo &info, uint64_t dataBytes) {
  if (info.begin > info.end)
    return broken("tensor {}: (S6) data_offsets [{}, {}] run backwards", inQuotes(name), info.begin, info.end);
  if (info.end > dataBytes)
    return broken("tensor {}: (S6) data_offsets [{}, {}] end past the data area of {} bytes", inQuotes(name),
                  info.begin, info.end, dataBytes);
  std::optional<uint64_t> bits = checkedBits(info.shape, bitSize(info.type));
  if (!bits)
    return broken("tensor {}: (S7) the size of shape {} overflows 64 bits", inQuotes(name), shapeText(info.shape));
  if (*bits % 8 != 0)
    return broken("tensor {}: (S7) shape {} of {} is {} bits, not whole bytes", inQuotes(name), shapeText(info.shape),
                  tensorTypeName(info.type), *bits);
  if (*bits / 8 != info.end - info.begin)
    return broken("tensor {}: (S7) shape {} of {} needs {} bytes, but data_offsets [{}, {}] hold {}", inQuotes(name),
                  shapeText(info.shape), tensorTypeName(info.type), *bits / 8, info.begin, info.end,
                  info.end - info.begin);
  return Status();
}

/// Rule S8.
Status checkCover(const SafetensorsHeader &header, uint64_t dataBytes) {
  using Entry = const std::pair<const std::string, TensorInfo> *;
  std::vector<Entry> byOffset;
  byOffset.reserve(header.tensors.size());
  for (const auto &entry : header.tensors)
    byOffset.push_back(&entry);
  std::sort(byOffset.begin(), byOffset.end(), [](Entry a, Entry b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });

  uint64_t covered = 0;
  for (Entry entry : byOffset) {
    const TensorInfo &info = entry->second;
    if (info.begin != covered)
      return broken("tensor {}: (S8) begins at byte {} of the data area, {} the tensor before it, which ends at {}",
                    inQuotes(entry->first), info.begin, info.begin < covered ? "overlapping" : "leaving a hole after",
                    covered);
    covered = info.end;
  }
  if (covered != dataBytes) {
    std::string last = byOffset.empty() ? "no tensor" : "tensor " + inQuotes(byOffset.back()->first);
    return broken("{}: (S8) the data area has {} bytes, but its last tensor ends at {}", last, dataBytes, covered);
  }
  return Status();
}

} // namespace

std::optional<uint64_t> checkedBits(std::span<const int64_t> shape, uint64_t bits) {
  for (int64_t dim : shape)
    if (dim < 0 || __builtin_mul_overflow(bits, static_cast<uint64_t>(dim), &bits))
      return std::nullopt;
  return bits;
}

Result<uint64_t> parseHeaderLength(std::span<const std::byte> start, uint64_t fileBytes, std::string_view file) {
  if (start.size() < 8 || fileBytes < 8)
    return broken("{}: (S1) the file has {} bytes, too few for a header", inQuotes(file), fileBytes);
  uint64_t length = 0;
  for (size_t i = 0; i < 8; ++i)
    length |= std::to_integer<uint64_t>(start[i]) << (8 * i);
  if (length > maxSafetensorsHeader)
    return broken("{}: (S1) the header claims {} bytes, more than the {} allowed", inQuotes(file), length,
                  maxSafetensorsHeader);
  if (length > fileBytes - 8)
    return broken("{}: (S1) the header claims {} bytes, but only {} follow its length", inQuotes(file), length,
                  fileBytes - 8);
  return length;
}

Result<SafetensorsHeader> parseSafetensorsHeader(std::string_view json, uint64_t dataBytes, std::string_view file) {
  SafetensorsHeader header;
  Status status = checkEnds(json);
  if (status.ok())
    status = HeaderReader(header).parse(json, "(S2) the header");
  for (auto entry = header.tensors.begin(); status.ok() && entry != header.tensors.end(); ++entry)
    status = checkTensor(entry->first, entry->second, dataBytes);
  if (status.ok())
    status = checkCover(header, dataBytes);
  if (!status.ok())
    return status.withContext("{}", inQuotes(file));
  return header;
}

} // namespace moec
