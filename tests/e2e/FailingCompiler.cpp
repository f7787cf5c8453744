// Stands in for libmoec-compiler.so: every call fails to compile.
#include "compiler/core/Status.h"
#include "compiler/core/abi/CompilerApi.h"

#include <cstdlib>
#include <cstring>

extern "C" {

__attribute__((visibility("default"))) MoecCompilerAnswer moec_compiler_call_v1(const char *, const uint8_t *, size_t,
                                                                                const MoecCompilerCallbacks *) {
  constexpr char message[] = "layer 0: the kernel tile_13 does not link";
  auto *bytes = static_cast<uint8_t *>(std::malloc(sizeof message));
  if (!bytes)
    return {static_cast<int32_t>(moec::Code::ResourceExhausted), nullptr, 0};
  std::memcpy(bytes, message, sizeof message - 1);
  return {static_cast<int32_t>(moec::Code::CompileFailed), bytes, sizeof message - 1};
}

__attribute__((visibility("default"))) void moec_compiler_release_v1(MoecCompilerAnswer *answer) {
  std::free(answer->bytes);
  *answer = {0, nullptr, 0}; // as the real one: whoever reads the answer after this has lost its code
}

} // extern "C"
