// Activation regions for the tests of functors.
#pragma once

#include "compiler/codegen/cuda/Functor.h"
#include "ir/Moe.h"
#include "ir/reference/ActivationRegion.h"
#include "tests/unit/Catch.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Parser/Parser.h"

#include <set>
#include <string>

namespace moec::tests {

/// A shared FFN whose activation has these lines; %g and %u are its arguments, %h is what it yields.
struct ParsedRegion {
  mlir::MLIRContext context;
  mlir::OwningOpRef<mlir::ModuleOp> module;

  explicit ParsedRegion(const std::string &block) {
    context.loadDialect<moe::MoeDialect, mlir::arith::ArithDialect, mlir::func::FuncDialect, mlir::math::MathDialect>();
    const std::string text = R"(func.func @f(%x: tensor<?x8xbf16>, %w: tensor<8x8xbf16>) -> tensor<?x8xbf16> {
      %y = moe.shared_ffn %x, %w, %w, %w
          : (tensor<?x8xbf16>, tensor<8x8xbf16>, tensor<8x8xbf16>, tensor<8x8xbf16>) -> tensor<?x8xbf16> activation {
)" + block + "    }\n      return %y : tensor<?x8xbf16>\n    }\n";
    module = mlir::parseSourceString<mlir::ModuleOp>(text, mlir::ParserConfig(&context));
    REQUIRE(module);
  }

  Result<Functor> functor() {
    Result<Functor> result = makeError(Code::Failure, "no moe.shared_ffn");
    module->walk([&](moe::SharedFfnOp op) { result = codegen::functorOf(op.getActivation()); });
    return result;
  }

  Result<reference::Activation> reference() {
    Result<reference::Activation> result = makeError(Code::Failure, "no moe.shared_ffn");
    module->walk([&](moe::SharedFfnOp op) { result = reference::activationOf(op.getActivation()); });
    return result;
  }
};

/// A region's block of these lines, which name their last value %h.
inline std::string blockOfLines(const std::string &lines) {
  return "    ^bb0(%g: f32, %u: f32):\n" + lines + "      moe.yield %h : f32\n";
}

/// An op on %g, %u and flags made of them, with an f32 result.
inline std::string linesOf(const std::string &op, const std::string &result) {
  const std::set<std::string> binary = {"arith.addf",    "arith.subf",     "arith.mulf",     "arith.divf",
                                        "arith.remf",    "arith.maximumf", "arith.minimumf", "arith.maxnumf",
                                        "arith.minnumf", "math.atan2",     "math.copysign",  "math.powf"};
  const std::string a = result + "a", b = result + "b", flag = result + "f";
  std::string lines =
      fmt::format("      {} = arith.cmpf olt, %g, %u : f32\n      {} = arith.cmpf uge, %g, %g : f32\n", a, b);
  auto add = [&](const std::string &name, const std::string &operands) {
    lines += fmt::format("      {} = {} {}\n", name, op, operands);
  };
  if (binary.count(op))
    add(result, "%g, %u : f32");
  else if (op == "arith.select")
    add(result, a + ", %g, %u : f32");
  else if (op == "math.fma")
    add(result, "%g, %u, %g : f32");
  else if (op == "math.clampf") {
    lines += fmt::format("      {0}l = arith.constant -0.75 : f32\n      {0}h = arith.constant 2.0 : f32\n", result);
    add(result, fmt::format("%g to [{0}l, {0}h] : f32", result));
  } else if (op == "arith.uitofp" || op == "arith.sitofp")
    add(result, a + " : i1 to f32");
  else if (op == "arith.andi" || op == "arith.ori" || op == "arith.xori" || op.starts_with("math.is")) {
    add(flag, op.starts_with("math.is") ? "%g : f32" : a + ", " + b + " : i1");
    lines += fmt::format("      {} = arith.uitofp {} : i1 to f32\n", result, flag);
  } else
    add(result, "%g : f32");
  return lines;
}

} // namespace moec::tests
