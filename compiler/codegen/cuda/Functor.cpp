#include "compiler/codegen/cuda/Functor.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Block.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringMap.h"

#include <cmath>
#include <iterator>

using namespace mlir;

namespace moec::codegen {
namespace {

/// An op and its expression; `$0` to `$2` stand for the operands.
struct Entry {
  const char *op, *text;
};

// Reference: ir/reference/ActivationRegion.cpp. `__expf` is two instructions, and what it loses (2 + 1.2 |x| units in
// the last place) is below what rounding to bf16 or f16 does.
constexpr Entry entries[] = {
    {"arith.addf", "$0 + $1"},
    {"arith.subf", "$0 - $1"},
    {"arith.mulf", "$0 * $1"},
    {"arith.divf", "ptx::divide($0, $1)"},
    {"arith.remf", "fmodf($0, $1)"},
    {"arith.negf", "-$0"},
    {"arith.maximumf", "ptx::maxNan($0, $1)"},
    {"arith.minimumf", "ptx::minNan($0, $1)"},
    {"arith.maxnumf", "fmaxf($0, $1)"},
    {"arith.minnumf", "fminf($0, $1)"},
    {"arith.select", "$0 ? $1 : $2"},
    {"arith.andi", "$0 && $1"},
    {"arith.ori", "$0 || $1"},
    {"arith.xori", "$0 != $1"},
    {"arith.uitofp", "$0 ? 1.0f : 0.0f"},
    {"arith.sitofp", "$0 ? (-1.0f) : 0.0f"}, // a set i1 is -1
    {"math.absf", "fabsf($0)"},
    {"math.acos", "acosf($0)"},
    {"math.acosh", "acoshf($0)"},
    {"math.asin", "asinf($0)"},
    {"math.asinh", "asinhf($0)"},
    {"math.atan", "atanf($0)"},
    {"math.atan2", "atan2f($0, $1)"},
    {"math.atanh", "atanhf($0)"},
    {"math.cbrt", "cbrtf($0)"},
    {"math.ceil", "ceilf($0)"},
    {"math.clampf", "ptx::minNan(ptx::maxNan($0, $1), $2)"},
    {"math.copysign", "copysignf($0, $1)"},
    {"math.cos", "cosf($0)"},
    {"math.cosh", "coshf($0)"},
    {"math.erf", "erff($0)"},
    {"math.erfc", "erfcf($0)"},
    {"math.exp", "__expf($0)"},
    {"math.exp2", "exp2f($0)"},
    {"math.expm1", "expm1f($0)"},
    {"math.floor", "floorf($0)"},
    {"math.fma", "fmaf($0, $1, $2)"},
    {"math.isfinite", "fabsf($0) < __int_as_float(0x7f800000)"},
    {"math.isinf", "fabsf($0) == __int_as_float(0x7f800000)"},
    {"math.isnan", "$0 != $0"},
    {"math.log", "logf($0)"},
    {"math.log10", "log10f($0)"},
    {"math.log1p", "log1pf($0)"},
    {"math.log2", "log2f($0)"},
    {"math.powf", "powf($0, $1)"},
    {"math.round", "roundf($0)"},
    {"math.roundeven", "rintf($0)"},
    {"math.rsqrt", "rsqrtf($0)"},
    {"math.sin", "sinf($0)"},
    {"math.sinh", "sinhf($0)"},
    {"math.sqrt", "ptx::squareRoot($0)"},
    {"math.tan", "tanf($0)"},
    {"math.tanh", "tanhf($0)"},
    {"math.trunc", "truncf($0)"},
};

/// Expressions in which a NaN compares as LLVM says: ordered ones are false with it, unordered ones true.
const char *comparison(arith::CmpFPredicate predicate) {
  using P = arith::CmpFPredicate;
  switch (predicate) {
  case P::AlwaysFalse: return "false";
  case P::OEQ: return "$0 == $1";
  case P::OGT: return "$0 > $1";
  case P::OGE: return "$0 >= $1";
  case P::OLT: return "$0 < $1";
  case P::OLE: return "$0 <= $1";
  case P::ONE: return "$0 < $1 || $0 > $1";
  case P::ORD: return "$0 == $0 && $1 == $1";
  case P::UEQ: return "!($0 < $1 || $0 > $1)";
  case P::UGT: return "!($0 <= $1)";
  case P::UGE: return "!($0 < $1)";
  case P::ULT: return "!($0 >= $1)";
  case P::ULE: return "!($0 > $1)";
  case P::UNE: return "$0 != $1";
  case P::UNO: return "$0 != $0 || $1 != $1";
  case P::AlwaysTrue: return "true";
  }
  return "false";
}

const llvm::StringMap<const char *> &table() {
  static const llvm::StringMap<const char *> map = [] {
    llvm::StringMap<const char *> all;
    for (const Entry &entry : entries)
      all[entry.op] = entry.text;
    return all;
  }();
  return map;
}

/// The shortest digits that give back the same bits; by its bits what has no digits. In brackets where a sign comes
/// first.
std::string literal(float value) {
  if (!std::isfinite(value))
    return fmt::format("__int_as_float(0x{:08x})", llvm::bit_cast<uint32_t>(value));
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".e") == std::string::npos)
    text += ".0";
  return std::signbit(value) ? fmt::format("({}f)", text) : text + "f";
}

