// Marks a hot, plain loop to be compiled for several x86-64 levels; the loader picks the one that fits the CPU.
#pragma once

#if defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#define MOEC_SANITIZED 1
#endif
#endif
#if !defined(MOEC_SANITIZED) && (defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__))
#define MOEC_SANITIZED 1
#endif

// Not under sanitizers: the loader would run instrumented resolvers before their run-time library has started.
#if defined(__x86_64__) && !defined(MOEC_SANITIZED)
#define MOEC_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define MOEC_CLONES
#endif
