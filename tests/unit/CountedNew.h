// This program's operator new, which calls `counted()`: of the file that includes this, one of a program, at its top
// level. Not under sanitizers, which bring an operator new of their own.

#include <cstddef>
#include <cstdlib>
#include <new>

namespace {

void *allocate(std::size_t bytes, std::size_t align) {
  counted();
  void *memory = align > alignof(std::max_align_t) ? std::aligned_alloc(align, (bytes + align - 1) / align * align)
                                                   : std::malloc(bytes ? bytes : 1);
  if (!memory)
    std::abort();
  return memory;
}

} // namespace

void *operator new(std::size_t bytes) { return allocate(bytes, 0); }
void *operator new[](std::size_t bytes) { return allocate(bytes, 0); }
void *operator new(std::size_t bytes, std::align_val_t align) {
  return allocate(bytes, static_cast<std::size_t>(align));
}
void *operator new[](std::size_t bytes, std::align_val_t align) {
  return allocate(bytes, static_cast<std::size_t>(align));
}
void operator delete(void *memory) noexcept { std::free(memory); }
void operator delete[](void *memory) noexcept { std::free(memory); }
void operator delete(void *memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void *memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void *memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void *memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void *memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void *memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
