// model.safetensors.index.json: which shard holds which tensor.
//
// (I1) The file is UTF-8 JSON, one object, at most 100,000,000 bytes.
// (I2) Neither that object nor `weight_map` has the same key twice.
// (I3) `weight_map` exists once and is an object of strings: tensor name to shard name. It names a tensor at least.
// (I4) A shard's name is that of a file in the same folder: not empty, not "." or "..", no '/', no NUL byte.
// (I5) Each named tensor exists in its shard (checked by Checkpoint, when it opens the shards).
// Other keys (`metadata`) are skipped.
#pragma once

#include "compiler/core/Status.h"

#include <map>
#include <string>
#include <string_view>

namespace moec {

inline constexpr uint64_t maxIndexBytes = 100'000'000;

/// Shard name by tensor name.
using ShardIndex = std::map<std::string, std::string, std::less<>>;

/// Checks the index's text against rules I1 to I4. `file` is its name, for errors. Errors: InvalidModel, names
/// the file, the tensor and the rule.
Result<ShardIndex> parseShardIndex(std::string_view json, std::string_view file);

} // namespace moec
