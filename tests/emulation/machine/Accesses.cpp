// The kernels' plain loads and stores: they are compiled with -fsanitize-coverage=trace-loads,trace-stores, which calls
// these with each address.
#include "tests/emulation/machine/Block.h"

namespace {

void touch(const void *address, uint32_t bytes, moec::emulation::Use use) {
  moec::emulation::Block *block = moec::emulation::Block::running();
  if (block && block->onThread())
    block->touch(address, bytes, use);
}

} // namespace

#define MOEC_ACCESS(BYTES)                                                                                             \
  extern "C" void __sanitizer_cov_load##BYTES(const void *address) {                                                   \
    touch(address, BYTES, moec::emulation::Use::Read);                                                                 \
  }                                                                                                                    \
  extern "C" void __sanitizer_cov_store##BYTES(const void *address) {                                                  \
    touch(address, BYTES, moec::emulation::Use::Write);                                                                \
  }
MOEC_ACCESS(1)
MOEC_ACCESS(2)
MOEC_ACCESS(4)
MOEC_ACCESS(8)
MOEC_ACCESS(16)
