#include "compiler/core/Digest.h"

#include <xxhash.h>

#include <cstring>

namespace moec {

DigestBytes digestBytes(std::span<const uint8_t> bytes) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
  DigestBytes digest;
  static_assert(sizeof canonical.digest == digest.size());
  std::memcpy(digest.data(), canonical.digest, digest.size());
  return digest;
}

std::string hexText(const DigestBytes &digest) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * digest.size());
  for (uint8_t byte : digest) {
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

} // namespace moec
