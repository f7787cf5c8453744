#include "runtime/memory/Region.h"

#include <sys/mman.h>

namespace moec {

Result<Region> Region::map(uint64_t bytes, const char *what) {
  // Large pages only pay, and are only possible, from their own size on.
  constexpr uint64_t largePage = 2u << 20;
  Region region;
  if (bytes == 0)
    return Result<Region>(std::move(region));
  void *base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED)
    return makeError(Code::ResourceExhausted, "cannot map {} bytes for {}", bytes, what);
  if (bytes >= 4 * largePage)
    madvise(base, bytes, MADV_HUGEPAGE); // advice only: a refusal changes no result
  region.base = static_cast<std::byte *>(base);
  region.length = bytes;
  return Result<Region>(std::move(region));
}

Region &Region::operator=(Region &&other) noexcept {
  if (this != &other) {
    this->~Region();
    base = std::exchange(other.base, nullptr);
    length = std::exchange(other.length, 0);
  }
  return *this;
}

Region::~Region() {
  if (base)
    munmap(base, length);
}

} // namespace moec
