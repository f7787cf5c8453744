// The header of a .safetensors file: the rules of the format, checked in full before any tensor is used.
//
// The rules, by the numbers that errors and tests use:
// (S1) The file begins with the header's length N, 8 bytes little-endian; N <= 100,000,000, and the file holds
//      at least 8 + N bytes. What follows the header is the data area.
// (S2) The header is UTF-8 JSON, one object; it begins with '{', and only spaces may follow its last '}'.
// (S3) No object has the same key twice.
// (S4) The value of `__metadata__` is an object of strings.
// (S5) Every other key names a tensor: an object of exactly `dtype` (a known name), `shape` (non-negative
//      integers below 2^63) and `data_offsets` (two non-negative integers).
// (S6) data_offsets are [begin, end), relative to the data area: begin <= end <= its size.
// (S7) The product of the shape, times the bits of an element, stays below 2^64, is a whole number of bytes
//      and equals end - begin. Rank 0 is one element; a dimension may be 0.
// (S8) Sorted by offset, the tensors cover the data area from 0 to the end of the file, without hole or overlap.
#pragma once

#include "compiler/core/Status.h"
#include "runtime/weights/TensorType.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace moec {

/// Longest header that the format allows, in bytes.
inline constexpr uint64_t maxSafetensorsHeader = 100'000'000;

struct TensorInfo {
  TensorType type = TensorType::F32;
  std::vector<int64_t> shape;
  uint64_t begin = 0; // bytes from the start of the data area
  uint64_t end = 0;
};

/// Ordered maps: a file can be made so that its names collide in a hash table.
struct SafetensorsHeader {
  std::map<std::string, TensorInfo, std::less<>> tensors;
  std::map<std::string, std::string, std::less<>> metadata;
};

/// Reads rule S1: the header's length from the first bytes of a file of `fileBytes` bytes.
///
/// start  the first 8 bytes of the file, or all of it if it has fewer
/// file   its name, for errors
///
/// Errors: InvalidModel, names the file and the rule.
Result<uint64_t> parseHeaderLength(std::span<const std::byte> start, uint64_t fileBytes, std::string_view file);

/// Checks the header's text against rules S2 to S8.
///
/// json       the N bytes after the length, padding included
/// dataBytes  size of the data area
/// file       its name, for errors
///
/// Errors: InvalidModel, names the file, the tensor and the rule.
Result<SafetensorsHeader> parseSafetensorsHeader(std::string_view json, uint64_t dataBytes, std::string_view file);

/// The product of `shape` times `bits`, in bits; nothing if it reaches 2^64 or a dimension is negative.
std::optional<uint64_t> checkedBits(std::span<const int64_t> shape, uint64_t bits);

} // namespace moec
