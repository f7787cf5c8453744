// A model: its description, and where its weights are expected.
#pragma once

#include "compiler/core/ModelDescription.h"
#include "compiler/core/Package.h"
#include "runtime/Compiler.h"

#include <memory>
#include <optional>
#include <string>

namespace moec {

/// An immutable model, to be opened by any number of sessions. Its text is the compiler's business alone.
class Model {
public:
  struct Options {
    std::shared_ptr<Compiler> compiler;            // null: one without a cache, from the library beside this program
    uint32_t layers = 0;                           // only the first so many MoE layers; 0: all
    CompilePolicy policy = CompilePolicy::Allowed; // of importing and describing, which the cache can answer too
    bool plainWeights = false; // of a config.json: compute in the model's dtype what the checkpoint holds in e4m3
  };

  /// Loads what `path` is: a folder with a Hugging Face config.json, that file itself, the text of a model description
  /// (.mlir), or a package file.
  ///
  /// Errors: NotFound (no such file, or a folder without config.json), InvalidModel (naming what is wrong),
  /// CacheCorrupt (a damaged package), and those of Compiler::import and describe.
  static Result<std::shared_ptr<const Model>> load(const std::string &path, Options options);
  static Result<std::shared_ptr<const Model>> load(const std::string &path) { return load(path, Options()); }

  const std::string &name() const { return description.name; }
  /// The model description's text.
  const std::string &text() const { return modelText; }
  /// MoE layers by ascending number.
  const std::vector<LayerDescription> &layers() const { return description.layers; }
  const LayerDescription *find(uint32_t layer) const;
  /// The folder that a checkpoint would lie in; empty where the model came without one.
  const std::string &folder() const { return location; }
  /// The package that the model came from, if it did.
  const std::optional<Package> &package() const { return loaded; }
  const std::shared_ptr<Compiler> &compiler() const { return theCompiler; }

private:
  Status loadPackage(const std::string &path, const std::string &bytes);

  std::string modelText;
  ModelDescription description;
  std::string location;
  std::optional<Package> loaded;
  std::shared_ptr<Compiler> theCompiler;
};

} // namespace moec
