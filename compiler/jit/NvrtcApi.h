// NVRTC's C interface, as far as it is used. Declared here, so that no toolkit is needed to build: the library is
// opened at run time, and what these functions mean has not changed since CUDA 7.
#pragma once

#include <cstddef>

namespace moec::nvrtc {

struct ProgramImpl;
using Program = ProgramImpl *;
using Result = int; // 0 is success
inline constexpr Result success = 0;

using Version = Result(int *major, int *minor);
using ErrorString = const char *(Result result);
using CreateProgram = Result(Program *program, const char *source, const char *name, int numHeaders,
                             const char *const *headers, const char *const *includeNames);
using DestroyProgram = Result(Program *program);
using AddNameExpression = Result(Program program, const char *expression);
using CompileProgram = Result(Program program, int numOptions, const char *const *options);
using Size = Result(Program program, size_t *bytes);
using Bytes = Result(Program program, char *bytes);
using LoweredName = Result(Program program, const char *expression, const char **lowered);
/// Asked during a compile; what is not 0 cancels it. From CUDA 12.8 on.
using SetFlowCallback = Result(Program program, int (*callback)(void *payload, void *), void *payload);

} // namespace moec::nvrtc
