#include "ir/reference/ActivationRegion.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringMap.h"

#include <cmath>
#include <limits>

using namespace mlir;

namespace moec::reference {

namespace {

/// What an op makes of at most three operands; absent ones are 0.
using Scalar = double (*)(double, double, double);

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

double maximum(double a, double b, double) { return std::isnan(a) || std::isnan(b) ? nan : std::fmax(a, b); }
double minimum(double a, double b, double) { return std::isnan(a) || std::isnan(b) ? nan : std::fmin(a, b); }
double clamp(double value, double low, double high) {
  return std::isnan(value) ? value : std::fmin(std::fmax(value, low), high);
}

const llvm::StringMap<Scalar> &scalars() {
  using D = double;
  static const llvm::StringMap<Scalar> table = {
      {"arith.addf", [](D a, D b, D) { return a + b; }},
      {"arith.subf", [](D a, D b, D) { return a - b; }},
      {"arith.mulf", [](D a, D b, D) { return a * b; }},
      {"arith.divf", [](D a, D b, D) { return a / b; }},
      {"arith.remf", [](D a, D b, D) { return std::fmod(a, b); }},
      {"arith.negf", [](D a, D, D) { return -a; }},
      {"arith.maximumf", maximum},
      {"arith.minimumf", minimum},
      {"arith.maxnumf", [](D a, D b, D) { return std::fmax(a, b); }},
      {"arith.minnumf", [](D a, D b, D) { return std::fmin(a, b); }},
      {"arith.select", [](D condition, D a, D b) { return condition != 0 ? a : b; }},
      {"arith.andi", [](D a, D b, D) { return D(a != 0 && b != 0); }},
      {"arith.ori", [](D a, D b, D) { return D(a != 0 || b != 0); }},
      {"arith.xori", [](D a, D b, D) { return D((a != 0) != (b != 0)); }},
      {"arith.uitofp", [](D a, D, D) { return a; }},
      {"arith.sitofp", [](D a, D, D) { return -a; }}, // a set i1 is -1
      {"math.absf", [](D a, D, D) { return std::fabs(a); }},
      {"math.atan", [](D a, D, D) { return std::atan(a); }},
      {"math.cbrt", [](D a, D, D) { return std::cbrt(a); }},
      {"math.ceil", [](D a, D, D) { return std::ceil(a); }},
      {"math.clampf", clamp},
      {"math.copysign", [](D a, D b, D) { return std::copysign(a, b); }},
      {"math.cos", [](D a, D, D) { return std::cos(a); }},
      {"math.erf", [](D a, D, D) { return std::erf(a); }},
      {"math.erfc", [](D a, D, D) { return std::erfc(a); }},
      {"math.exp", [](D a, D, D) { return std::exp(a); }},
      {"math.exp2", [](D a, D, D) { return std::exp2(a); }},
      {"math.expm1", [](D a, D, D) { return std::expm1(a); }},
      {"math.floor", [](D a, D, D) { return std::floor(a); }},
      {"math.fma", [](D a, D b, D c) { return std::fma(a, b, c); }},
      {"math.log", [](D a, D, D) { return std::log(a); }},
      {"math.log10", [](D a, D, D) { return std::log10(a); }},
      {"math.log1p", [](D a, D, D) { return std::log1p(a); }},
      {"math.log2", [](D a, D, D) { return std::log2(a); }},
      {"math.powf", [](D a, D b, D) { return std::pow(a, b); }},
      {"math.round", [](D a, D, D) { return std::round(a); }},
      {"math.roundeven", [](D a, D, D) { return std::nearbyint(a); }},
      {"math.rsqrt", [](D a, D, D) { return 1 / std::sqrt(a); }},
      {"math.sin", [](D a, D, D) { return std::sin(a); }},
      {"math.sqrt", [](D a, D, D) { return std::sqrt(a); }},
      {"math.tan", [](D a, D, D) { return std::tan(a); }},
      {"math.tanh", [](D a, D, D) { return std::tanh(a); }},
      {"math.trunc", [](D a, D, D) { return std::trunc(a); }},
  };
  return table;
}

bool compare(arith::CmpFPredicate predicate, double a, double b) {
  using P = arith::CmpFPredicate;
  bool unordered = std::isnan(a) || std::isnan(b);
  switch (predicate) {
  case P::AlwaysFalse: return false;
  case P::OEQ: return !unordered && a == b;
  case P::OGT: return a > b;
  case P::OGE: return a >= b;
  case P::OLT: return a < b;
  case P::OLE: return a <= b;
  case P::ONE: return !unordered && a != b;
  case P::ORD: return !unordered;
  case P::UEQ: return unordered || a == b;
  case P::UGT: return unordered || a > b;
  case P::UGE: return unordered || a >= b;
  case P::ULT: return unordered || a < b;
  case P::ULE: return unordered || a <= b;
  case P::UNE: return a != b;
  case P::UNO: return unordered;
  case P::AlwaysTrue: return true;
  }
  return false;
}

/// One op: values are numbered, the block's arguments first, then each op's result.
struct Instruction {
  Scalar scalar = nullptr; // null: a constant, or a comparison if there is a predicate
  std::optional<arith::CmpFPredicate> predicate;
  double constant = 0;
  size_t operands[3] = {};
  unsigned numOperands = 0;

  double evaluate(const std::vector<double> &values) const {
    double in[3] = {};
    for (unsigned index = 0; index < numOperands; ++index)
      in[index] = values[operands[index]];
    if (predicate)
      return compare(*predicate, in[0], in[1]);
    return scalar ? scalar(in[0], in[1], in[2]) : constant;
  }
};

struct Program {
  std::vector<Instruction> instructions;
  size_t yielded = 0;

  double operator()(double gate, double up) const {
    std::vector<double> values{gate, up};
    for (const Instruction &instruction : instructions)
      values.push_back(instruction.evaluate(values));
    return values[yielded];
  }
};

std::optional<double> constantOf(Attribute value) {
  if (auto real = dyn_cast<FloatAttr>(value))
    return real.getValueAsDouble();
  if (auto boolean = dyn_cast<BoolAttr>(value))
    return boolean.getValue();
  return std::nullopt;
}

Result<Instruction> instructionOf(Operation &op) {
  Instruction instruction;
  if (auto constant = dyn_cast<arith::ConstantOp>(op)) {
    if (std::optional<double> value = constantOf(constant.getValue())) {
      instruction.constant = *value;
      return instruction;
    }
  } else if (auto comparison = dyn_cast<arith::CmpFOp>(op)) {
    instruction.predicate = comparison.getPredicate();
    return instruction;
  } else if (auto found = scalars().find(op.getName().getStringRef()); found != scalars().end()) {
    instruction.scalar = found->second;
    return instruction;
  }
  return makeError(Code::InvalidArgument, "the activation holds '{}', which the reference does not know",
                   op.getName().getStringRef().str());
}

} // namespace

Result<Activation> activationOf(Region &region) {
  Program program;
  llvm::DenseMap<Value, size_t> numbers;
  Block &block = region.front();
  for (BlockArgument argument : block.getArguments())
    numbers[argument] = numbers.size();
  for (Operation &op : block.without_terminator()) {
    Result<Instruction> instruction = instructionOf(op);
    if (!instruction)
      return instruction.status();
    for (Value operand : op.getOperands())
      instruction->operands[instruction->numOperands++] = numbers.lookup(operand);
    program.instructions.push_back(*instruction);
    numbers[op.getResult(0)] = numbers.size();
  }
  program.yielded = numbers.lookup(block.getTerminator()->getOperand(0));
  return Activation(std::move(program));
}

} // namespace moec::reference
