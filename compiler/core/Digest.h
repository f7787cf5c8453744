// XXH3-128 of bytes: names cache entries and guards files against damage (not against an attacker).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>

namespace moec {

/// An XXH3-128 in canonical (big-endian) order, as `xxh128sum` prints it.
using DigestBytes = std::array<uint8_t, 16>;

DigestBytes digestBytes(std::span<const uint8_t> bytes);
/// 32 lower-case hex digits.
std::string hexText(const DigestBytes &digest);

} // namespace moec