std::optional<std::string> literalOf(Attribute value) {
  if (auto boolean = dyn_cast<BoolAttr>(value))
    return boolean.getValue() ? "true" : "false";
  if (auto real = dyn_cast<FloatAttr>(value); real && real.getType().isF32())
    return literal(real.getValue().convertToFloat());
  return std::nullopt;
}

class Printer {
public:
  explicit Printer(Block &block) : block(block) {
    names[block.getArgument(0)] = "gate";
    names[block.getArgument(1)] = "up";
  }

  Result<std::string> print() {
    for (Operation &op : block.without_terminator())
      if (Status status = add(op); !status.ok())
        return status;
    return body + fmt::format("    return {};", names[block.getTerminator()->getOperand(0)]);
  }

private:
  static Status unknown(Operation &op) {
    return makeError(Code::InvalidModel, "the activation holds '{}' on types that GPU code generation does not know",
                     op.getName().getStringRef().str());
  }

  Status add(Operation &op) {
    for (Value operand : op.getOperands())
      if (!operand.getType().isF32() && !operand.getType().isInteger(1))
        return unknown(op);
    if (auto constant = dyn_cast<arith::ConstantOp>(op)) {
      std::optional<std::string> text = literalOf(constant.getValue());
      if (!text)
        return unknown(op);
      names[op.getResult(0)] = std::move(*text);
      return {};
    }
    const char *pattern = nullptr;
    if (auto compare = dyn_cast<arith::CmpFOp>(op))
      pattern = comparison(compare.getPredicate());
    else if (auto found = table().find(op.getName().getStringRef()); found != table().end())
      pattern = found->second;
    if (!pattern)
      return makeError(Code::InvalidModel, "the activation holds '{}', which GPU code generation does not know",
                       op.getName().getStringRef().str());
    const std::string name = fmt::format("v{}", numValues++);
    body += fmt::format("    const {} {} = {};\n", op.getResult(0).getType().isF32() ? "float" : "bool", name,
                        filled(pattern, op));
    names[op.getResult(0)] = name;
    return {};
  }

  std::string filled(llvm::StringRef pattern, Operation &op) {
    std::string text;
    for (size_t i = 0; i < pattern.size(); ++i)
      text += pattern[i] == '$' ? names[op.getOperand(static_cast<unsigned>(pattern[++i] - '0'))]
                                : std::string(1, pattern[i]);
    return text;
  }

  Block &block;
  llvm::DenseMap<Value, std::string> names; // of variables, or literals
  std::string body;
  size_t numValues = 0;
};

} // namespace

Result<Functor> functorOf(Region &activation) {
  Result<std::string> body = Printer(activation.front()).print();
  if (!body)
    return body.status();
  return Functor{kFunctorName, std::move(*body)};
}

std::vector<std::string> functorOps() {
  std::vector<std::string> names;
  for (const Entry &entry : entries)
    names.push_back(entry.op);
  return names;
}

} // namespace moec::codegen
