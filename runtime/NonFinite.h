// What sessions do about router logits that are no numbers.
#pragma once

#include <cstdint>

namespace moec {

/// What to do about router logits that are NaN or infinite. They are counted either way.
enum class NonFinitePolicy : uint8_t {
  Mask, // as minus infinity; see routeToken
  Fail, // the forward fails, its output is left as it was (not on a GPU, where a forward is only queued)
};

} // namespace moec
