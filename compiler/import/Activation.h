// Activation functions: their names in configs, and their regions in the `moe` dialect.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace moec::importer {

enum class Activation : uint8_t {
  Silu,          // x * sigmoid(x)
  Gelu,          // x * (1 + erf(x / sqrt 2)) / 2
  GeluTanh,      // its approximation by tanh
  GeluQuick,     // x * sigmoid(1.702 x)
  Relu,          // max(x, 0)
  ClampedSwiglu, // not a factor of `up`: see ClampedSwigluSpec
};

/// gpt-oss: `g sigmoid(alpha g) (u + 1)` with g = min(gate, limit) and u = up, clamped to -limit .. limit.
struct ClampedSwigluSpec {
  double alpha = 1.702, limit = 7;
};

/// From a config's `hidden_act`; several names stand for the same function.
std::optional<Activation> parseActivation(std::string_view name);

/// The names that parseActivation() knows, for an error: "silu, swish, ...".
const std::string &activationNames();

/// The block of a gated FFN's activation region, from f32 `%g` (gate) and `%u` (up) to a yield of
/// activation(g) * u. Lines are indented by six spaces, the label by four. `clamped` is for
/// ClampedSwiglu alone; finite numbers.
std::string activationBlock(Activation activation, const ClampedSwigluSpec &clamped = {});

} // namespace moec::importer
