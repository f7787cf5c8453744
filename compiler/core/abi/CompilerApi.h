// The one function between libmoec.so and libmoec-compiler.so: bytes in, bytes out.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// What the compiler asks of its caller while it works. All pointers may be null. Callbacks come from the
/// calling thread or from a thread that the compiler started; they must be thread-safe.
typedef struct MoecCompilerCallbacks {
  uint32_t size; // of this struct, as the caller knows it
  void *user;
  /// Non-zero: stop soon, with code Cancelled.
  int (*cancelled)(void *user);
  /// One line of log; `level` as in spdlog (0 trace .. 4 error).
  void (*log)(void *user, int level, const char *text, size_t length);
  /// Looks an artefact up. Returns 1 and calls `give(context, bytes, size)` once if there is one, else 0.
  int (*cacheFind)(void *user, const char *kind, const char *key, size_t keyLength,
                   void (*give)(void *context, const uint8_t *bytes, size_t size), void *context);
  void (*cachePut)(void *user, const char *kind, const char *key, size_t keyLength, const uint8_t *bytes, size_t size);
} MoecCompilerCallbacks;

/// What a call answers. `code` is a moec::Code; `bytes` is the result, or the error's message.
typedef struct MoecCompilerAnswer {
  int32_t code;
  uint8_t *bytes; // to be given back with moec_compiler_release
  size_t size;
} MoecCompilerAnswer;

/// Verbs, each with a JSON request (docs/formats.md, "Compiler requests"):
///   "compile"  {model, profile, target, limits, calibration, layers, stopAfter, emit} -> package or text
///   "import"   {config, name, layers, plain_weights}                                  -> model text
///   "describe" {model}                                  -> JSON: layers with shape, router and weights
///   "version"  {nvrtc_only, nvrtc_also (both optional)} -> JSON: LLVM's version; NVRTC's and its path, or what was
///   tried
/// Thread-safe. Never throws, never exits.
typedef MoecCompilerAnswer (*MoecCompilerCallFn)(const char *verb, const uint8_t *request, size_t size,
                                                 const MoecCompilerCallbacks *callbacks);
typedef void (*MoecCompilerReleaseFn)(MoecCompilerAnswer *answer);

#define MOEC_COMPILER_CALL_SYMBOL "moec_compiler_call_v1"
#define MOEC_COMPILER_RELEASE_SYMBOL "moec_compiler_release_v1"

#ifdef __cplusplus
}
#endif
