#if !__has_include(<catch2/catch_all.hpp>)
#define CATCH_CONFIG_MAIN
#endif
#include "tests/unit/Catch.h"
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_session.hpp>
int main(int argc, char **argv) { return Catch::Session().run(argc, argv); }
#endif

#ifdef __has_feature
#if __has_feature(thread_sanitizer)
// NVRTC's code is not instrumented: ThreadSanitizer sees its calls of malloc and pthreads, not what orders them. (Two
// first compiles at once looked like a race in it, in one run of many.)
extern "C" const char *__tsan_default_suppressions();
extern "C" const char *__tsan_default_suppressions() { return "race:libnvrtc.so\n"; }
#endif
#endif
