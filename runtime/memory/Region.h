// Zeroed, cache-line aligned memory straight from the system; pages that are never touched cost nothing.
#pragma once

#include "compiler/core/Status.h"

#include <cstddef>
#include <cstdint>
#include <utility>

namespace moec {

/// A private anonymous mapping. Movable, not copyable; unmapped when it goes.
class Region {
public:
  Region() = default;
  /// Errors: ResourceExhausted, with the bytes and `what` they were for.
  static Result<Region> map(uint64_t bytes, const char *what);
  Region(Region &&other) noexcept : base(std::exchange(other.base, nullptr)), length(std::exchange(other.length, 0)) {}
  Region &operator=(Region &&other) noexcept;
  ~Region();

  std::byte *data() const { return base; }
  uint64_t bytes() const { return length; }

private:
  std::byte *base = nullptr;
  uint64_t length = 0;
};

/// Hands out cache-line aligned parts of a region. First used without a region to add the sizes up, then with one.
class Carver {
public:
  static constexpr uint64_t align = 64;

  explicit Carver(std::byte *base = nullptr) : base(base) {}

  /// `count` elements of T; null while sizes are only added up.
  template <typename T> T *take(uint64_t count) {
    uint64_t offset = used;
    used += (count * sizeof(T) + align - 1) / align * align;
    return base ? reinterpret_cast<T *>(base + offset) : nullptr;
  }
  uint64_t bytes() const { return used; }

private:
  std::byte *base;
  uint64_t used = 0;
};

} // namespace moec
