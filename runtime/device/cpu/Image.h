// Loaded kernel images: how a package's shared object becomes callable functions.
#pragma once

#include "compiler/core/Package.h"

#include <functional>
#include <memory>
#include <string>

namespace moec {

/// Resolves the symbols of one loaded image. Its functions are callable as long as it lives; generations share it.
class KernelImage {
public:
  virtual ~KernelImage() = default;
  /// Null if there is no such symbol.
  virtual void *symbol(const std::string &name) const = 0;
};

/// Loads an image. The default is `loadSharedObject`; tests hand in kernels of their own.
using ImageLoader = std::function<Result<std::shared_ptr<const KernelImage>>(const Image &)>;

/// Loads a position-independent shared object from memory (memfd and dlopen: nothing is written to a disk) and
/// unloads it when the last owner is gone. Errors: Failure, with the loader's own words.
Result<std::shared_ptr<const KernelImage>> loadSharedObject(const Image &image);

} // namespace moec
