#include "compiler/import/Activation.h"

#include "compiler/import/ModelText.h"

#include <fmt/format.h>

#include <utility>

namespace moec::importer {

namespace {

// transformers' names (its table ACT2FN) of these functions.
constexpr std::pair<std::string_view, Activation> known[] = {
    {"silu", Activation::Silu},
    {"swish", Activation::Silu},
    {"gelu", Activation::Gelu},
    {"gelu_python", Activation::Gelu},
    {"gelu_new", Activation::GeluTanh},
    {"gelu_fast", Activation::GeluTanh},
    {"gelu_pytorch_tanh", Activation::GeluTanh},
    {"gelu_python_tanh", Activation::GeluTanh},
    {"quick_gelu", Activation::GeluQuick},
    {"relu", Activation::Relu},
};

// Each computes %a from %g. Its names must not be those of the function around it, which MLIR's
// parser would take for a redefinition.
//
// x * sigmoid(s x) is written x / (1 + exp(-s x)): one division instead
// of two roundings. An exp that overflows gives x / inf, which is the right limit, 0.
constexpr const char *silu = R"(      %one = arith.constant 1.0 : f32
      %negated = arith.negf %g : f32
      %exp = math.exp %negated : f32
      %denominator = arith.addf %exp, %one : f32
      %a = arith.divf %g, %denominator : f32
)";
constexpr const char *gelu = R"(      %half = arith.constant 0.5 : f32
      %one = arith.constant 1.0 : f32
      %inverse_root = arith.constant 0.70710678118654752 : f32
      %argument = arith.mulf %g, %inverse_root : f32
      %erf = math.erf %argument : f32
      %sum = arith.addf %erf, %one : f32
      %halved = arith.mulf %g, %half : f32
      %a = arith.mulf %halved, %sum : f32
)";
constexpr const char *geluTanh = R"(      %half = arith.constant 0.5 : f32
      %one = arith.constant 1.0 : f32
      %cubic = arith.constant 0.044715 : f32
      %root = arith.constant 0.79788456080286536 : f32
      %square = arith.mulf %g, %g : f32
      %cubed = arith.mulf %square, %cubic : f32
      %factor = arith.addf %cubed, %one : f32
      %inner = arith.mulf %g, %factor : f32
      %argument = arith.mulf %inner, %root : f32
      %tanh = math.tanh %argument : f32
      %sum = arith.addf %tanh, %one : f32
      %halved = arith.mulf %g, %half : f32
      %a = arith.mulf %halved, %sum : f32
)";
constexpr const char *geluQuick = R"(      %one = arith.constant 1.0 : f32
      %slope = arith.constant -1.702 : f32
      %negated = arith.mulf %g, %slope : f32
      %exp = math.exp %negated : f32
      %denominator = arith.addf %exp, %one : f32
      %a = arith.divf %g, %denominator : f32
)";
constexpr const char *relu = R"(      %zero = arith.constant 0.0 : f32
      %a = arith.maximumf %g, %zero : f32
)";

std::string clampedSwiglu(const ClampedSwigluSpec &spec) {
  return fmt::format(R"(      %one = arith.constant 1.0 : f32
      %most = arith.constant {} : f32
      %least = arith.constant {} : f32
      %slope = arith.constant {} : f32
      %g_clamped = arith.minimumf %g, %most : f32
      %u_below = arith.minimumf %u, %most : f32
      %u_clamped = arith.maximumf %u_below, %least : f32
      %negated = arith.mulf %g_clamped, %slope : f32
      %exp = math.exp %negated : f32
      %denominator = arith.addf %exp, %one : f32
      %a = arith.divf %g_clamped, %denominator : f32
      %u_raised = arith.addf %u_clamped, %one : f32
)",
                     floatLiteral(spec.limit), floatLiteral(-spec.limit), floatLiteral(-spec.alpha));
}

/// Computes %a from %g.
const char *body(Activation activation) {
  switch (activation) {
  case Activation::Silu: return silu;
  case Activation::Gelu: return gelu;
  case Activation::GeluTanh: return geluTanh;
  case Activation::GeluQuick: return geluQuick;
  case Activation::Relu: return relu;
  case Activation::ClampedSwiglu: break; // changes %u too
  }
  return silu;
}

} // namespace

std::optional<Activation> parseActivation(std::string_view name) {
  for (const auto &[text, activation] : known)
    if (text == name)
      return activation;
  return std::nullopt;
}

const std::string &activationNames() {
  static const std::string names = [] {
    std::string text;
    for (const auto &[name, activation] : known)
      text += (text.empty() ? "" : ", ") + std::string(name);
    return text;
  }();
  return names;
}

std::string activationBlock(Activation activation, const ClampedSwigluSpec &clamped) {
  const bool isClamped = activation == Activation::ClampedSwiglu;
  return std::string("    ^bb0(%g: f32, %u: f32):\n") + (isClamped ? clampedSwiglu(clamped) : body(activation)) +
         "      %h = arith.mulf %a, " + (isClamped ? "%u_raised" : "%u") +
         " : f32\n"
         "      moe.yield %h : f32\n";
}

} // namespace moec::importer
