// Writes .safetensors files.
#pragma once

#include "compiler/core/LayerShape.h"

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace moec {

/// A tensor to write. The data isn't copied: it must live as long as the call.
struct OutputTensor {
  std::string name; // UTF-8, unique in the file, not "__metadata__"
  DType dtype = DType::F32;
  std::vector<int64_t> shape;
  std::span<const std::byte> data; // row-major
};

/// Writes all tensors to `path`, as the format's reference writer does: by descending alignment, then by name, the
/// header padded to 8 bytes, so that every tensor is aligned. The file appears in one step: it is written beside
/// its final place, synced and renamed; an error leaves neither that temporary nor a changed `path`.
///
/// Errors: InvalidArgument (a tensor's name, or a shape that doesn't fit its data; `path` exists and is no
/// regular file), Failure (the system's reason).
Status writeSafetensors(const std::string &path, std::span<const OutputTensor> tensors,
                        const std::map<std::string, std::string> &metadata = {});

} // namespace moec
