// compile(model, profile, target) -> Package: the only way in.
#pragma once

#include "compiler/core/CompileRequest.h"
#include "compiler/core/ModelDescription.h"
#include "compiler/core/Package.h"
#include "compiler/core/Status.h"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace moec {

/// What a compile may ask of its caller. Empty functions do nothing. They are called from the calling thread and, for
/// GPU targets, from threads of the compile: `cancelled` by several at a time, the others by one after the other.
struct CompileHooks {
  std::function<bool()> cancelled;
  std::function<std::optional<std::vector<uint8_t>>(const std::string &key)> findImage;
  std::function<void(const std::string &key, const std::vector<uint8_t> &bytes)> putImage;
  /// The same for what is known of this machine's NVRTC.
  std::function<std::optional<std::vector<uint8_t>>(const std::string &key)> findNvrtc;
  std::function<void(const std::string &key, const std::vector<uint8_t> &bytes)> putNvrtc;
};

/// Compiles a model for a target: all phases, then one image per distinct kernel set.
///
/// Errors: InvalidModel (the text does not parse, or breaks a constraint), InvalidArgument (a layer that does not
/// exist), CompileFailed, DeviceMissing (a GPU target, and there is no NVRTC), Cancelled. Thread-safe; each call has a
/// context of its own.
Result<Package> compile(const CompileRequest &request, const CompileHooks &hooks = {});

/// The text that `request.emit` or `request.stopAfter` asks for: the module after a phase; of a CPU target the "llvm",
/// "asm" or "kernels" of the first layer; of a GPU target the "cuda" or "ptx" of all, as files in JSON. Errors as
/// `compile`.
Result<std::string> compileToText(const CompileRequest &request);

/// A model in numbers. Errors: InvalidModel.
Result<ModelDescription> describe(const std::string &model);

} // namespace moec
