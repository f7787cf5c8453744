// The manifest of a package: all of it but the model's text, the key texts and the images, as JSON.
#pragma once

#include "compiler/core/Package.h"

#include <string>
#include <vector>

namespace moec {

/// JSON of `package`, with the length of each image beside its key.
std::string writeManifest(const Package &package);

/// Fills everything that a manifest holds into `package`; images get their key, their lengths go to
/// `imageBytes`. Error: CacheCorrupt, naming the path of what is missing, of the wrong type or
/// inconsistent (a table of another size than the layer, an order that is no permutation, an image
/// that does not exist).
Status readManifest(const std::string &text, Package &package, std::vector<uint64_t> &imageBytes);

} // namespace moec
