// Little-endian numbers in and out of bytes, for the binary formats (docs/formats.md).
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

namespace moec {

inline std::span<const uint8_t> asBytes(const std::string &text) {
  return {reinterpret_cast<const uint8_t *>(text.data()), text.size()};
}

inline std::string asText(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char *>(bytes.data()), bytes.size()};
}

/// Appends to a byte vector.
class ByteWriter {
public:
  void u32(uint32_t value) { number(value, 4); }
  void u64(uint64_t value) { number(value, 8); }
  void raw(std::span<const uint8_t> data) { held.insert(held.end(), data.begin(), data.end()); }
  void raw(const std::string &text) { raw(asBytes(text)); }
  void reserve(size_t size) { held.reserve(size); }

  std::span<const uint8_t> bytes() const { return held; }
  std::vector<uint8_t> take() { return std::move(held); }

private:
  void number(uint64_t value, int size) {
    for (int byte = 0; byte < size; ++byte)
      held.push_back(static_cast<uint8_t>(value >> (8 * byte)));
  }

  std::vector<uint8_t> held;
};

/// Reads from the front of a span. Reading past the end gives zeros or an empty span and makes `ok`
/// false for good.
class ByteReader {
public:
  explicit ByteReader(std::span<const uint8_t> bytes) : left(bytes) {}

  uint32_t u32() { return static_cast<uint32_t>(number(4)); }
  uint64_t u64() { return number(8); }
  std::span<const uint8_t> raw(uint64_t size) {
    if (size > left.size()) {
      good = false;
      left = {};
      return {};
    }
    std::span<const uint8_t> front = left.first(static_cast<size_t>(size));
    left = left.subspan(static_cast<size_t>(size));
    return front;
  }
  std::string text(uint64_t size) { return asText(raw(size)); }

  bool ok() const { return good; }
  size_t remaining() const { return left.size(); }

private:
  uint64_t number(int size) {
    uint64_t value = 0;
    std::span<const uint8_t> front = raw(static_cast<uint64_t>(size));
    for (size_t byte = 0; byte < front.size(); ++byte)
      value |= uint64_t{front[byte]} << (8 * byte);
    return value;
  }

  std::span<const uint8_t> left;
  bool good = true;
};

} // namespace moec
