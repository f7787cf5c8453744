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

/// What a compile may ask of its caller. Empty functions do nothing.
struct CompileHooks {
  std::function<bool()> cancelled;
  std::function<std::optional<std::vector<uint8_t>>(const std::string &key)> findImage;
  std::function<void(const std::string &key, const std::vector<uint8_t> &bytes)> putImage;
};

/// Compiles a model for a target: all phases, then one image per distinct kernel set.
///
/// Errors: InvalidModel (the text does not parse, or breaks a constraint), InvalidArgument (a layer that does not exist),
/// CompileFailed, Cancelled. Thread-safe; each call has a context of its own.
Result<Package> compile(const CompileRequest &request, const CompileHooks &hooks = {});

/// The text that `request.emit` or `request.stopAfter` asks for: the module after a phase, or the kernels' "llvm", "asm" or
/// "kernels" of the first layer. Errors as `compile`.
Result<std::string> compileToText(const CompileRequest &request);

/// A model in numbers. Errors: InvalidModel.
Result<ModelDescription> describe(const std::string &model);

} // namespace moec
