// The kernels' plain loads and stores. They are compiled, though not linked, with -fsanitize=thread: the compiler calls
// these functions with each address that another thread could know, copies of whole structs included.
#include "tests/emulation/machine/Block.h"

#include <cstring>

namespace {

void touch(const void *address, size_t bytes, moec::emulation::Use use) {
  moec::emulation::Block *block = moec::emulation::Block::running();
  if (block && block->onThread() && bytes > 0)
    block->touch(address, static_cast<uint32_t>(bytes), use);
}

void read(const void *address, size_t bytes) { touch(address, bytes, moec::emulation::Use::Read); }
void write(const void *address, size_t bytes) { touch(address, bytes, moec::emulation::Use::Write); }

} // namespace

#define MOEC_ACCESS(BYTES)                                                                                             \
  extern "C" void __tsan_read##BYTES(const void *address) { read(address, BYTES); }                                    \
  extern "C" void __tsan_write##BYTES(const void *address) { write(address, BYTES); }                                  \
  extern "C" void __tsan_unaligned_read##BYTES(const void *address) { read(address, BYTES); }                          \
  extern "C" void __tsan_unaligned_write##BYTES(const void *address) { write(address, BYTES); }
MOEC_ACCESS(1)
MOEC_ACCESS(2)
MOEC_ACCESS(4)
MOEC_ACCESS(8)
MOEC_ACCESS(16)

extern "C" {

void *__tsan_memcpy(void *to, const void *from, size_t bytes) {
  read(from, bytes);
  write(to, bytes);
  return std::memcpy(to, from, bytes);
}

void *__tsan_memmove(void *to, const void *from, size_t bytes) {
  read(from, bytes);
  write(to, bytes);
  return std::memmove(to, from, bytes);
}

void *__tsan_memset(void *to, int value, size_t bytes) {
  write(to, bytes);
  return std::memset(to, value, bytes);
}

// What else the compiler asks for; of no use here.
void __tsan_init() {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit() {}
void __tsan_vptr_read(void **) {}
void __tsan_vptr_update(void **, void *) {}
void __tsan_ignore_thread_begin() {}
void __tsan_ignore_thread_end() {}

} // extern "C"
